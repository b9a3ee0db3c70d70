from matplotlib import pyplot as plt

from rec_rl.evaluation.intervals import mean_interval
from rec_rl.report.offline_figures import values_figure


def test_values_stand_at_their_names_where_some_arms_miss_a_task():
    values = {
        "first": {"depth": mean_interval([0.5, 1.5]), "mixture": mean_interval([1.5, 2.5])},
        "ablation": {"mixture": mean_interval([2.5, 3.5])},
        "last": {"depth": mean_interval([3.5, 4.5]), "mixture": mean_interval([4.5, 5.5])},
    }
    figure = values_figure(values, ["depth", "mixture"])
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == list(values)
    for task, axes in zip(("depth", "mixture"), figure.axes, strict=True):
        points = [line for line in axes.lines if line.get_marker() == "o"]
        drawn = {names[int(line.get_ydata()[0])]: line.get_xdata()[0] for line in points}
        assert drawn == {name: row[task].value for name, row in values.items() if task in row}
    plt.close(figure)

import numpy as np
import pytest
from matplotlib import pyplot as plt

from rec_rl.report.parallel_coordinates import axis_positions, parallel_coordinates


def test_a_wide_span_is_logarithmic_and_a_narrow_one_linear():
    heights, ticks = axis_positions([1e-4, 1e-3, 1e-2])
    np.testing.assert_allclose(heights, [0, 0.5, 1])
    assert ticks == {"0.0001": 0.0, "0.01": 1.0}
    np.testing.assert_allclose(axis_positions([-2.0, -0.5, 0.0])[0], [0, 0.75, 1])


def test_words_and_whole_numbers_are_spread_evenly_in_their_order():
    heights, ticks = axis_positions(["[128, 128]", "[64, 64]", "[64, 64]"])
    assert heights == [1, 0, 0]
    assert ticks == {"[64, 64]": 0, "[128, 128]": 1}
    assert axis_positions([1, 4, 2])[0] == [0, 1, 0.5]


def test_a_setting_that_never_changes_lies_in_the_middle():
    assert axis_positions([0.1, 0.1]) == ([0.5, 0.5], {"0.1": 0.5})
    assert axis_positions(["a"]) == ([0.5], {"a": 0.5})


def test_every_trial_is_a_line_and_the_best_is_on_top():
    trials = [{"lr": 1e-3, "auc": 0.7}, {"lr": 1e-4, "auc": 0.9}, {"lr": 1e-2, "auc": 0.8}]
    figure = parallel_coordinates(trials, "auc")
    axes = figure.axes[0]
    lines = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_xdata()[0] == 0]
    ends = [line.get_ydata()[1] for line in lines if line.get_linewidth() > 1]
    np.testing.assert_allclose(ends, [0, 0.5, 1])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["lr", "auc"]
    plt.close(figure)
    with pytest.raises(ValueError, match="got none"):
        parallel_coordinates([], "auc")

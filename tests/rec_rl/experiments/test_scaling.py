from dataclasses import replace
from pathlib import Path

import pytest

from rec_rl.experiments.scaling import BATCH_SIZE, GRID, Costs, Iteration, ThroughputModel, rows_of
from rec_rl.experiments.scaling_page import balance_point, micro, size, write_page

COSTS = Costs(
    env_step=50e-6,
    steps_per_row=0.9,
    gradient_step=1e-3,
    gradient_row=2e-6,
    sync=1e-3,
    sync_bytes=40_000,
    checkpoint=0.02,
    checkpoint_bytes=2_000_000,
    row_bytes=900,
)
TRUE = ThroughputModel(costs=COSTS, overhead=0.05, per_runner=0.01, reduce=0.002, dearer=1.5)


def measured(model: ThroughputModel, cores: int) -> list[Iteration]:
    return [
        Iteration(runners=r, learners=n, seconds=model.seconds(r, n, cores=cores), env_steps=rows_of(r))
        for r, n in GRID
    ]


def test_the_seconds_of_an_iteration_by_hand():
    # 2 runners x 64 x 32 = 4,096 rows on 2 cores, 3,686 of them steps: 4 passes x 8 minibatches of 512
    sampling, learning = 1.5 * 50e-6 * 4096 / 2, 32 * 1.5 * (1e-3 + 2e-6 * 512)
    assert TRUE.seconds(2, 1, cores=2) == pytest.approx(0.05 + 2 * 0.01 + sampling + learning)
    halved = 32 * (1.5 * (1e-3 + 2e-6 * 256) + 0.002)
    assert TRUE.seconds(2, 2, cores=2) == pytest.approx(0.05 + 2 * 0.01 + sampling + halved)
    assert sum(TRUE.phases(2, 2, cores=2).values()) == pytest.approx(TRUE.seconds(2, 2, cores=2))
    assert TRUE.env_steps_per_second(2, 1, cores=2) == pytest.approx(3686.4 / TRUE.seconds(2, 1, cores=2))
    large = TRUE.phases(2, 1, cores=2, batch_size=4096)  # one minibatch a pass
    assert large["learning"] == pytest.approx(4 * 1.5 * (1e-3 + 2e-6 * 4096))


def test_the_fit_finds_the_weights_that_made_the_times():
    fitted = ThroughputModel.fit(COSTS, measured(TRUE, 2), cores=2)
    for name in ("overhead", "per_runner", "reduce", "dearer"):
        assert getattr(fitted, name) == pytest.approx(getattr(TRUE, name), rel=1e-3), name


def test_a_step_in_the_run_is_fitted_no_cheaper_than_alone():
    fitted = ThroughputModel.fit(COSTS, measured(replace(TRUE, dearer=0.2), 2), cores=2)
    assert fitted.dearer == pytest.approx(1)


def test_more_runners_than_cores_take_turns():
    assert TRUE.phases(4, 0, cores=2)["sampling"] == pytest.approx(2 * TRUE.phases(4, 0, cores=4)["sampling"])


def test_learning_overtakes_sampling_later_with_more_learners_unless_summing_costs_more():
    free = replace(TRUE, reduce=0.0, costs=replace(COSTS, gradient_step=1e-4, env_step=500e-6))
    one, four = (balance_point(free, learners, BATCH_SIZE) for learners in (1, 4))
    assert one is not None
    assert four is not None
    assert 1 < one < four
    before, at = (free.phases(n, 1, cores=n) for n in (one // 2, one))
    assert before["learning"] < before["sampling"] <= at["learning"]
    assert balance_point(replace(free, reduce=0.1), 4, BATCH_SIZE) == 1
    instant = replace(free, costs=replace(free.costs, gradient_step=0.0, gradient_row=0.0))
    assert balance_point(instant, 1, BATCH_SIZE) is None


def test_the_page_says_what_was_measured_and_predicted(tmp_path: Path):
    points = measured(TRUE, 2)
    points[0] = replace(points[0], seconds=2 * points[0].seconds)
    write_page(tmp_path / "scaling.md", TRUE, points, cores=2, load=0.0)
    page = (tmp_path / "scaling.md").read_text()
    assert "| 0 | 0 | " in page
    assert "-50%" in page  # the one that took twice as long
    assert "| 64 | 4 | 16,384 | " in page
    assert "(learners x minibatch: 1 x 512" in page
    assert "24,000,000,000 rows" in page


def test_units_are_words():
    assert (micro(12e-6), micro(0.0034)) == ("12.0 µs", "3.40 ms")
    assert (size(12), size(1_500), size(2e12)) == ("12 B", "1.5 kB", "2.0 TB")

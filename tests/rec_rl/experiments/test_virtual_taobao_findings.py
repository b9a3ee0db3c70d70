import pytest

from rec_rl.evaluation.intervals import Estimate
from rec_rl.experiments.virtual_taobao_findings import (
    arm_metrics,
    ectr_at,
    effects,
    missed_bars,
    steps_to,
    verdicts,
)


def run(*ectrs: float) -> dict:
    """A run evaluated every 10,000 steps."""
    curve = [{"step": 10_000 * (i + 1), "ectr": ectr} for i, ectr in enumerate(ectrs)]
    return {"ectr": ectrs[-1], "ectr_of_totals": ectrs[-1], "curve": curve, "seconds": 1.0}


def test_figures_along_a_run():
    row = run(0.2, 0.5, 0.95)
    assert (ectr_at(row, 25_000), steps_to(row, 0.9, 30_000), steps_to(row, 0.99, 30_000)) == (
        0.5,
        30_000,
        30_000,
    )
    assert arm_metrics([row, run(0.2, 0.7, 0.85)], 30_000)["ectr_at_25000"].value == pytest.approx(0.6)


def test_an_effect_is_over_seeds_against_the_shuffled_control_of_its_mode():
    rows = {
        "sac": [run(0.1), run(0.1)],
        "sac/anchored/raw": [run(0.5), run(0.7)],
        "sac/shuffled/raw": [run(0.4), run(0.5)],
        "sac/shuffled/unit": [run(0.0), run(0.0)],
    }
    (effect,) = effects(rows, 10_000).values()
    assert effect.per_seed == pytest.approx((0.1, 0.2))  # seed by seed


def test_verdicts_name_what_is_beyond_its_control_and_count_what_chance_alone_would_bring():
    def estimate(low: float, high: float) -> Estimate:
        return Estimate(value=(low + high) / 2, low=low, high=high, n=5)

    said = verdicts(
        {
            "effect_at_10000/sac/iq_learn/raw": estimate(0.1, 0.3),
            "effect_at_10000/sac/anchored/raw": estimate(-0.1, 0.3),
            "effect_at_50000/sac/iq_learn/raw": estimate(-0.4, -0.2),
            "effect_at_50000/sac/anchored/raw": estimate(-0.1, 0.3),
        }
    )
    assert [sentence[:68] for sentence in said] == [
        "After 10,000 steps, of 2 mental rewards 1 raise eCTR above their shu",
        "After 50,000 steps, of 2 mental rewards 0 raise eCTR above their shu",
    ]
    assert "(sac/iq_learn/raw +0.200) and 0 lower it (none); of 2 rewards without any effect 0.1 " in said[0]
    assert "(none) and 1 lower it (sac/iq_learn/raw -0.300)" in said[1]


def test_bars_are_of_the_mean_and_of_the_worst_seed():
    rows = {
        "sac": [run(0.9)],
        "sac+options": [run(1.0), run(0.97)],
        "ppo": [run(0.9)],
        "ppo+options": [run(1.0)],
    }
    assert missed_bars(rows) == []
    rows |= {"sac+options": [run(1.0), run(0.92)], "ppo": [run(0.9), run(0.8999)]}
    missed = missed_bars(rows)
    assert [(miss["arm"], miss["value"]) for miss in missed] == [
        ("sac+options", pytest.approx(0.96)),
        ("sac+options", 0.92),
        ("ppo", pytest.approx(0.89995)),
    ]
    assert missed[2]["reason"].startswith("2 of 2 runs ended on the plateau")

from dataclasses import asdict

import numpy as np
import pytest
import torch

from envs.click_world import ClickWorld
from rec_rl.experiments.ab_study import A_A, DAYS, PLAIN, StateDCN, ab_record, online_test
from rec_rl.experiments.click_study import QUICK, Population


def test_dcn_by_hand_on_two_features():
    states = np.array([[1.0, -1.0], [-1.0, 1.0]], np.float32)  # mean 0, deviation 1
    dcn = StateDCN(states, (2,))
    with torch.no_grad():
        for layer, weights in zip(dcn.cross, ([1.0, 0.0], [0.0, 0.0], [0.0, 1.0]), strict=True):
            layer.project.weight.copy_(torch.tensor([weights]))
        dcn.deep[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        dcn.deep[0].bias.zero_()
    # x0 = (2, -1): x1 = x0 * 2 + x0 = (6, -3); x2 = x1; x3 = x0 * -3 + x2 = (0, 0). Deep: relu(x0) = (2, 0)
    out = dcn(torch.tensor([[2.0, -1.0]]))
    torch.testing.assert_close(out, torch.tensor([[0.0, 0.0, 2.0, 0.0]]))


@pytest.fixture(scope="module")
def quick_population() -> Population:
    return Population.draw({"seed": 1, "size": asdict(QUICK)})


def test_online_test_finds_a_better_model_and_no_difference_in_itself(quick_population: Population):
    world = ClickWorld()
    scores = {
        PLAIN: world.click_probability.astype(np.float32),
        "knows the truth": world.mean_reward("B")[:, 1].astype(np.float32),
    }
    rows = online_test(quick_population, scores, "B", 800)
    assert set(rows) == {"knows the truth", A_A}
    better, same = rows["knows the truth"]["lift_cuped"], rows[A_A]["lift_cuped"]
    assert better.value > 5 * better.standard_error
    assert abs(same.value) < 3 * same.standard_error
    assert {f"lift_day_{day}" for day in range(1, DAYS + 1)} < set(rows[A_A])


def test_record_judges_the_lift_of_feedback_and_the_a_a_arm():
    def result(told: float, same: float) -> dict:
        names = ["lift", "lift_cuped", *(f"lift_day_{day}" for day in range(1, DAYS + 1))]
        values = dict.fromkeys(("qr_iql", "anchored", "placebo"), 0.0)
        values |= {"anchored, 2 % feedback": told, A_A: same}
        lifts = {
            arm: {
                f"{name}{truth}": {"value": value, "standard_error": 0.01}
                for name in names
                for truth in ("", "_truth_b")
            }
            for arm, value in values.items()
        }
        return {"lifts": lifts, "data_hash": ""}

    good = ab_record(
        [result(0.041, 0.005), result(0.039, -0.01)], seeds=[1, 2], quick=False, command="", seconds=0.0
    )
    assert good.missed == []
    # Mean .04, error of one test .01: 4000 ((1.959964 + .841621) .01 / .04)^2 = 1962.2 users an arm
    needed = good.arms["anchored, 2 % feedback"]["users_needed_cuped_truth_b"]
    assert needed.value == pytest.approx(1962.2, abs=0.1)
    bad = ab_record([result(0.015, 0.03)], seeds=[1], quick=False, command="", seconds=0.0)
    assert len(bad.missed) == 3

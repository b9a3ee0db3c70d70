"""A simulated online test of DCN with and without alignment over seven days (MTRec Sec. 5.4, Fig. 4).

Users of the click world are served for a week by the plain model, which gives each a week before, and then
split at random over the arms for seven days. An A/A arm is served by the plain model again. The industrial
test of MTRec cannot be repeated: neither its users nor its logs are public.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from envs.click_world import TRUTHS
from rec_rl.evaluation.ab_test import Lift, average, cuped, relative_lift, users_needed
from rec_rl.evaluation.intervals import Estimate
from rec_rl.experiments.click_study import (
    FEEDBACK_SHARE,
    ORACLE,
    QUICK,
    WITH_FEEDBACK,
    Models,
    Population,
    Scores,
    counted,
    fit_rewards,
    joint_hash,
    plain_weight,
    run_seeds,
    train_scores,
)
from rec_rl.experiments.click_world_seed import KAPPA, RunSize, control_weights, normalised
from rec_rl.experiments.records import RunRecord
from rec_rl.experiments.runner import Event
from rec_rl.experiments.served_week import CANDIDATES, serve
from rec_rl.models.backbone import mlp
from rec_rl.models.dcn import NUM_CROSS_LAYERS, CrossLayer
from rec_rl.progress import Progress
from rec_rl.rewards.soft_q import BodyBuilder, SoftQConfig, Standardise

DAYS = 7
ACTIVITY = (0.2, 1.0)
"""Shares of days on which users come are uniform between these."""
USERS_PER_ARM, QUICK_USERS_PER_ARM = 4_000, 50
PLAIN, A_A = "dcn", "dcn again (A/A)"
CLICKS_ONLY = ("qr_iql", "anchored")
ARMS = (*CLICKS_ONLY, WITH_FEEDBACK)


class StateDCN(nn.Module):
    """DCN on a state of the click world: cross layers and a deep part side by side on its features.

    Source: Wang et al. 2017 (DCN), Fig. 1.
    """

    def __init__(self, states: NDArray[np.float32], hidden_sizes: tuple[int, ...]) -> None:
        super().__init__()
        num_features = states.shape[1]
        self.standardise = Standardise(states)
        self.cross = nn.ModuleList(CrossLayer(num_features) for _ in range(NUM_CROSS_LAYERS))
        self.deep = mlp(num_features, hidden_sizes)
        self.width = num_features + hidden_sizes[-1]

    def forward(self, states: Tensor) -> Tensor:
        x0 = self.standardise(states)
        x = x0
        for layer in self.cross:
            x = layer(x0, x)
        return torch.cat([x, self.deep(x0)], dim=1)


def dcn_body(states: NDArray[np.float32]) -> BodyBuilder:
    """DCN as the body of click models and of mental rewards (MTRec A.3)."""

    def build() -> tuple[nn.Module, int]:
        body = StateDCN(states, SoftQConfig().hidden_sizes)
        return body, body.width

    return build


def run_study(
    *, seeds: Sequence[int], quick: bool, folder: Path, progress: Progress, command: str
) -> RunRecord:
    """Trains the models and runs one online test per seed and truth.

    Args:
        seeds: One log, set of models and test each.
        quick: A small run that shows the form of the study.
        folder: Keeps finished seeds, so that an interrupted study goes on.
        progress: Where progress is shown.
        command: For the record.
    """
    started = time.monotonic()
    results = run_seeds(
        ab_trial,
        seeds=seeds,
        size=QUICK if quick else RunSize(),
        folder=folder,
        progress=progress,
        settings={"users_per_arm": QUICK_USERS_PER_ARM if quick else USERS_PER_ARM},
    )
    return ab_record(results, seeds=seeds, quick=quick, command=command, seconds=time.monotonic() - started)


def ab_record(
    results: Sequence[Mapping[str, Any]], *, seeds: Sequence[int], quick: bool, command: str, seconds: float
) -> RunRecord:
    """The record of the trials of all seeds."""
    users_per_arm = QUICK_USERS_PER_ARM if quick else USERS_PER_ARM
    rows = {
        arm: {
            name: average([Lift(**result["lifts"][arm][name]) for result in results])
            for name in results[0]["lifts"][arm]
        }
        | _sample_sizes([result["lifts"][arm] for result in results], users_per_arm)
        for arm in results[0]["lifts"]
    }
    needed = [rows[WITH_FEEDBACK][f"users_needed{cuped}_truth_b"].value for cuped in ("", "_cuped")]
    return RunRecord(
        command=command,
        seeds=list(seeds),
        data_hash=joint_hash(results),
        config={
            "quick": quick,
            "kappa": KAPPA,
            "days": DAYS,
            "activity": ACTIVITY,
            "users_per_arm": users_per_arm,
            "candidates": CANDIDATES,
            "size": asdict(QUICK if quick else RunSize()),
        },
        arms={arm: rows[arm] for arm in ARMS},
        controls={arm: row for arm, row in rows.items() if arm not in ARMS},
        missed=_missed(rows, quick),
        seconds=seconds,
        notes=[
            f"Lifts of viewing minutes per user over {PLAIN}, {users_per_arm:,} users an arm: means of one "
            "test per seed with intervals over them, which hold for models trained anew.",
            "lift_cuped takes out what the week before foretold of each user. users_needed are those per arm "
            "at which a two-sided 5 % test finds the lift four times in five: for "
            f"{WITH_FEEDBACK} in truth B {needed[0]:,.0f}, and {needed[1]:,.0f} with CUPED.",
            "A click plays one minute, watched for a share sigmoid(true reward): truth B leaves baits early.",
        ],
    )


def _sample_sizes(lifts: Sequence[Mapping[str, Any]], users_per_arm: int) -> dict[str, Estimate]:
    """Users per arm that the lifts over all days need, with and without CUPED, per truth."""
    sizes = {}
    for suffix in ("", "_truth_b"):
        for adjusted in ("", "_cuped"):
            several = [Lift(**lift[f"lift{adjusted}{suffix}"]) for lift in lifts]
            one = Lift(
                value=float(np.mean([lift.value for lift in several])),
                standard_error=float(np.sqrt(np.mean([lift.standard_error**2 for lift in several]))),
            )
            size = users_needed(one, users_per_arm)
            sizes[f"users_needed{adjusted}{suffix}"] = Estimate(
                value=size, low=float("nan"), high=float("nan"), n=len(several)
            )
    return sizes


def _missed(rows: Mapping[str, Mapping[str, Estimate]], quick: bool) -> list[dict[str, Any]]:
    """A lift of feedback in truth B, none of the A/A arm."""
    reason = "a quick run" if quick else "outside the bar on these seeds"
    told, same = rows[WITH_FEEDBACK]["lift_cuped_truth_b"], rows[A_A]
    missed = []
    if not told.low > 0:
        missed.append(
            {"bar": f"{WITH_FEEDBACK}.lift_cuped_truth_b > 0", "value": told.value, "reason": reason}
        )
    for name in ("lift_cuped", "lift_cuped_truth_b"):
        if not same[name].low <= 0 <= same[name].high:
            missed.append(
                {"bar": f"{A_A}.{name} has 0 in its interval", "value": same[name].value, "reason": reason}
            )
    return missed


def ab_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """One seed: models and their tests.

    Args:
        spec: {"seed", "size": values of a RunSize, "users_per_arm"}.
    """
    torch.set_num_threads(1)
    yield from counted(_models(spec), 2 * len(CLICKS_ONLY) + 4 + 2 * len(TRUTHS))


def _models(spec: Mapping[str, Any]) -> Models:
    population = Population.draw(spec)
    states = population.train.states
    body = dcn_body(states)
    models = yield from fit_rewards(population, CLICKS_ONLY, body=body)
    anchored = models["anchored"]
    weights = {method: normalised(model.reward(states)) for method, model in models.items()}
    weights |= {PLAIN: plain_weight(population)} | control_weights(anchored, population.train.states)
    scores = yield from train_scores(population, weights, body=body)
    lifts: dict[str, dict[str, Any]] = {}
    for truth in TRUTHS:
        told = population.calibrated(anchored, population.answers(truth, FEEDBACK_SHARE))
        know_truth = {
            WITH_FEEDBACK: normalised(told.reward(states)),
            ORACLE: normalised(population.true_reward(truth)),
        }
        arms = scores | (yield from train_scores(population, know_truth, body=body))
        suffix = "" if truth == "A" else "_truth_b"
        for arm, row in online_test(population, arms, truth, spec["users_per_arm"]).items():
            lifts.setdefault(arm, {}).update({f"{name}{suffix}": asdict(lift) for name, lift in row.items()})
    return {"lifts": lifts, "data_hash": population.log.transitions.content_hash}


def online_test(
    population: Population, scores: Scores, truth: str, users_per_arm: int
) -> dict[str, dict[str, Lift]]:
    """Serves a week with the plain model, then seven days by arm.

    Args:
        population: Gives world and seed; the test's users are new.
        scores: Of every arm, ``PLAIN`` among them.
        truth: Decides what is watched.
        users_per_arm: New users of each arm.

    Returns:
        By arm: lift, lift_cuped and lift_day_1 to lift_day_7, against the plain arm.
    """
    world, rng = population.world, np.random.default_rng([population.seed, 2])
    arms = scores | {A_A: scores[PLAIN]}
    people = world.draw_people(rng, users_per_arm * len(arms))
    activity = rng.uniform(*ACTIVITY, len(people))
    before, people = serve(world, people, activity, scores[PLAIN], days=DAYS, truth=truth, rng=rng)
    groups = rng.permutation(len(people)).reshape(len(arms), users_per_arm)
    minutes, past = {}, {}
    for (arm, table), group in zip(arms.items(), groups, strict=True):
        minutes[arm], _ = serve(world, people[group], activity[group], table, days=DAYS, truth=truth, rng=rng)
        past[arm] = before[group].sum(axis=1)
    control = minutes.pop(PLAIN)
    return {arm: _lifts(treated, control, past[arm], past[PLAIN]) for arm, treated in minutes.items()}


def _lifts(
    treated: NDArray[np.float64],
    control: NDArray[np.float64],
    treated_before: NDArray[np.float64],
    control_before: NDArray[np.float64],
) -> dict[str, Lift]:
    week = treated.sum(axis=1), control.sum(axis=1)
    days = {
        f"lift_day_{day + 1}": relative_lift(
            *cuped(treated[:, day], control[:, day], treated_before, control_before)
        )
        for day in range(DAYS)
    }
    return {
        "lift": relative_lift(*week),
        "lift_cuped": relative_lift(*cuped(*week, treated_before, control_before)),
    } | days

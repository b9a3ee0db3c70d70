"""What the studies on the click world share: a population, its answers, its rewards, its click models, seeds.

The platform sees the full state, so that nothing but the reward makes a difference, and states are few: a
click model is known by its 2430 scores.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.click_world import ClickWorld, ClickWorldLog
from rec_rl.data.hashing import content_hash
from rec_rl.data.transitions import UserTransitions
from rec_rl.evaluation.intervals import Estimate, mean_interval
from rec_rl.experiments.click_world_seed import (
    KAPPA,
    Metrics,
    RunSize,
    click_metrics,
    click_model,
    held_out_rows,
)
from rec_rl.experiments.runner import Event, Trial, run_trials
from rec_rl.progress import Progress
from rec_rl.rewards import REWARD_METHODS, MentalRewardModel, fit_mental_reward
from rec_rl.rewards.mental_reward import calibrate_mental_reward
from rec_rl.rewards.soft_q import BodyBuilder, evaluate

QUICK = RunSize(num_users=200, steps=6, head_steps=4, click_steps=4)
"""Shows the form of a study; its numbers say nothing."""

ORACLE, SHUFFLED, PLACEBO, Q_DIFFERENCE = "oracle", "shuffled", "placebo", "q_difference"
FEEDBACK_SHARE = 0.02
"""Of the clicked rows, where a study asks at one share only."""
WITH_FEEDBACK = "anchored, 2 % feedback"

METRIC_OF_TRUTH = {"A": "satisfaction_auc", "B": "satisfaction_auc_truth_b"}

Scores = dict[str, NDArray[np.float32]]
"""Click logits of every state by arm, shape [2430] each."""

Models = Generator[None, None, Any]
"""Work that yields once for every model it has trained and returns something."""


@dataclass(frozen=True, kw_only=True)
class Population:
    """Users of one seed and what they did, split 80/20 by user.

    Attributes:
        world: They live in.
        seed: Of the users, the split, the answers and all weights.
        size: Users, and gradient steps of every model.
        log: What they did.
        is_test: Rows of the held-out users, shape [n].
    """

    world: ClickWorld
    seed: int
    size: RunSize
    log: ClickWorldLog
    is_test: NDArray[np.bool_]

    @classmethod
    def draw(cls, spec: Mapping[str, Any]) -> "Population":
        """The population of a trial's specification, {"seed", "size": values of a RunSize}."""
        world, seed, size = ClickWorld(), spec["seed"], RunSize(**spec["size"])
        log = world.simulate(size.num_users, seed=seed)
        return cls(world=world, seed=seed, size=size, log=log, is_test=held_out_rows(log, seed))

    @cached_property
    def train(self) -> UserTransitions:
        """Rows of four users in five."""
        return self.log.transitions.rows(~self.is_test)

    @cached_property
    def test(self) -> UserTransitions:
        """Rows of the others."""
        return self.log.transitions.rows(self.is_test)

    def true_reward(self, truth: str) -> NDArray[np.float32]:
        """Mean true rewards of the training rows, shape [n, 2]."""
        return self.world.mean_reward(truth)[self.log.states[~self.is_test]].astype(np.float32)

    def answers(self, truth: str, share: float) -> NDArray[np.float32]:
        """Whether a click satisfied, asked on a random share of the clicked training rows; else NaN, [n].

        Larger shares hold the answers of smaller ones.
        """
        rewards = self.world.simulate(self.size.num_users, seed=self.seed, truth=truth).rewards
        drawn = np.random.default_rng([self.seed, 1]).random(len(self.train)) < share
        asked = (self.train.actions == 1) & drawn
        return np.where(asked, rewards[~self.is_test] > 0, np.nan).astype(np.float32)

    def calibrated(self, model: MentalRewardModel, answers: NDArray[np.float32]) -> MentalRewardModel:
        """The anchored reward after these answers."""
        return calibrate_mental_reward(model, replace(self.train, feedback=answers))

    def measure(self, scores: Scores) -> Metrics:
        """AUC of clicks and of satisfaction under both truths on the test rows, and gains over "ce"."""
        states = self.log.states[self.is_test]
        rows = {arm: table[states] for arm, table in scores.items()}
        return click_metrics(rows, self.world, self.test, states, np.random.default_rng(self.seed))


def fit_rewards(
    population: Population, methods: Iterable[str], *, body: BodyBuilder | None = None
) -> Generator[None, None, dict[str, MentalRewardModel]]:
    """Fits the reward of each method on the training rows; yields after each, returns them by method."""
    models = {}
    for method in methods:
        config = REWARD_METHODS[method](steps=population.size.steps, head_steps=population.size.head_steps)
        models[method] = fit_mental_reward(population.train, config, seed=population.seed, body=body)
        yield
    return models


def train_scores(
    population: Population,
    weights: Mapping[str, NDArray[np.float32]],
    *,
    kappa: float = KAPPA,
    body: BodyBuilder | None = None,
) -> Generator[None, None, Scores]:
    """Trains a click model with each weight; yields after each, returns their scores.

    Args:
        population: Its training rows are used.
        weights: Dn of the training rows by arm, shape [n] each; zeros are the plain click model.
        kappa: Weight of the mental reward.
        body: Of the click models; the default MLP if None.
    """
    scores = {}
    for arm, weight in weights.items():
        network = click_model(
            population.train,
            weight,
            kappa=kappa,
            steps=population.size.click_steps,
            seed=population.seed,
            body=body,
        )
        scores[arm] = evaluate(network, population.world.features)
        yield
    return scores


def of_truth(row: Mapping[str, float], truth: str) -> dict[str, float]:
    """Click AUC and satisfaction AUC under one truth, with their gains; click AUC is named by truth too."""
    satisfaction = METRIC_OF_TRUTH[truth]
    click = "auc" if truth == "A" else "auc_truth_b"
    names = {satisfaction: satisfaction, f"{satisfaction}_gain": f"{satisfaction}_gain"}
    names |= {"auc": click, "auc_gain": f"{click}_gain"}
    return {new: row[old] for old, new in names.items() if old in row}


def plain_weight(population: Population) -> NDArray[np.float32]:
    """Dn that leaves cross-entropy alone, shape [n]."""
    return np.zeros(len(population.train), np.float32)


def counted(models: Models, total: int) -> Iterator[Event]:
    """Events of a trial: one for every model of ``total``, and the result."""
    step = 0
    while True:
        try:
            next(models)
        except StopIteration as end:
            yield {"result": end.value}
            return
        step += 1
        yield {"step": step, "total": total}


def run_seeds(
    trial: Trial,
    *,
    seeds: Sequence[int],
    size: RunSize,
    folder: Path,
    progress: Progress,
    settings: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Results of a study's trial on every seed, as many at a time as there are cores.

    Args:
        trial: Takes {"seed", "size"} and what ``settings`` hold.
        seeds: At least one.
        size: Of every seed.
        folder: Finished seeds are kept in its ``trials``, so that an interrupted study goes on.
        progress: Where progress is shown, in trained models.
        settings: More of the specification.
    """
    if len(seeds) == 0:
        raise ValueError("seeds must hold at least one seed")
    specs = {f"seed {seed}": {"seed": seed, "size": asdict(size), **(settings or {})} for seed in seeds}
    results = run_trials(trial, specs, store=folder / "trials", progress=progress)
    return list(results.values())


def seed_estimates(per_seed: Sequence[Metrics]) -> dict[str, dict[str, Estimate]]:
    """Estimates over seeds by arm and metric."""
    return {
        arm: {name: mean_interval([metrics[arm][name] for metrics in per_seed], seeds=True) for name in row}
        for arm, row in per_seed[0].items()
    }


def joint_hash(results: Sequence[Mapping[str, Any]]) -> str:
    """Content hash of the logs of all seeds."""
    return content_hash(np.array([result["data_hash"] for result in results]))


def missed_bars(bars: Iterable[tuple[str, Estimate, float]], *, quick: bool) -> list[dict[str, Any]]:
    """Which bars (name, estimate, least value) were not reached, as a record lists them."""
    reason = "a quick run" if quick else "outside the bar on these seeds"
    return [
        {"bar": f"{name} >= {bar:g}", "value": estimate.value, "reason": reason}
        for name, estimate, bar in bars
        if not estimate.value >= bar
    ]

"""Trains an algorithm online and watches what its policy earns."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from envs.reward_shaping import MentalReward, MentalRewardVectorShaping, MentalShaping
from envs.virtual_taobao import VirtualTaobaoVectorEnv, user_state
from rec_rl.checkpoint import keep_checkpoint, restore_last
from rec_rl.evaluation.online import Episodes, Policy, ectr_of_totals, run_episodes
from rec_rl.experiments.runner import Event
from rec_rl.rewards import MentalRewardModel
from rec_rl.rewards.controls import ShuffledReward

if TYPE_CHECKING:
    from rec_rl.algorithms.offline import OfflineAlgorithm
    from rec_rl.algorithms.online import OnlineAlgorithm
    from rec_rl.algorithms.rollouts import ActingModule

EVALUATION_ENVS = 128
MAX_REBUILDS = 3

Trained = TypeVar("Trained", bound="OnlineAlgorithm | OfflineAlgorithm")


@dataclass(frozen=True, kw_only=True)
class Shaping:
    """Which mental reward shapes training, and how.

    Attributes:
        reward: Folder of a fitted mental reward.
        kappa, mode: As in `envs.reward_shaping.MentalShaping`.
        shuffled: Control: the same rewards, dealt to states at random.
    """

    reward: str
    kappa: float = 0.2
    mode: str = "raw"
    shuffled: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """One training run on Virtual Taobao.

    Attributes:
        algorithm: Name in `rec_rl.algorithms.catalogue.ALGORITHMS`.
        settings: Training options of its Config.
        weights: Folder of the published networks, or "synthetic".
        shaping: None trains on clicks alone.
        steps: Environment steps, never exceeded.
        seed: Of everything random.
        num_env_runners, num_envs_per_env_runner, num_learners, num_gpus_per_learner: As RLlib means them;
            all at zero (environments aside) runs in one process.
        evaluate_every: Environment steps between evaluations.
        evaluation_episodes, final_episodes: Episodes of an evaluation on the way and of the last one.
    """

    algorithm: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: str = "synthetic"
    shaping: Shaping | None = None
    steps: int = 50_000
    seed: int = 0
    num_env_runners: int = 0
    num_envs_per_env_runner: int = 8
    num_learners: int = 0
    num_gpus_per_learner: float = 0
    evaluate_every: int = 2_500
    evaluation_episodes: int = 512
    final_episodes: int = 4_000

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> "TrainingSpec":
        """The inverse of `dataclasses.asdict`."""
        shaping = values.get("shaping")
        return cls(**{**values, "shaping": Shaping(**shaping) if shaping else None})


def build_env(num_envs: int, *, weights: str, shaping: Shaping | None) -> Any:
    """Virtual Taobao, its reward shaped if asked for."""
    env = VirtualTaobaoVectorEnv(num_envs, weights=weights)
    if shaping is None:
        return env
    model, unit_scale = _mental_reward(shaping.reward, shaping.shuffled)
    mental = MentalShaping(
        model=model,
        state_of=user_state,
        kappa=shaping.kappa,
        mode=shaping.mode,
        unit_scale=unit_scale if shaping.mode == "unit" else None,
    )
    return MentalRewardVectorShaping(env, mental)


@cache
def _mental_reward(folder: str, shuffled: bool) -> tuple[MentalReward, float]:
    model = MentalRewardModel.load(folder)
    if shuffled:
        return ShuffledReward.load(folder), model.record.reward_sd
    return model.reward, model.record.reward_sd


def build_algorithm(spec: TrainingSpec) -> "OnlineAlgorithm":
    """The algorithm of ``spec``, ready to train.

    Raises:
        ConfigError: If a name is unknown or a setting is out of its bound.
    """
    from rec_rl.algorithms.catalogue import ALGORITHMS
    from rec_rl.errors import ConfigError, check_kinds, check_name

    config = ALGORITHMS[check_name("algorithm", spec.algorithm, ALGORITHMS)]()
    config.simulate(partial(build_env, weights=spec.weights, shaping=spec.shaping))
    config.env_runners(
        num_env_runners=spec.num_env_runners, num_envs_per_env_runner=spec.num_envs_per_env_runner
    )
    config.learners(num_learners=spec.num_learners, num_gpus_per_learner=spec.num_gpus_per_learner)
    check_kinds(spec.settings, config)
    try:
        config.training(**spec.settings)
    except TypeError as error:
        raise ConfigError(f"{spec.algorithm} has no such setting: {error}") from error
    config.debugging(seed=spec.seed)
    algorithm: OnlineAlgorithm = config.build_algo()
    return algorithm


def train(spec: TrainingSpec, checkpoints: Path | None = None) -> Iterator[Event]:
    """Trains to ``spec.steps`` environment steps, evaluating on the way.

    A lost learner costs what it learned since the last checkpoint: the algorithm is built anew and goes on
    from there, to the same result.

    Args:
        spec: The run.
        checkpoints: Folder of the run's checkpoints, one at every evaluation; training goes on from the last
            whole one found there. None keeps none.

    Yields:
        {"step", "total"} after each iteration, the figures of evaluations, and "note" where something that
        went wrong was mended. The last event's "result" holds the curve and the final evaluation.

    Raises:
        LearnerLostError: If learners are lost more than MAX_REBUILDS times, or there are no checkpoints.
    """
    go_on = partial(_train, spec, checkpoints)
    yield from rebuilding(partial(build_algorithm, spec), go_on, checkpoints, spec.steps)


def rebuilding(
    build: Callable[[], Trained],
    go_on: Callable[[Trained], Iterator[Event]],
    checkpoints: Path | None,
    steps: int,
) -> Iterator[Event]:
    """Training that a lost learner does not end.

    Args:
        build: Gives the algorithm, untrained.
        go_on: Trains it from the last checkpoint in ``checkpoints`` to the end.
        checkpoints: None keeps none, and what is lost is lost.
        steps: Of the whole run.

    Yields:
        The events of ``go_on``, and a "note" where the algorithm had to be built anew.

    Raises:
        LearnerLostError: If learners are lost more than MAX_REBUILDS times, or there are no checkpoints.
    """
    from rec_rl.algorithms.array_learner import LearnerLostError

    event: Event = {"step": 0}
    for rebuilds in range(MAX_REBUILDS + 1):
        algorithm = build()
        try:
            for event in go_on(algorithm):
                yield event
            return
        except LearnerLostError as error:
            if checkpoints is None or rebuilds == MAX_REBUILDS:
                raise
            note = f"{error}; going on from the last checkpoint"
            yield {"step": event["step"], "total": steps, "note": note}
        finally:
            algorithm.stop()


def _train(spec: TrainingSpec, checkpoints: Path | None, algorithm: "OnlineAlgorithm") -> Iterator[Event]:
    env = VirtualTaobaoVectorEnv(EVALUATION_ENVS, weights=spec.weights)
    for note in restore_last(algorithm.load_checkpoint, checkpoints):
        yield {"step": algorithm.env_steps, "total": spec.steps, "note": note}
    curve = algorithm.diary
    while algorithm.env_steps + algorithm.steps_per_iteration <= spec.steps:
        algorithm.train()
        event: Event = {"step": algorithm.env_steps, "total": spec.steps}
        if algorithm.env_steps >= spec.evaluate_every * (len(curve) + 1):
            episodes = _evaluate(algorithm, env, spec.evaluation_episodes, evaluation_seed(spec.seed))
            curve.append({"step": algorithm.env_steps, **_figures(episodes)})
            event |= curve[-1]
            keep_checkpoint(algorithm.save_checkpoint, checkpoints, algorithm.env_steps)
        yield event
    keep_checkpoint(algorithm.save_checkpoint, checkpoints, algorithm.env_steps)
    episodes = _evaluate(algorithm, env, spec.final_episodes, evaluation_seed(spec.seed) + 1)
    result = {"steps": algorithm.env_steps, "curve": curve, **_figures(episodes)}
    yield {"step": spec.steps, "total": spec.steps, "ectr": result["ectr"], "result": result}


def _figures(episodes: Episodes) -> dict[str, float]:
    figures = {
        "ectr": episodes.ectr.value,
        "ectr_of_totals": ectr_of_totals(episodes.clicks, episodes.steps),
    }
    if episodes.satisfaction is not None:
        figures["satisfaction"] = float(episodes.satisfaction.mean())
    return figures


def evaluation_seed(seed: int) -> int:
    """Of evaluation episodes: apart from every training seed."""
    return 1_000_003 + 2 * seed


def greedy_policy(module: "ActingModule") -> Policy:
    """A module's policy without exploration, as a function of arrays."""
    import torch

    def act(obs: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            actions: NDArray[np.float32] = module.act(torch.from_numpy(obs), None)[0].numpy()
        return actions

    return act


def _evaluate(algorithm: "OnlineAlgorithm", env: Any, num_episodes: int, seed: int) -> Episodes:
    return run_episodes(env, greedy_policy(algorithm.policy_module()), num_episodes, seed)


def train_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """`train` for `rec_rl.experiments.runner.run_trials`: plain values in."""
    import torch

    torch.set_num_threads(1)
    yield from train(TrainingSpec.from_plain(spec))

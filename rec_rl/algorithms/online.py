"""What PPO and SAC share: runners, updates, counters, the guard against empty sampling, exact checkpoints."""

import time
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.utils.metrics import LEARNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from rec_rl.algorithms.array_learner import on_every_learner
from rec_rl.algorithms.online_learner import Batch
from rec_rl.algorithms.replay import ReplayBuffer
from rec_rl.algorithms.rollouts import EnvBuilder, FlatEnvRunner, Rollout
from rec_rl.checkpoint import load_state, save_state
from rec_rl.errors import ConfigError, RecRLError, check_name


def linear(reward: Any, bound: float) -> Any:
    """The reward as the environment paid it."""
    return reward


def quartic(reward: Any, bound: float) -> Any:
    """bound * (reward / bound)^4: the last click of a page is worth most, which leaves plateaus."""
    return bound * (reward / bound) ** 4


REWARD_UTILITIES: dict[str, Callable[[Any, float], Any]] = {"linear": linear, "quartic": quartic}


class OnlineConfig(AlgorithmConfig):
    """Settings that PPO and SAC have in common.

    Attributes:
        env_builder: num_envs -> batched environment; picklable.
        hidden_sizes: Widths of the policy's and the critics' hidden layers.
        reward_utility: Name of the function of the environment's reward that the learner maximises.
            Evaluation always reports the reward itself.
        reward_bound: Largest reward of a step; the utility's scale.
        replay_capacity: Transitions kept in the ring buffer (PPO: for self-imitation).
    """

    learner_class_of_algorithm: type[TorchLearner]
    module_class_of_algorithm: type[TorchRLModule]

    def __init__(self, algo_class: type[Algorithm] | None = None) -> None:
        super().__init__(algo_class=algo_class)
        self.env_builder: EnvBuilder | None = None
        self.hidden_sizes: tuple[int, ...] = (256, 256)
        self.reward_utility = "linear"
        self.reward_bound = 10.0
        self.replay_capacity = 1_000_000
        self.framework("torch")
        self.env_runners(env_runner_cls=FlatEnvRunner, num_env_runners=0, num_envs_per_env_runner=8)
        self.learners(num_learners=0, num_gpus_per_learner=0)
        self.fault_tolerance(
            restart_failed_env_runners=True,
            delay_between_env_runner_restarts_s=1.0,
            env_runner_restore_timeout_s=60.0,
        )
        self._dont_auto_sync_env_runner_states = True  # there are no connectors to synchronise

    def simulate(self, env_builder: EnvBuilder) -> Self:
        """Sets the environment by a builder of batched environments."""
        sample = env_builder(1)
        self.env_builder = env_builder
        self.environment(
            env=type(sample),
            observation_space=sample.single_observation_space,
            action_space=sample.single_action_space,
        )
        sample.close()
        return self

    def training(
        self,
        *,
        hidden_sizes: Any = NotProvided,
        reward_utility: Any = NotProvided,
        reward_bound: Any = NotProvided,
        replay_capacity: Any = NotProvided,
        **settings: Any,
    ) -> Self:
        """Sets training options; RLlib's own (lr, gamma, ...) pass through."""
        super().training(**settings)
        self.set_given(
            hidden_sizes=hidden_sizes,
            reward_utility=reward_utility,
            reward_bound=reward_bound,
            replay_capacity=replay_capacity,
        )
        return self

    def set_given(self, **values: Any) -> None:
        """Sets the attributes that were provided."""
        for name, value in values.items():
            if value is not NotProvided:
                setattr(self, name, value)

    def validate(self) -> None:
        """Raises ConfigError on a setting out of its bound."""
        super().validate()
        if self.env_builder is None:
            raise ConfigError("env_builder must be set with simulate(...), got None")
        check_name("reward_utility", self.reward_utility, REWARD_UTILITIES)
        check_bound("gamma", self.gamma, low=0, high=1)
        check_bound("reward_bound", self.reward_bound, above=0)
        check_bound("replay_capacity", self.replay_capacity, low=1)
        check_bound("num_envs_per_env_runner", self.num_envs_per_env_runner, low=1)

    def get_default_learner_class(self) -> type[TorchLearner]:
        """The Learner in the algorithm's own file."""
        return self.learner_class_of_algorithm

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """The RLModule in the algorithm's own file."""
        return RLModuleSpec(module_class=self.module_class_of_algorithm)

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return {**super()._model_config_auto_includes, "hidden_sizes": tuple(self.hidden_sizes)}


def check_bound(
    name: str, value: float, *, low: float = -np.inf, high: float = np.inf, above: float = -np.inf
) -> None:
    """Raises ConfigError unless low <= value <= high and value > above."""
    if not (low <= value <= high and value > above):
        ends = ((">=", low), ("<=", high), (">", above))
        bounds = [f"{sign} {end:g}" for sign, end in ends if np.isfinite(end)]
        raise ConfigError(f"{name} must be {' and '.join(bounds)}, got {value}")


class OnlineAlgorithm(Algorithm):
    """Sample, update, synchronise; `training_step` of a subclass says in which proportion.

    Attributes:
        env_steps: Environment steps taken so far.
        replay: A ring buffer, whose balanced draws are over the rewards that occurred.
        diary: What whoever trains wrote down on the way (evaluations); part of the checkpoint.
    """

    name: str

    def setup(self, config: OnlineConfig) -> None:
        """Builds runners, learners and the ring buffer; in one process the module is shared."""
        self.env_steps = 0
        rng = np.random.default_rng([config.seed or 0, 1])
        self.replay = ReplayBuffer(config.replay_capacity, rng, balance="reward_class")
        self.diary: list[dict[str, float]] = []
        super().setup(config)
        learner = self.learner_group._learner
        samples_here = config.num_env_runners == 0
        self._shares_module = samples_here and learner is not None and learner.device.type == "cpu"
        if self._shares_module:
            self.env_runner.module = self.learner_group._learner.policy
        else:
            self.sync_weights()

    @property
    @abstractmethod
    def steps_per_iteration(self) -> int:
        """Most environment steps that one ``train()`` takes."""

    @property
    def num_envs(self) -> int:
        """Environments over all runners."""
        return int(max(1, self.config.num_env_runners) * self.config.num_envs_per_env_runner)

    def policy_module(self) -> Any:
        """The current policy on the CPU, of this process."""
        if self.learner_group.is_local and self.learner_group._learner.device.type == "cpu":
            return self.learner_group._learner.policy
        spaces = {DEFAULT_MODULE_ID: (self.config.observation_space, self.config.action_space)}
        spec = self.config.get_multi_rl_module_spec(spaces=spaces, inference_only=True)
        module = spec.build()[DEFAULT_MODULE_ID]
        module.set_state(self._policy_weights())
        return module

    def sample(self, num_steps: int, *, random: bool = False) -> Rollout:
        """``num_steps`` steps of every environment of every healthy runner.

        Raises:
            RecRLError: If no runner comes back within ``env_runner_restore_timeout_s``.
        """
        settings = {"num_steps": num_steps, "random": random}
        if self.config.num_env_runners == 0:
            parts = [self.env_runner.sample(**settings)]
        else:
            parts = self._sample_remotely(settings)
        if not parts:
            parts = self._sample_after_recovery(settings)
        rollout = Rollout.join(parts)
        self.env_steps += rollout.num_steps
        return rollout

    def _sample_after_recovery(self, settings: dict[str, Any]) -> list[Rollout]:
        """Tries again while runners restart; without this, training would go on with no experience."""
        config = self.config
        deadline = time.monotonic() + config.env_runner_restore_timeout_s
        while time.monotonic() < deadline:
            time.sleep(config.delay_between_env_runner_restarts_s)
            self.restore_env_runners(self.env_runner_group)
            if parts := self._sample_remotely(settings):
                return parts
        healthy = self.env_runner_group.num_healthy_remote_env_runners()
        raise RecRLError(
            f"sampling brought no environment step in {config.env_runner_restore_timeout_s:g} s: "
            f"{healthy} of {config.num_env_runners} env runners are healthy"
        )

    def _sample_remotely(self, settings: dict[str, Any]) -> list[Rollout]:
        parts: list[Rollout] = self.env_runner_group.foreach_env_runner(
            "sample", kwargs=settings, local_env_runner=False, timeout_seconds=self.config.sample_timeout_s
        )
        return parts

    def update(self, batch: Batch) -> dict[str, float]:
        """Trains every learner on the same arrays; each takes its share of the minibatches.

        Raises:
            LearnerLostError: If the process of a learner is gone.
        """
        if self.learner_group.is_local:
            losses: dict[str, float] = self.learner_group._learner.train_on(batch)
            return losses
        reference = ray.put(batch)
        return dict(
            on_every_learner(
                self.learner_group,
                lambda learner: learner.train_on(ray.get(reference)),
                num_learners=self.config.num_learners,
                done=f"{self.env_steps:,} environment steps",
            )
        )

    def sync_weights(self, runner_ids: list[int] | None = None) -> None:
        """Brings the learner's policy to the runners; nothing to do where they share it."""
        if self._shares_module:
            return
        weights = self._policy_weights()
        if self.config.num_env_runners == 0:
            self.env_runner.set_weights(weights)
            return
        self.env_runner_group.foreach_env_runner(
            "set_weights",
            kwargs={"weights": weights},
            local_env_runner=False,
            remote_worker_ids=runner_ids,
            timeout_seconds=self.config.env_runner_restore_timeout_s,
        )

    def _policy_weights(self) -> dict[str, Any]:
        component = f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"
        state = self.learner_group.get_state(components=component, inference_only=True)
        return dict(state[COMPONENT_LEARNER][COMPONENT_RL_MODULE][DEFAULT_MODULE_ID])

    def restore_env_runners(self, env_runner_group: Any) -> list[int]:
        """Brings restarted runners up to date: the current weights, and a random stream of their own."""
        restored = env_runner_group.probe_unhealthy_env_runners() if self.config.num_env_runners else []
        if restored:
            incarnation = env_runner_group.num_remote_worker_restarts() + 1
            env_runner_group.foreach_env_runner(
                "reseed",
                kwargs={"incarnation": incarnation},
                local_env_runner=False,
                remote_worker_ids=restored,
                timeout_seconds=self.config.env_runner_restore_timeout_s,
            )
            self.sync_weights(restored)
        return list(restored)

    def learning_rewards(self, rollout: Rollout) -> Any:
        """Rewards to learn from: the utility of what the environment paid, plus what shaping added."""
        utility = REWARD_UTILITIES[self.config.reward_utility]
        paid = rollout.rewards_env
        return (rollout.rewards + (utility(paid, self.config.reward_bound) - paid)).astype(np.float32)

    def log(self, losses: dict[str, float], rollouts: list[Rollout]) -> None:
        """Counters and losses into RLlib's result."""
        self.metrics.log_value(NUM_ENV_STEPS_SAMPLED_LIFETIME, self.env_steps, window=1)
        for name, value in losses.items():
            self.metrics.log_value((LEARNER_RESULTS, DEFAULT_MODULE_ID, name), value, window=1)
        returns, lengths = (np.concatenate(x) for x in zip(*(r.finished() for r in rollouts), strict=True))
        if len(returns):
            self.metrics.log_value("episode_return_mean", float(returns.mean()), window=1)
            self.metrics.log_value("episode_length_mean", float(lengths.mean()), window=1)

    def checkpoint_state(self) -> dict[str, Any]:
        """Everything that decides how training goes on."""
        runners = self.env_runner_group.foreach_env_runner(
            lambda runner: (runner.worker_index, runner.get_state()),
            local_env_runner=self.config.num_env_runners == 0,
        )
        learners = self.learner_group.get_state()
        learners[COMPONENT_LEARNER].pop("metrics_logger", None)
        return {
            "learner": learners[COMPONENT_LEARNER],
            "runners": dict(runners),
            "env_steps": self.env_steps,
            "diary": self.diary,
            "replay": self.replay.get_state(),
            "iteration": self.iteration,
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Goes on where `checkpoint_state` was called."""
        self.learner_group.set_state({COMPONENT_LEARNER: state["learner"]})
        self.env_steps, self.diary = state["env_steps"], state["diary"]
        self.replay.set_state(state["replay"])
        self._iteration = state["iteration"]
        self.sync_weights()
        runners = state["runners"]
        self.env_runner_group.foreach_env_runner(
            lambda runner: runner.set_state(runners.get(runner.worker_index, {})),
            local_env_runner=self.config.num_env_runners == 0,
        )

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Writes the whole state, atomically and without pickles (see `rec_rl.checkpoint`)."""
        save_state(Path(checkpoint_dir), self.checkpoint_state(), self.name)

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Goes on from a folder of `save_checkpoint`.

        Raises:
            CheckpointError: If it is corrupt or of another algorithm.
        """
        self.restore_state(load_state(Path(checkpoint_dir), self.name))

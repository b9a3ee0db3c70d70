"""What all offline algorithms share: settings, one iteration, the policy, exact checkpoints."""

from pathlib import Path
from typing import Any, Self

import gymnasium as gym
import numpy as np
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.metrics import LEARNER_RESULTS

from rec_rl.algorithms.array_learner import on_every_learner
from rec_rl.algorithms.offline_data import DataBuilder, input_constants
from rec_rl.algorithms.offline_learner import OfflineLearner, OfflineModule
from rec_rl.algorithms.online import check_bound
from rec_rl.checkpoint import load_state, save_state
from rec_rl.errors import ConfigError, check_name


class OfflineConfig(AlgorithmConfig):
    """Settings that the offline algorithms have in common; the defaults are PrefRec's Table 1.

    A setting is an annotated attribute of the class with its default; `training` takes every one by name.

    Attributes:
        hidden_sizes: Widths of every network's hidden layers.
        batch_size: Transitions per gradient step, over all learners.
        actor_lr: Adam's rate for the policy.
        steps_per_iteration: Gradient steps in one ``train()``.
    """

    hidden_sizes: tuple[int, ...] = (256, 256, 256)
    batch_size: int = 4096
    actor_lr: float = 5e-6
    steps_per_iteration: int = 50

    def __init__(self, algo_class: type["OfflineAlgorithm"] | None = None) -> None:
        super().__init__(algo_class=algo_class or OfflineAlgorithm)
        for name in self.setting_names():
            setattr(self, name, getattr(type(self), name))
        self.data_builder: DataBuilder | None = None
        self._is_online = False
        self.framework("torch")
        self.env_runners(num_env_runners=0)
        self.learners(num_learners=0, num_gpus_per_learner=0)

    @classmethod
    def setting_names(cls) -> list[str]:
        """Every setting of the algorithm."""
        classes = [c for c in reversed(cls.__mro__) if issubclass(c, OfflineConfig)]
        return [name for c in classes for name in vars(c).get("__annotations__", {})]

    def learn_from(self, data_builder: DataBuilder) -> Self:
        """Sets the data by a builder."""
        self.data_builder = data_builder
        log = data_builder().log
        bound = input_constants(log).action_scale
        self.environment(
            observation_space=gym.spaces.Box(-np.inf, np.inf, (log.states.shape[1],), np.float32),
            action_space=gym.spaces.Box(-bound, bound, dtype=np.float32),
        )
        return self

    def training(self, **settings: Any) -> Self:
        """Sets settings by name.

        Raises:
            ConfigError: If the algorithm has no such setting.
        """
        for name, value in settings.items():
            check_name(f"setting of {self.algo_class.name}", name, self.setting_names())
            setattr(self, name, tuple(value) if name == "hidden_sizes" else value)
        return self

    def validate(self) -> None:
        """Raises ConfigError on a setting out of its bound."""
        super().validate()
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ConfigError(f"hidden_sizes must be one or more sizes >= 1, got {self.hidden_sizes}")
        check_bound("batch_size", self.batch_size, low=max(1, self.num_learners))
        check_bound("actor_lr", self.actor_lr, above=0)
        check_bound("steps_per_iteration", self.steps_per_iteration, low=1)

    def build_algo(self, *args: Any, **kwargs: Any) -> "OfflineAlgorithm":
        """The algorithm, ready to train.

        Raises:
            ConfigError: On a setting out of its bound, or without data.
        """
        if self.data_builder is None:
            raise ConfigError("data_builder must be set with learn_from(...), got None")
        algorithm: OfflineAlgorithm = super().build_algo(*args, **kwargs)
        return algorithm

    def get_default_learner_class(self) -> type[OfflineLearner]:
        """The Learner in the algorithm's own file."""
        learner: type[OfflineLearner] = self.algo_class.learner_class
        return learner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """The RLModule in the algorithm's own file."""
        return RLModuleSpec(
            module_class=self.algo_class.module_class,
            observation_space=self.observation_space,
            action_space=self.action_space,
        )

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in self.setting_names()}
        return {**super()._model_config_auto_includes, **settings}


class OfflineAlgorithm(Algorithm):
    """Gradient steps on a log; nothing is sampled from an environment.

    Attributes:
        gradient_steps: Taken so far.
        diary: What whoever trains wrote down on the way (evaluations); part of the checkpoint.
    """

    name: str
    config_class: type[OfflineConfig]
    learner_class: type[OfflineLearner]
    module_class: type[OfflineModule]

    @classmethod
    def get_default_config(cls) -> OfflineConfig:
        """The defaults."""
        return cls.config_class()

    def setup(self, config: OfflineConfig) -> None:
        """Builds the learners; each builds its data."""
        self.gradient_steps = 0
        self.diary: list[dict[str, float]] = []
        super().setup(config)

    def training_step(self) -> None:
        """``steps_per_iteration`` gradient steps."""
        num_steps = self.config.steps_per_iteration
        if self.learner_group.is_local:
            losses = self.learner_group._learner.train_steps(num_steps)
        else:
            losses = on_every_learner(
                self.learner_group,
                lambda learner: learner.train_steps(num_steps),
                num_learners=self.config.num_learners,
                done=f"{self.gradient_steps:,} gradient steps",
            )
        self.gradient_steps += num_steps
        for loss, value in losses.items():
            self.metrics.log_value((LEARNER_RESULTS, DEFAULT_MODULE_ID, loss), value, window=1)

    def restore_env_runners(self, env_runner_group: Any) -> list[int]:
        """There are none."""
        return []

    def policy_module(self) -> OfflineModule:
        """A copy of the current policy on the CPU."""
        component = f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"
        state = self.learner_group.get_state(components=component)
        module: OfflineModule = self.module_class(
            observation_space=self.config.observation_space,
            action_space=self.config.action_space,
            model_config=self.config.model_config,
        )
        module.set_state(state[COMPONENT_LEARNER][COMPONENT_RL_MODULE][DEFAULT_MODULE_ID])
        return module

    def checkpoint_state(self) -> dict[str, Any]:
        """Everything that decides how training goes on."""
        learners = self.learner_group.get_state()
        learners[COMPONENT_LEARNER].pop("metrics_logger", None)
        return {
            "learner": learners[COMPONENT_LEARNER],
            "gradient_steps": self.gradient_steps,
            "diary": self.diary,
            "iteration": self.iteration,
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Goes on where `checkpoint_state` was called."""
        self.learner_group.set_state({COMPONENT_LEARNER: state["learner"]})
        self.gradient_steps, self.diary = state["gradient_steps"], state["diary"]
        self._iteration = state["iteration"]

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Writes the whole state, atomically and without pickles (see `rec_rl.checkpoint`)."""
        save_state(Path(checkpoint_dir), self.checkpoint_state(), f"offline {self.name}")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Goes on from a folder of `save_checkpoint`.

        Raises:
            CheckpointError: If it is corrupt or of another algorithm.
        """
        self.restore_state(load_state(Path(checkpoint_dir), f"offline {self.name}"))

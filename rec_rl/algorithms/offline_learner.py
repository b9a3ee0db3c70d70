"""The Learner and the RLModule that the offline algorithms share."""

from abc import abstractmethod
from copy import deepcopy
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor, nn

from rec_rl.algorithms.array_learner import ArrayLearner
from rec_rl.algorithms.offline_data import Inputs, TransitionTable, input_constants
from rec_rl.errors import ConfigError
from rec_rl.rewards.bradley_terry import BradleyTerryNetwork, BradleyTerryReward

Network = TypeVar("Network", bound=nn.Module)


class Batch(NamedTuple):
    """A labelled minibatch as networks see it.

    Attributes:
        obs, next_obs: Standardised states, shape [B, S].
        action: In units of ``action_scale``, shape [B, A].
        reward: Standardised, shape [B].
    """

    obs: Tensor
    action: Tensor
    reward: Tensor
    next_obs: Tensor


class OfflineModule(TorchRLModule):
    """A policy on raw states. Subclasses build their networks in ``setup`` and say what ``act`` serves."""

    center: Tensor
    spread: Tensor
    action_scale: Tensor

    def setup(self) -> None:
        """Makes room for the constants of the inputs."""
        self.obs_size, self.action_size = self.observation_space.shape[0], self.action_space.shape[0]
        self.hidden = tuple(self.model_config["hidden_sizes"])
        self.register_buffer("center", torch.zeros(self.obs_size))
        self.register_buffer("spread", torch.ones(self.obs_size))
        self.register_buffer("action_scale", torch.from_numpy(self.action_space.high.copy()))

    @torch.no_grad()
    def take_inputs(self, inputs: Inputs) -> None:
        """Takes over the constants of a log."""
        for name, value in inputs._asdict().items():
            getattr(self, name).copy_(torch.from_numpy(value))

    def encode(self, states: Tensor) -> Tensor:
        """Standardised states."""
        return (states - self.center) / self.spread

    @abstractmethod
    def act(self, states: Tensor) -> Tensor:
        """The mean action to serve at raw states, [B, S] to [B, A]."""

    def _forward_inference(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        with torch.no_grad():
            return {"actions": self.act(batch["obs"])}

    _forward_exploration = _forward_inference

    def _forward_train(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Nothing: every forward happens in the Learner's losses."""
        return {}


class NetworkModule(OfflineModule):
    """A policy that is a network of standardised states."""

    @abstractmethod
    def policy(self, obs: Tensor) -> Tensor:
        """The action to serve at standardised states, in units of ``action_scale``, shape [B, A]."""

    def act(self, states: Tensor) -> Tensor:
        """The mean action to serve at raw states, [B, S] to [B, A]."""
        served: Tensor = self.policy(self.encode(states)) * self.action_scale
        return served


class OfflineLearner(ArrayLearner):
    """Draws minibatches from the log and takes gradient steps.

    With several learners all draw the same rows and each takes its share of them, so that their number does
    not change the result.

    Attributes:
        steps: Gradient steps taken.
        reward: The reward network, frozen unless a subclass trains it; None where requests are paid as the
            data say, or not at all.
    """

    uses_reward = True

    def build(self) -> None:
        """Builds data, networks and optimizers."""
        self.data = self.config.data_builder()
        self.steps = 0
        self.reward = self._build_reward()
        super().build()
        if self.reward is not None:
            self.reward.to(self.device)
        self.paid = self._paid().to(self.device)
        self.policy.take_inputs(input_constants(self.data.log))
        self.transitions = TransitionTable(self.data.log, self.device)

    @abstractmethod
    def step(self) -> dict[str, Tensor]:
        """One gradient step of every network; returns losses by name."""

    def train_steps(self, num_steps: int) -> dict[str, float]:
        """Takes gradient steps; returns mean losses by name."""
        totals: dict[str, Tensor] = {}
        for _ in range(num_steps):
            self.steps += 1
            for name, loss in self.step().items():
                totals[name] = totals.get(name, torch.zeros((), device=self.device)) + loss.detach()
            self.move_targets()
        return {name: float(self.over_learners(total)) / num_steps for name, total in totals.items()}

    def next_rows(self) -> Tensor:
        """This learner's rows of the next minibatch, on its device."""
        rows: Tensor = self.share(self.transitions.draw(self.config.batch_size, self.rng)).to(self.device)
        return rows

    def mean(self, loss: Tensor) -> Tensor:
        """This learner's part of the minibatch's mean loss."""
        part: Tensor = loss.sum() / self.config.batch_size
        return part

    def over_learners(self, part: Tensor) -> Tensor:
        """The sum of every learner's part."""
        if self.config.num_learners > 1:
            torch.distributed.all_reduce(part)
        return part

    def normal(self, *sizes: int) -> Tensor:
        """This learner's rows of standard normal noise of shape [batch_size, *sizes]."""
        return self.share(torch.randn(self.config.batch_size, *sizes, generator=self.rng)).to(self.device)

    def move_targets(self) -> None:
        """Called after every gradient step; a learner without targets has nothing to move."""

    def get_state(self, components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """RLlib's state, the random stream and the count of steps."""
        state = super().get_state(components, **kwargs)
        if components is None:
            state["steps"] = self.steps
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        super().set_state(state)
        self.steps = state.get("steps", self.steps)

    def _build_reward(self) -> BradleyTerryNetwork | None:
        reward = self.data.reward
        if not self.uses_reward or isinstance(reward, np.ndarray):
            return None
        if not isinstance(reward, BradleyTerryReward):
            found = "none" if reward is None else f"a {type(reward).__name__}"
            raise ConfigError(f"{self.config.algo_class.name} needs a Bradley-Terry reward, got {found}")
        return frozen_copy(reward.network)

    def _paid(self) -> Tensor:
        """What each request was paid, standardised; nothing where a network or no reward is used."""
        reward = self.data.reward
        if not self.uses_reward or not isinstance(reward, np.ndarray):
            return torch.zeros(len(self.data.log))
        centred = reward - reward.mean(dtype=np.float64)
        return torch.from_numpy((centred / max(float(centred.std()), 1e-8)).astype(np.float32))


class MinibatchLearner(OfflineLearner):
    """Takes each gradient step on a minibatch that the reward model has labelled."""

    def step(self) -> dict[str, Tensor]:
        """One gradient step of every network; returns losses by name."""
        return self.update(self.next_batch())

    @abstractmethod
    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One gradient step of every network on a minibatch; returns losses by name."""

    @torch.no_grad()
    def next_batch(self) -> Batch:
        """This learner's part of the next minibatch, labelled and scaled."""
        rows = self.next_rows()
        states, actions, next_states = self.transitions.at(rows)
        network = self.reward
        reward = self.paid[rows] if network is None else network.standardised(states, actions)
        policy = self.policy
        return Batch(policy.encode(states), actions / policy.action_scale, reward, policy.encode(next_states))


def frozen_copy(network: Network) -> Network:
    """The network as it is now, without gradients."""
    return deepcopy(network).requires_grad_(False)

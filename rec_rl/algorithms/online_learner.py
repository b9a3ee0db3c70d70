"""The Learner and the RLModule that PPO and SAC share."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule

from rec_rl.algorithms.networks import FusedAdam

Batch = dict[str, Any]
"""Arrays by name, as a Learner takes them."""


class OnlineLearner(TorchLearner):
    """A Learner that takes flat arrays and runs its own loop over minibatches.

    Differs from RLlib's: `train_on` replaces `update`, since per-minibatch objects and metrics cost more than
    the gradient step of a small network. With several learners each takes its share of every minibatch and
    gradients are summed, so that their number does not change the result.
    """

    def build(self) -> None:
        """Builds module and optimizers, and the Learner's own random stream."""
        super().build()
        self.rng = torch.Generator().manual_seed(self.config.seed or 0)

    def train_on(self, batch: Batch) -> dict[str, float]:
        """Runs the updates that one round of experience pays for; returns mean losses by name."""
        raise NotImplementedError

    @property
    def policy(self) -> Any:
        """The algorithm's RLModule."""
        return self.module[DEFAULT_MODULE_ID].unwrapped()

    def to_device(self, array: Any) -> torch.Tensor:
        """A numpy array as a tensor where the module is; read-only ones (Ray's object store) are copied."""
        writable = np.require(array, requirements=["C", "W"])
        return torch.from_numpy(writable).to(self.device)

    def add_optimizer(
        self, name: str, params: list[torch.nn.Parameter], lr: float | None = None
    ) -> FusedAdam:
        """Adam over ``params``, known to RLlib and therefore part of the Learner's state.

        ``lr`` is the config's where it is not given.
        """
        lr = self.config.lr if lr is None else lr
        optimizer = FusedAdam(params, lr=lr)
        self.register_optimizer(
            module_id=DEFAULT_MODULE_ID,
            optimizer_name=name,
            optimizer=optimizer,
            params=params,
            lr_or_lr_schedule=lr,
        )
        return optimizer

    def share(self, minibatch: torch.Tensor) -> torch.Tensor:
        """This learner's rows of a minibatch, along the first axis."""
        world = max(1, self.config.num_learners)
        return minibatch[self._learner_index :: world] if world > 1 else minibatch

    def descend(self, loss: torch.Tensor, optimizer: FusedAdam, *, max_norm: float | None = None) -> None:
        """One step of ``optimizer`` on the gradient of ``loss``, summed over learners.

        ``loss`` is this learner's share of the minibatch's loss. Only the optimizer's own parameters get a
        gradient, so a critic inside an actor's loss stays as it is.
        """
        params = optimizer.param_groups[0]["params"]
        grads = torch.autograd.grad(loss, params)
        if self.config.num_learners > 1:
            flat = torch.cat([g.reshape(-1) for g in grads])
            torch.distributed.all_reduce(flat)
            parts = torch.split(flat, [p.numel() for p in params])
            grads = tuple(part.view_as(p) for part, p in zip(parts, params, strict=True))
        divisor = None
        if max_norm is not None:
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
            divisor = ((norm + 1e-6) / max_norm).clamp(min=1)
        optimizer.fused_step(grads, divisor=divisor)

    def get_state(self, components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """RLlib's state and the random stream."""
        state: dict[str, Any] = super().get_state(components, **kwargs)
        if components is None:
            state["rng"] = self.rng.get_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        super().set_state(state)
        if "rng" in state:
            self.rng.set_state(torch.as_tensor(state["rng"], dtype=torch.uint8))

    def compute_loss_for_module(self, **_: Any) -> torch.Tensor:
        """Not used: RLlib asks for it in `update`, which `train_on` replaces."""
        raise NotImplementedError("losses are computed in train_on")

    def _make_modules_ddp_if_necessary(self) -> None:
        """Gradients are summed in `descend`; no wrapper is needed."""


class GaussianModule(TorchRLModule):
    """What the RLModules of PPO and SAC share: RLlib's forwards on top of `act`."""

    action_space: gym.spaces.Box

    def act(self, obs: torch.Tensor, noise: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """See `rec_rl.algorithms.rollouts.ActingModule`."""
        raise NotImplementedError

    def _forward_inference(self, batch: Batch, **_: Any) -> Batch:
        with torch.no_grad():
            return {"actions": self.act(batch["obs"], None)[0]}

    def _forward_exploration(self, batch: Batch, **_: Any) -> Batch:
        shape = (len(batch["obs"]), *self.action_space.shape)
        with torch.no_grad():
            actions, logp = self.act(batch["obs"], torch.randn(shape, device=batch["obs"].device))
        return {"actions": actions, "action_logp": logp}

    def _forward_train(self, batch: Batch, **_: Any) -> Batch:
        """Nothing: every forward happens in the Learner's losses."""
        return {}

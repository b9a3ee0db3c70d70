"""What the Learners of all algorithms share, and how all of them are called at once."""

from collections.abc import Callable
from typing import Any

import numpy as np
import ray
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.learner.torch.torch_learner import TorchLearner

from rec_rl.algorithms.optimizers import FlatGradient, FusedAdam
from rec_rl.errors import RecRLError


class LearnerLostError(RecRLError):
    """A learner's process is gone; what it learned since the last checkpoint has to be learned again."""


def on_every_learner(group: LearnerGroup, call: Callable[[Any], Any], *, num_learners: int, done: str) -> Any:
    """What the first of ``num_learners`` processes answers to ``call(learner)``, once all have.

    Raises:
        LearnerLostError: If the process of a learner is gone after ``done``.
    """
    outcomes = [result.get() for result in group.foreach_learner(call)]
    errors = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    died = any(isinstance(error, ray.exceptions.RayActorError) for error in errors)
    if died or len(outcomes) < num_learners:  # the others fail too: they sum gradients
        raise LearnerLostError(f"a learner was lost after {done}")
    for error in errors:
        raise error
    return outcomes[0]


class ArrayLearner(TorchLearner):
    """A Learner that takes flat arrays and runs its own loop over minibatches.

    Differs from RLlib's: a loop over plain arrays replaces `update`, since per-minibatch objects and metrics
    cost more than the gradient step of a small network. With several learners each takes its share of every
    minibatch and gradients are summed, so that their number does not change the result.
    """

    def build(self) -> None:
        """Builds module and optimizers, and the Learner's own random stream."""
        super().build()
        self.rng = torch.Generator().manual_seed(self.config.seed or 0)

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

    def descend(self, loss: torch.Tensor, optimizer: FusedAdam) -> None:
        """One step of ``optimizer`` on the gradient of ``loss``, summed over learners.

        ``loss`` is this learner's share of the minibatch's loss. Only the optimizer's own parameters get a
        gradient, so a critic inside an actor's loss stays as it is.
        """
        params = optimizer.param_groups[0]["params"]
        grads = torch.autograd.grad(loss, params)
        if self.config.num_learners > 1:
            gradient = FlatGradient(params)
            torch.cat([g.reshape(-1) for g in grads], out=gradient.vector)
            self.step_along(gradient, optimizer)
        else:
            optimizer.fused_step(grads)

    def step_along(
        self, gradient: FlatGradient, optimizer: FusedAdam, *, max_norm: float | None = None
    ) -> None:
        """One step on this learner's share of the gradient, summed over learners and then bounded."""
        if self.config.num_learners > 1:
            torch.distributed.all_reduce(gradient.vector)
        divisor = None
        if max_norm is not None:
            norm = torch.dot(gradient.vector, gradient.vector).sqrt()
            divisor = ((norm + 1e-6) / max_norm).clamp(min=1)
        optimizer.fused_step(gradient.parts, divisor=divisor)

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
        """Refused: RLlib asks for it in its own loop, which is never run."""
        raise RuntimeError("losses are computed in the learner's own loop over minibatches")

    def _make_modules_ddp_if_necessary(self) -> None:
        """Gradients are summed in `descend`; no wrapper is needed."""

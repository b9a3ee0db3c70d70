"""Policies of Virtual Taobao and of session logs, as graphs from a state to the action to serve."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from envs.virtual_taobao import action_space, observation_space
from rec_rl.algorithms.catalogue import ALGORITHMS
from rec_rl.algorithms.noise_advantage import NoiseAdvantagePolicy
from rec_rl.algorithms.offline_learner import OfflineModule
from rec_rl.algorithms.offline_policy import OfflinePolicy
from rec_rl.algorithms.session_policy import load_session_policy
from rec_rl.checkpoint import CHECKPOINTS, last_checkpoint, load_state
from rec_rl.errors import ConfigError, DatasetError
from rec_rl.experiments.single_run import read_spec
from rec_rl.experiments.training import TrainingSpec
from rec_rl.export.contents import Contents, rows_around, state_feature
from rec_rl.export.graphs import PARITY_ROWS, GraphSpec
from rec_rl.runtime.artefact import POLICY
from rec_rl.runtime.item_graph import EUCLIDEAN, INNER_PRODUCT

NO_IDS = "states hold no ids"


def online_policy(run: Path) -> Contents:
    """The policy of the last checkpoint of a run on Virtual Taobao.

    Raises:
        DatasetError: If it is no such run or has no checkpoint.
    """
    spec = read_spec(run)
    module = _online_module(spec, run)
    low, high = (torch.from_numpy(bound.copy()) for bound in (action_space().low, action_space().high))
    box = observation_space()
    states = np.random.default_rng(0).uniform(box.low, box.high, (PARITY_ROWS, *box.shape))
    return Contents(
        kind=POLICY,
        what=f"{spec.algorithm} policy of Virtual Taobao: the weights that rank the items of a page",
        graphs={
            "policy": GraphSpec(
                network=module,
                function=lambda states: torch.clamp(module.act(states, None)[0], low, high),
                inputs={"states": torch.from_numpy(states.astype(np.float32))},
                output=f"actions [rows, {len(low)}], in [-1, 1]",
            )
        },
        features=state_feature(
            len(box.low),
            "88 binary attributes of the user, clicks on the last page (0..10), last next-page value (0..9), "
            "pages seen (0..100)",
        ),
        normalisation="each number is divided by its largest value inside the graph",
        unknown_ids=NO_IDS,
        intended_use=("Ranking a page's items by their inner product with the action.",),
        limits=("Trained in a simulator; what it earns from real users was not measured.",),
        metric=INNER_PRODUCT,
    )


def session_policy(folder: Path) -> Contents:
    """A policy of session logs: a run that holds one, or its checkpoint.

    Raises:
        CheckpointError, ConfigError: As `load_session_policy`.
    """
    policy = load_session_policy(folder)
    network: OfflineModule | NoiseAdvantageNetwork
    if isinstance(policy, OfflinePolicy):
        name, network, function = policy.algorithm, policy.module, policy.module.act
    elif isinstance(policy, NoiseAdvantagePolicy):
        name, network = "noise_advantage", NoiseAdvantageNetwork(policy)
        function = network.forward
    else:
        raise ConfigError(f"{folder} holds a {type(policy).__name__}, which cannot be exported")
    states = rows_around(network.center, network.spread)
    actions = function(states[:1]).shape[1]
    return Contents(
        kind=POLICY,
        what=f"{name} policy of session logs: the item vector to serve in a state",
        graphs={
            "policy": GraphSpec(
                network=network,
                function=function,
                inputs={"states": states},
                output=f"mean actions [rows, {actions}]",
                reference=lambda states: torch.from_numpy(policy(states.numpy())),
            )
        },
        features=state_feature(states.shape[1], "the state of a session log, as its converter makes it"),
        normalisation="each number is standardised by its mean and deviation on the training log, inside the "
        "graph",
        unknown_ids=NO_IDS,
        intended_use=("Serving the item whose vector is nearest to the action.",),
        limits=(
            "What the log says of it holds for its mean action with the logging noise on top; served without "
            "noise, it leaves a log that can judge no other policy.",
            "States must be made exactly as those of the training log.",
        ),
        metric=EUCLIDEAN,
    )


class NoiseAdvantageNetwork(nn.Module):
    """`NoiseAdvantagePolicy` in torch: mean and step are linear in the same inputs."""

    center: Tensor
    spread: Tensor
    weights: Tensor

    def __init__(self, policy: NoiseAdvantagePolicy) -> None:
        super().__init__()
        behaviour = policy.behaviour
        step = policy.radius / policy.size * behaviour.scale * policy.weights
        arrays = {
            "center": behaviour.center,
            "spread": behaviour.spread,
            "weights": behaviour.weights + step,
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(np.asarray(array, np.float32)))

    def forward(self, states: Tensor) -> Tensor:
        """[B, S] to [B, A]; the last row of the weights is the constant's."""
        return (states - self.center) / self.spread @ self.weights[:-1] + self.weights[-1]


def _online_module(spec: TrainingSpec, run: Path) -> Any:
    checkpoint = last_checkpoint(run / CHECKPOINTS)
    if checkpoint is None:
        raise DatasetError(f"{run} has no checkpoint to export")
    config = ALGORITHMS[spec.algorithm]()
    config.training(**spec.settings)
    module = config.module_class_of_algorithm(
        observation_space=observation_space(), action_space=action_space(), model_config=config.model_config
    )
    learner = load_state(checkpoint, spec.algorithm)["learner"]
    module.set_state(learner["rl_module"]["default_policy"])  # as RLlib names the parts of a Learner's state
    return module

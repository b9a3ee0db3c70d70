"""Reward models as graphs: mental rewards of states, Bradley-Terry rewards of states and actions."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rec_rl.checkpoint import state_kind
from rec_rl.errors import ConfigError
from rec_rl.export.contents import Contents, rows_around
from rec_rl.export.graphs import PARITY_ROWS, GraphSpec
from rec_rl.export.padded_history import PaddedStateBody
from rec_rl.models.state_body import StateBody
from rec_rl.rewards.bradley_terry import KIND as BRADLEY_TERRY
from rec_rl.rewards.bradley_terry import BradleyTerryReward
from rec_rl.rewards.mental_reward import MentalRewardModel
from rec_rl.rewards.soft_q import MLPBody, Standardise
from rec_rl.runtime.artefact import REWARD

MENTAL_REWARD = "mental reward"  # the kind that `MentalRewardModel.save` writes


def reward_graph(folder: Path) -> GraphSpec:
    """The graph of a fitted reward.

    Raises:
        CheckpointError: If the folder holds no whole reward.
        ConfigError: If it holds something else.
    """
    kind = state_kind(folder)
    if kind == MENTAL_REWARD:
        return _mental_reward(MentalRewardModel.load(folder))
    if kind == BRADLEY_TERRY:
        return _bradley_terry(BradleyTerryReward.load(folder))
    raise ConfigError(f"{folder} must hold a reward to export, got {kind!r}")


def reward_contents(folder: Path) -> Contents:
    """An artefact of nothing but a reward."""
    graph = reward_graph(folder)
    return Contents(
        kind=REWARD,
        what=f"{state_kind(folder)} reward model",
        graphs={"reward": graph},
        features={
            name: {"type": "vector of numbers", "size": rows.shape[1], "required": True, "meaning": name}
            for name, rows in graph.inputs.items()
        },
        normalisation="inputs are standardised with the constants of the training data, inside the graph",
        unknown_ids="states hold no ids",
        intended_use=("Scoring logged or simulated behaviour. It recommends nothing by itself.",),
        limits=("A learned reward means what its gate (rec-rl reward check) says, and no more.",),
    )


def backbone_reward(model: MentalRewardModel, states: Tensor) -> GraphSpec:
    """The graph of a mental reward on a click model's backbone.

    Args:
        model: Loaded with its body.
        states: Rows to compare on, of `rec_rl.models.state_body.encode_states`.
    """
    head = deepcopy(model.reward_head)
    body = head.body
    assert isinstance(body, StateBody)
    head.body = PaddedStateBody(body.backbone, body.item_categories)
    return GraphSpec(
        network=head,
        function=head.reward,
        inputs={"states": states},
        output="rewards [rows, 2] of skipping and clicking",
        reference=model.reward_head.reward,
    )


def _mental_reward(model: MentalRewardModel) -> GraphSpec:
    head = model.reward_head
    assert isinstance(head.body, MLPBody)  # `load` refuses any other body
    standardise = head.body[0]
    assert isinstance(standardise, Standardise)
    states = rows_around(standardise.mean, standardise.sd)
    return GraphSpec(
        network=head,
        function=head.reward,
        inputs={"states": states},
        output="rewards [rows, 2] of skipping and clicking",
    )


def _bradley_terry(reward: BradleyTerryReward) -> GraphSpec:
    network = reward.network.requires_grad_(False)
    scale = network.action_scale
    actions = np.random.default_rng(1).uniform(-1, 1, (PARITY_ROWS, len(scale))).astype(np.float32)
    return GraphSpec(
        network=network,
        function=network.standardised,
        inputs={
            "states": rows_around(network.center, network.spread),
            "actions": torch.from_numpy(actions) * scale,
        },
        output="standardised rewards [rows]",
    )

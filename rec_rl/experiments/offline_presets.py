"""Settings with which the session world is learned in minutes of one core.

Table 1's rates (5e-6, 5e-5) and minibatches of 4096 are made for hours on three million transitions; here
networks are half as wide and rates larger. Every algorithm had a sweep of ``rec-rl tune NAME --env
session-world`` by what users truly earn, on seeds that no table uses (docs/results/sweeps), which began from
settings that all share. What a sweep found is taken over where it earned more on every fresh seed, and .02
more on average: for ddpg, td3, sac and td3_bc, and for bcq, whose second best draw, .002 below the best,
learns from minibatches a quarter as large. The others keep what they share.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rec_rl.experiments.session_data import SessionData

_SHARED: dict[str, Any] = {"hidden_sizes": (128, 128, 128), "batch_size": 256, "actor_lr": 3e-4}
_CRITICS: dict[str, Any] = _SHARED | {"critic_lr": 3e-4, "tau": 0.005}
_SLOW_CRITICS: dict[str, Any] = _CRITICS | {
    "batch_size": 4096,
    "actor_lr": 3.736e-4,
    "critic_lr": 3.128e-5,
    "tau": 0.00376,
}

WORLD_SETTINGS: dict[str, dict[str, Any]] = {
    "prefrec": _CRITICS | {"finetune_period": 100, "preference_batch_size": 64},
    "prefrec_supported": {"hidden_sizes": (64, 64)},
    "ddpg": _SLOW_CRITICS,
    "td3": _SLOW_CRITICS,
    "sac": _CRITICS | {"batch_size": 4096, "actor_lr": 1.745e-5, "critic_lr": 7.289e-5, "tau": 0.00285},
    "td3_bc": _CRITICS | {"actor_lr": 3.564e-5, "critic_lr": 3.299e-5, "tau": 0.0112},
    "bcq": _CRITICS | {"batch_size": 1024, "actor_lr": 6.222e-4, "critic_lr": 1.3e-4, "tau": 0.00487},
    "iql": _CRITICS,
    "il": _SHARED,
}
"""Training settings by algorithm."""

STEPS: dict[str, int] = dict.fromkeys(WORLD_SETTINGS, 1200) | {"prefrec_supported": 300, "bcq": 800}
"""Gradient steps by algorithm."""

IN_SUPPORT = ("prefrec_supported", "noise_advantage")


def data_for(algorithm: str, data: SessionData, *, given: Mapping[str, Any] | None = None) -> SessionData:
    """The data with the preferences and the reward that an algorithm is made for.

    The supported forms learn a reward of whole sessions from 20,000 pairs, each within one user and with mean
    labels, which takes no gradient step; all others share a network that learned from the paper's labels.

    Args:
        algorithm: Its name.
        data: Everything else.
        given: Fields that take precedence.
    """
    if algorithm in IN_SUPPORT:
        data = replace(data, teacher="mean", reward="session", num_pairs=20_000, reward_folder=None)
    return replace(data, **dict(given or {}))

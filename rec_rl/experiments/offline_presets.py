"""Settings with which the session world is learned in about a minute of one core.

Table 1's rates (5e-6, 5e-5) and minibatches of 4096 are made for hours on three million transitions; here
networks are half as wide, minibatches smaller and rates larger. What every algorithm shares is the same for
all of them, as in the paper. They were set by hand. Sweeps of ``rec-rl tune NAME --env session-world``, by
what users truly earn and on seeds that no table uses, are in docs/results/sweeps. On fresh seeds nothing
that was drawn for prefrec_supported beats these settings (mixture .999 to .992); for iql sixteen times the
minibatch brings .639 to .635. The others have no sweep yet.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rec_rl.experiments.session_data import SessionData

_SHARED: dict[str, Any] = {"hidden_sizes": (128, 128, 128), "batch_size": 256, "actor_lr": 3e-4}
_CRITICS: dict[str, Any] = _SHARED | {"critic_lr": 3e-4, "tau": 0.005}

WORLD_SETTINGS: dict[str, dict[str, Any]] = {
    "prefrec": _CRITICS | {"finetune_period": 100, "preference_batch_size": 64},
    "prefrec_supported": {"hidden_sizes": (64, 64)},
    "ddpg": _CRITICS,
    "td3": _CRITICS,
    "sac": _CRITICS,
    "td3_bc": _CRITICS,
    "bcq": _CRITICS,
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

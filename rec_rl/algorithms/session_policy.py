"""Policies over the states of a session log: what a log can judge, in memory and on disk."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rec_rl.algorithms.noise_advantage import KIND as NOISE_ADVANTAGE
from rec_rl.algorithms.noise_advantage import NoiseAdvantagePolicy
from rec_rl.checkpoint import state_kind
from rec_rl.data.sessions import SessionLog
from rec_rl.errors import ConfigError, DatasetError, check_name

Floats = NDArray[np.float32]


class SessionPolicy(Protocol):
    """Mean actions at states, [n, S] to [n, A]; the serving layer adds its noise."""

    @property
    def state_dim(self) -> int:
        """S."""

    def __call__(self, states: NDArray[np.floating], /) -> Floats: ...


def _load_offline(folder: Path) -> SessionPolicy:
    from rec_rl.algorithms.offline_policy import OfflinePolicy  # brings in RLlib

    return OfflinePolicy.load(folder)


SESSION_POLICIES: Mapping[str, Callable[[Path], SessionPolicy]] = {
    NOISE_ADVANTAGE: NoiseAdvantagePolicy.load,
    "offline_policy": _load_offline,
}
"""How a checkpoint becomes a policy, by the kind that its manifest names."""

RUN_POLICY = "policy"
"""Folder in which a run leaves the policy that it would serve."""


def load_session_policy(folder: Path) -> SessionPolicy:
    """The policy of a checkpoint, or of a run that holds one in ``policy``.

    Raises:
        CheckpointError: If it is not a whole checkpoint.
        ConfigError: If it is no folder, or of something other than a policy of session logs.
    """
    if not folder.is_dir():
        raise ConfigError(f"a policy must be a folder or a .npy file of means, got {folder}")
    if (folder / RUN_POLICY).is_dir():
        folder = folder / RUN_POLICY
    kind = state_kind(folder)
    return SESSION_POLICIES[check_name(f"kind of policy in {folder}:", kind, SESSION_POLICIES)](folder)


def policy_means(path: Path, log: SessionLog) -> Floats:
    """What a policy would serve at every request of a log, shape [n, A].

    Args:
        path: Folder of a policy; or, for one that lives elsewhere, a ``.npy`` file of its means, [n, A] in
            the log's order.
        log: The requests.

    Raises:
        CheckpointError, ConfigError: As `load_session_policy`.
        DatasetError: If the policy or the file does not fit the log, or a mean is not finite.
    """
    if path.suffix == ".npy":
        means = _read_means(path)
    else:
        policy = load_session_policy(path)
        if policy.state_dim != log.states.shape[1]:
            raise DatasetError(
                f"{path} takes states of {policy.state_dim} numbers, the log's have {log.states.shape[1]}"
            )
        means = np.concatenate([policy(log.states[rows]) for rows in log.user_blocks()])
    if means.shape != log.actions.shape:
        raise DatasetError(
            f"{path} must give means of shape {log.actions.shape}, those of the log's actions; "
            f"got {means.shape}"
        )
    if not np.isfinite(means).all():
        row = int(np.argmin(np.isfinite(means).all(axis=1)))
        raise DatasetError(f"{path}: means must be finite, that of request {row} is not")
    return means


def _read_means(path: Path) -> Floats:
    try:
        means: Floats = np.load(path, allow_pickle=False).astype(np.float32)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as an array of means: {error}") from error
    return means

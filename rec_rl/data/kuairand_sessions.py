"""A session log from KuaiRand's real exposures: see `rec_rl.data.session_building` for how it is built."""

from pathlib import Path

from rec_rl.data.kuairand import load_kuairand
from rec_rl.data.session_building import SessionBuild, build_sessions
from rec_rl.data.sessions import SessionLog

SIGNALS = ("is_like", "long_view")


def convert_kuairand(folder: Path, *, seed: int = 0) -> SessionLog:
    """Builds the log of a folder of KuaiRand files, as `load_kuairand` finds them.

    There are no propensities, and most sessions are one request long: see `audit_log`.

    Args:
        folder: Holds the logs and the video features.
        seed: Of the SVD.

    Raises:
        DatasetError: If a file is missing or corrupt.
    """
    return build_sessions(load_kuairand(folder), SessionBuild(signals=SIGNALS, seed=seed)).log

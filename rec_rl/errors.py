"""What a user can mend, one class per meaning.

RecRLError
├── ConfigError                 a setting, name or option is wrong
├── DatasetError                a file or log is missing, corrupt or not what the schema says
├── CheckpointError             a checkpoint is corrupt or belongs to something else
└── UnsupportedEstimateError    the log cannot support the number asked for

The command line prints these in one line and exits with 1. A caller's bug stays a ValueError.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class RecRLError(Exception):
    """Base of every error that a user of rec_rl can mend."""


class ConfigError(RecRLError):
    """A setting is out of its bound or a name is unknown."""


class DatasetError(RecRLError):
    """A data file is missing, corrupt or breaks the schema."""


class CheckpointError(RecRLError):
    """A checkpoint or model folder is corrupt, or was written by something else."""


class UnsupportedEstimateError(RecRLError):
    """The data at hand cannot support the estimate that was asked for."""


def check_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Returns ``name`` if it is known.

    Raises:
        ConfigError: Otherwise, naming the nearest known name.
    """
    names = sorted(known)
    if name in names:
        return name
    nearest = get_close_matches(name, names, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(names)}"
    raise ConfigError(f"unknown {kind} {name!r}; {hint}")

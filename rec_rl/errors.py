"""What a user can mend, one class per meaning.

RecRLError
├── ConfigError                 a setting, name or option is wrong
├── DatasetError                a file or log is missing, corrupt or not what the schema says
├── CheckpointError             a checkpoint is corrupt or belongs to something else
└── UnsupportedEstimateError    the log cannot support the number asked for

The command line prints these in one line and exits with 1. A caller's bug stays a ValueError.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any


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


def check_kinds(settings: Mapping[str, Any], defaults: object) -> None:
    """Raises ConfigError where a setting is a word, a list or a number and its default another of these.

    Names that ``defaults`` does not have are left to whoever knows what to suggest.
    """
    for name, value in settings.items():
        default = getattr(defaults, name, None)
        if not hasattr(defaults, name) or (value is None and default is None):
            continue
        if value is None or _kind(value) != _kind(default):
            raise ConfigError(f"{name} must be {_kind(default)}, got {value!r}")


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "a word"
    return "a list" if isinstance(value, list | tuple) else "a number"

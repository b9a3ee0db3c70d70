"""The file in which a sweep leaves its best settings, for ``--config``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rec_rl.errors import ConfigError, DatasetError
from tuning.journal import write_whole

BEST = "best.json"


def write_best(path: Path, target: str, settings: Mapping[str, Any], record: str) -> None:
    """Writes ``settings`` of ``target``, and where the record of the sweep lies beside it."""
    found = {"target": target, "settings": dict(settings), "record": record}
    write_whole(path, json.dumps(found, indent=1) + "\n")


def read_best(path: Path, target: str) -> dict[str, Any]:
    """The settings in a file of `write_best`.

    Raises:
        DatasetError: If it is no such file.
        ConfigError: If it is of another target.
    """
    try:
        found = json.loads(path.read_text())
        name, settings = str(found["target"]), dict(found["settings"])
        settings = {key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is not the configuration that a sweep leaves: {error}") from error
    if name != target:
        raise ConfigError(f"{path} holds settings of {name}, got {target}")
    return settings

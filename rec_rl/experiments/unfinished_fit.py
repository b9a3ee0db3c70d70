"""A fit while it lasts: a folder beside its result, by which it goes on where it was ended."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rec_rl.checkpoint import check_replaceable
from rec_rl.experiments.single_run import claim_folder

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@contextmanager
def unfinished_fit(out: Path, kind: str, spec: "DataclassInstance", *, resume: bool) -> Iterator[Path]:
    """The folder ``OUT.unfinished`` for checkpoints; removed when the block ends with the result in ``out``.

    Args:
        out: Folder of the result.
        kind: Of the checkpoint that the result is.
        spec: The fit's settings, which a resumed one must share.
        resume: Whether to go on with a fit that lies there.

    Raises:
        CheckpointError: If ``out`` holds anything else than such a result.
        ConfigError: If an unfinished fit lies there and ``resume`` is not asked for, or is of other settings,
            or there is none to resume.
    """
    check_replaceable(out, kind)
    out = out.absolute()
    folder = out.with_name(f"{out.name}.unfinished")
    claim_folder(folder, spec, resume)
    try:
        yield folder
    except BaseException:
        if [path.name for path in folder.iterdir()] == ["config.json"]:  # there is nothing to go on from
            shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)

"""Writes an artefact: verified, whole or not at all."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rec_rl import __version__
from rec_rl.errors import ConfigError, DatasetError
from rec_rl.experiments.records import read_record
from rec_rl.experiments.single_run import read_config
from rec_rl.export.card import model_card
from rec_rl.export.click_models import click_model
from rec_rl.export.contents import Contents
from rec_rl.export.graphs import write_graph
from rec_rl.export.items import load_items
from rec_rl.export.policies import online_policy, session_policy
from rec_rl.export.rewards import reward_contents, reward_graph
from rec_rl.runtime.artefact import CARD, DESCRIPTION, FORMAT, ITEM_GRAPH, ITEMS, POLICY, file_hash
from rec_rl.runtime.item_graph import ItemGraph

GRAPH_FROM = 50_000
"""Items from which an artefact holds a graph of near neighbours: below, scoring all takes a millisecond."""


def export_run(
    run: Path,
    out: Path,
    *,
    items: Path | None = None,
    on_step: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Exports a run, the checkpoint of a session policy, or a fitted reward.

    Args:
        run: The folder.
        out: The artefact's folder, which must not exist; it appears whole, or not at all.
        items: Parquet file of item vectors, for a policy.
        on_step: Told what is being done.

    Returns:
        The content of ``artefact.json``.

    Raises:
        ConfigError: If ``out`` exists, or the run is not one that exports.
        DatasetError: If a file of the run, its log or the items are missing or wrong.
        CheckpointError: If a checkpoint is corrupt.
        RecRLError: If a graph does not agree with its network.
    """
    if out.exists():
        raise ConfigError(f"{out} exists: give --out a new folder")
    contents = contents_of(run)
    if items is not None:
        contents = _with_items(contents, items)
    staging = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        staging.mkdir(parents=True)
        description = _write(contents, run, staging, on_step)
        os.rename(staging, out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return description


def contents_of(run: Path) -> Contents:
    """What a folder has to export, by what it holds: a run's settings, or the manifest of a checkpoint.

    Raises:
        DatasetError: If it holds neither.
    """
    if not (run / "config.json").is_file():
        if not (run / "manifest.json").is_file():
            raise DatasetError(f"{run} is neither the folder of a run nor a checkpoint")
        return _of_checkpoint(run)
    config = read_config(run)
    if "training" in config:
        return click_model(run)
    if "data" not in config:
        return _with_reward(online_policy(run), (config.get("shaping") or {}).get("reward"))
    return _with_reward(session_policy(run), config["data"].get("reward_folder"))


def _of_checkpoint(folder: Path) -> Contents:
    from rec_rl.algorithms.session_policy import SESSION_POLICIES
    from rec_rl.checkpoint import state_kind

    return session_policy(folder) if state_kind(folder) in SESSION_POLICIES else reward_contents(folder)


def _with_reward(contents: Contents, folder: str | None) -> Contents:
    """Adds the reward that the policy was trained on, where it still lies there."""
    if folder is None or not Path(folder).is_dir():
        return contents
    return replace(contents, graphs={**contents.graphs, "reward": reward_graph(Path(folder))})


def _with_items(contents: Contents, path: Path) -> Contents:
    if contents.kind != POLICY:
        raise ConfigError(f"--items is for policies, {contents.what} has none or its own")
    policy = contents.graphs["policy"]
    size = policy.function(*(rows[:1] for rows in policy.inputs.values())).shape[1]
    found = load_items(path, size)
    return replace(contents, items={"ids": found.ids, "vectors": found.vectors})


def _write(contents: Contents, run: Path, folder: Path, on_step: Callable[[str], None]) -> dict[str, Any]:
    graphs = {}
    for name, spec in contents.graphs.items():
        on_step(f"graph {name}")
        graphs[name] = write_graph(spec, folder / f"{name}.onnx")
    with_graph = False
    if contents.items:
        on_step(f"{len(contents.items['ids']):,} items")
        np.savez(folder / ITEMS, allow_pickle=False, **dict(contents.items))
        with_graph = _write_item_graph(contents, folder / ITEM_GRAPH)
    record = read_record(run / "record.json") if (run / "record.json").is_file() else None
    description: dict[str, Any] = {
        "format": FORMAT,
        "kind": contents.kind,
        "what": contents.what,
        "features": contents.features,
        "normalisation": contents.normalisation,
        "unknown_ids": contents.unknown_ids,
        "graphs": graphs,
        "items": {"count": len(contents.items["ids"]), "metric": contents.metric, "graph": with_graph}
        if contents.items
        else None,
        "source": {
            "run": run.name,
            "rec_rl": __version__,
            "data_hash": None if record is None else record["data_hash"],
            "metrics": {} if record is None else record["metrics"],
        },
    }
    (folder / CARD).write_text(model_card(contents, description, record))
    description["sha256"] = {path.name: file_hash(path) for path in sorted(folder.iterdir())}
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n")
    return description


def _write_item_graph(contents: Contents, stem: Path) -> bool:
    """Whether graphs were written: for many vectors."""
    vectors = contents.items.get("vectors")
    if vectors is None or len(vectors) < GRAPH_FROM:
        return False
    assert contents.metric is not None
    ItemGraph.build(vectors, contents.metric).save(stem)
    return True

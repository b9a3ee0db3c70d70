"""Quality beside a peer: DIN and DeepFM of rec_rl and of FuxiCTR on the same rows.

    python -m benchmarks.peers_ctr --data DIR --peers PYTHON --json

DIR holds a log of actions in a known layout (Amazon Beauty). PYTHON is the interpreter of an environment of
its own with FuxiCTR, which asks for other versions than rec_rl:

    python3.11 -m venv peers && peers/bin/pip install torch==2.13.0 fuxictr==2.3.10

Both train on the same split and negatives, with the same embeddings, deep layers, rate, batch and stopping,
without the user's id, and are judged by the same AUC: per seed, the mean over several draws of the test
negatives, which differ by up to .01. A finished training is kept and not run again.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from rec_rl.data.catalogue import load_log
from rec_rl.data.hashing import content_hash
from rec_rl.data.interactions import Interactions
from rec_rl.data.splits import ClickDataset, Impressions, sampled_negative_split
from rec_rl.errors import ConfigError, RecRLError, check_name
from rec_rl.evaluation.intervals import mean_interval, paired_difference
from rec_rl.evaluation.ranking import auc
from rec_rl.experiments.ctr_training import CTRConfig, CTRTraining, predict
from rec_rl.experiments.records import RunRecord, to_plain, write_text
from rec_rl.experiments.runner import trial_key
from rec_rl.models.batches import Rows

MODELS = ("din", "deepfm")
OURS, PEER = "rec_rl", "fuxictr"
MARGIN = 0.004
"""What our AUC may fall short of the peer's: the spread of its seeds."""
WORKER = Path(__file__).with_name("fuxictr_worker.py")


@dataclass(frozen=True, kw_only=True)
class Split:
    """The rows of one seed: training and validation, and the test with each draw of negatives."""

    seed: int
    data: ClickDataset
    tests: tuple[Impressions, ...]

    @classmethod
    def draw(cls, log: Interactions, seed: int, num_draws: int) -> "Split":
        """Splits by ``seed``; the draws of the test negatives are the same for every seed's users."""
        splits = [sampled_negative_split(log, seed=seed, test_seed=1_000 + i) for i in range(num_draws)]
        return cls(seed=seed, data=splits[0], tests=tuple(split.test for split in splits))

    @property
    def content_hash(self) -> str:
        """Of everything in it."""
        return content_hash(np.array([self.data.content_hash]), *(test.items for test in self.tests))

    def aucs(self, predictions: Sequence[NDArray[np.floating]]) -> list[float]:
        """AUC of the predictions of each draw."""
        return [auc(test.clicks, scores) for test, scores in zip(self.tests, predictions, strict=True)]

    def save(self, path: Path, settings: CTRConfig) -> None:
        """Writes the rows for the peer."""
        parts = {"train": self.data.train, "validation": self.data.validation}
        parts |= {f"test{i}": test for i, test in enumerate(self.tests)}
        columns = {
            f"{part}_{name}": getattr(rows, name)
            for part, rows in parts.items()
            for name in ("items", "clicks", "starts", "ends")
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            path,
            history=self.data.history,
            item_categories=self.data.item_categories,
            num_items=self.data.num_items,
            num_categories=self.data.num_categories,
            num_draws=len(self.tests),
            settings=json.dumps(asdict(settings)),
            **columns,
        )


def train_ours(split: Split, config: CTRConfig) -> dict[str, Any]:
    """AUC of each draw, CPU seconds of training and its epochs."""
    training = CTRTraining(split.data, config, seed=split.seed)
    started = time.process_time()
    model = training.finish()
    seconds = time.process_time() - started
    predictions = [predict(model, Rows.of(split.data, test)) for test in split.tests]
    return {"auc": split.aucs(predictions), "cpu_seconds": seconds, "epochs": len(training.epochs)}


def train_peer(split: Split, config: CTRConfig, python: Path, folder: Path) -> dict[str, Any]:
    """The same of FuxiCTR, in its own environment."""
    rows, out = folder / f"rows-{split.seed}.npz", folder / f"predictions-{config.model}-{split.seed}.npz"
    split.save(rows, config)
    command = [str(python), str(WORKER), str(rows), str(out), config.model, str(split.seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ConfigError(f"FuxiCTR in {python} failed: {last[0]}")
    with np.load(out) as stored:
        predictions = [stored[f"draw_{i}"] for i in range(len(split.tests))]
        seconds, epochs = float(stored["cpu_seconds"]), int(stored["epochs"])
    return {"auc": split.aucs(predictions), "cpu_seconds": seconds, "epochs": epochs}


def compare(
    log: Interactions,
    *,
    models: Sequence[str],
    seeds: Sequence[int],
    num_draws: int,
    max_epochs: int,
    python: Path,
    folder: Path,
    command: str,
) -> RunRecord:
    """Trains what is not in ``folder`` yet, on both sides, and compares."""
    started = time.monotonic()
    results: dict[str, list[dict[str, Any]]] = {f"{side} {m}": [] for m in models for side in (OURS, PEER)}
    hashes = []
    for seed in seeds:
        split = Split.draw(log, seed, num_draws)
        hashes.append(split.content_hash)
        for model in models:
            config = CTRConfig(model=model, max_epochs=max_epochs)
            for side in (OURS, PEER):
                spec = {"side": side, "seed": seed, "data": hashes[-1], "config": asdict(config)}
                path = folder / "trials" / f"{trial_key(spec)}.json"
                if not path.exists():
                    ours = side == OURS
                    result = train_ours(split, config) if ours else train_peer(split, config, python, folder)
                    write_text(path, json.dumps(to_plain(result)))
                result = json.loads(path.read_text())
                results[f"{side} {model}"].append(result)
                print(f"{side} {model}, seed {seed}: AUC {np.mean(result['auc']):.4f}", file=sys.stderr)
    record = RunRecord(
        command=command,
        seeds=list(seeds),
        data_hash=content_hash(np.array(hashes)),
        config={"training": asdict(CTRConfig(max_epochs=max_epochs)), "draws": num_draws},
        seconds=time.monotonic() - started,
        notes=[
            "AUC is the mean over the draws of the test negatives; intervals are over seeds.",
            "FuxiCTR's DeepFM is made of its parts, its linear part started at N(0, 1e-4) as the rest.",
        ],
    )
    return judged(record, results, models)


def judged(
    record: RunRecord, results: Mapping[str, Sequence[Mapping[str, Any]]], models: Sequence[str]
) -> RunRecord:
    """The record with what the trainings of each side gave, seed by seed."""
    aucs = {arm: [float(np.mean(row["auc"])) for row in rows] for arm, rows in results.items()}
    differences = {m: paired_difference(aucs[f"{OURS} {m}"], aucs[f"{PEER} {m}"]) for m in models}
    return replace(
        record,
        metrics={f"auc_over_{PEER}/{model}": difference for model, difference in differences.items()},
        arms={
            arm: {"auc": mean_interval(aucs[arm], seeds=True)}
            | {
                name: mean_interval([row[name] for row in rows], seeds=True)
                for name in ("epochs", "cpu_seconds")
            }
            for arm, rows in results.items()
        },
        missed=[
            {
                "bar": f"AUC of {model} >= {PEER}'s - {MARGIN:g}",
                "value": difference.value,
                "reason": "below it",
            }
            for model, difference in differences.items()
            if difference.value < -MARGIN
        ],
    )


def main(
    data: Annotated[Path, typer.Option(help="Folder of a log in a known layout.")],
    peers: Annotated[Path, typer.Option(help="Python of an environment with FuxiCTR.")],
    models: Annotated[str, typer.Option(help="Of din and deepfm, with commas.")] = ",".join(MODELS),
    seeds: Annotated[int, typer.Option(help="Splits and trainings of each model.", min=1)] = 3,
    draws: Annotated[int, typer.Option(help="Draws of the test negatives.", min=1)] = 5,
    max_users: Annotated[int | None, typer.Option(help="Only the first users: a trial run.")] = None,
    max_epochs: Annotated[int, typer.Option(help="Training stops earlier, where validation AUC falls.")] = 20,
    folder: Annotated[Path, typer.Option(help="Keeps finished trainings.")] = Path("runs/peers-ctr"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as one JSON object.")] = False,
) -> None:
    """DIN and DeepFM of rec_rl and of FuxiCTR on the same rows."""
    torch.set_num_threads(1)
    try:
        chosen = [check_name("model", name, MODELS) for name in models.split(",")]
        if not peers.exists():
            raise ConfigError(f"there is no Python at {peers}; see the head of {Path(__file__).name}")
        log = load_log(data)
        record = compare(
            log if max_users is None else log.rows(log.users <= max_users),
            models=chosen,
            seeds=range(1, seeds + 1),
            num_draws=draws,
            max_epochs=max_epochs,
            python=peers,
            folder=folder,
            command=" ".join(["python -m benchmarks.peers_ctr", *sys.argv[1:]]),
        )
    except RecRLError as error:
        print(f"peers_ctr: {error}", file=sys.stderr)
        sys.exit(1)
    record.save(folder / "record.json")
    if as_json:
        print(json.dumps(record.to_dict(), indent=1))
        return
    for arm, row in record.arms.items():
        print(f"{arm}: AUC {row['auc']}, {row['cpu_seconds'].value:,.0f} CPU seconds a training")
    for name, difference in record.metrics.items():
        print(f"{name}: {difference}")


if __name__ == "__main__":
    typer.run(main)

"""``rec-rl train`` on session logs: PrefRec and its baselines."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rec_rl.commands.options import command_line, estimate_text, print_json, print_table

WORLD, REPLAY = "session-world", "session-replay"


def train_on_sessions(
    algorithm: str,
    *,
    env: str,
    log: Path | None,
    data: Mapping[str, Any],
    steps: int | None,
    settings: Mapping[str, Any],
    seed: int,
    num_learners: int,
    num_gpus_per_learner: float,
    folder: Path,
    resume: bool,
    as_json: bool,
) -> None:
    """Trains an offline algorithm and says what the log, and in the world the truth, make of its policy.

    Args:
        algorithm: Name in OFFLINE_ALGORITHMS.
        env: "session-world" or "session-replay".
        log: Of the latter.
        data: Fields of `SessionData` that were given.
        steps: Gradient steps; None is the preset's number.
        settings: On top of the preset.
        seed, num_learners, num_gpus_per_learner: Of the run.
        folder: Of the run.
        resume: Go on with a run in ``folder``.
        as_json: Print the record instead of a table.
    """
    from rec_rl.algorithms.catalogue import OFFLINE_ALGORITHMS
    from rec_rl.errors import check_name
    from rec_rl.experiments.offline_presets import STEPS, WORLD_SETTINGS, data_for
    from rec_rl.experiments.offline_run import run_offline_training
    from rec_rl.experiments.offline_training import OfflineSpec
    from rec_rl.experiments.runner import start_ray
    from rec_rl.experiments.session_data import SessionData

    logging.getLogger("ray").setLevel(logging.ERROR)
    check_name(f"algorithm for {env}", algorithm, OFFLINE_ALGORITHMS)
    preset = SessionData(env=env, log=None if log is None else str(log.absolute()), seed=seed)
    spec = OfflineSpec(
        algorithm=algorithm,
        settings=WORLD_SETTINGS[algorithm] | dict(settings),
        data=data_for(algorithm, preset, given=data),
        steps=STEPS[algorithm] if steps is None else steps,
        seed=seed,
        num_learners=num_learners,
        num_gpus_per_learner=num_gpus_per_learner,
    )
    if num_learners:
        start_ray()  # in one process nothing of Ray runs
    record = run_offline_training(spec, folder, resume=resume, command=command_line())
    print_judgement(record, f"{algorithm}, {spec.steps:,} gradient steps", as_json)
    if not as_json:
        print(f"{folder / 'report.html'}")


def print_judgement(record: dict[str, Any], title: str, as_json: bool) -> None:
    """What was found of a policy: true values where there are any, and the log's estimates with verdicts."""
    if as_json:
        print_json(record)
        return
    rows = [
        (name, "NOT SUPPORTED" if metric["value"] is None else estimate_text(metric))
        for name, metric in record["metrics"].items()
    ]
    print_table(title, ("mean level of a session", "value"), rows)
    print("\n".join(record["notes"]))

"""``rec-rl train`` on session logs: PrefRec, its baselines and the supported forms."""

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
    reward: Path | None,
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
        algorithm: Name in OFFLINE_ALGORITHMS, or noise_advantage, which is fitted without a gradient step.
        env: "session-world" or "session-replay".
        log: Of the latter.
        data: Fields of `SessionData` that were given.
        reward: Folder of a reward that was fitted to preferences before.
        steps: Gradient steps; None is the preset's number.
        settings: On top of the preset.
        seed, num_learners, num_gpus_per_learner: Of the run.
        folder: Of the run.
        resume: Go on with a run in ``folder``.
        as_json: Print the record instead of a table.
    """
    from rec_rl.algorithms.catalogue import OFFLINE_ALGORITHMS
    from rec_rl.errors import ConfigError, check_name
    from rec_rl.experiments.offline_presets import STEPS, WORLD_SETTINGS, data_for
    from rec_rl.experiments.offline_run import learned_from, run_offline_training
    from rec_rl.experiments.offline_training import CLOSED_FORM, OfflineSpec
    from rec_rl.experiments.runner import quiet_ray, start_ray
    from rec_rl.experiments.session_data import SessionData

    quiet_ray()
    check_name(f"algorithm for {env}", algorithm, [*OFFLINE_ALGORITHMS, CLOSED_FORM])
    if algorithm == CLOSED_FORM and (steps or num_learners):
        raise ConfigError(f"--steps and --num-learners are for algorithms that train, not for {CLOSED_FORM}")
    preset = SessionData(env=env, log=None if log is None else str(log.absolute()), seed=seed)
    sources = data_for(algorithm, preset, given=data)
    spec = OfflineSpec(
        algorithm=algorithm,
        settings=WORLD_SETTINGS.get(algorithm, {}) | dict(settings),
        data=sources if reward is None else learned_from(sources, reward),
        steps=STEPS.get(algorithm, 0) if steps is None else steps,
        seed=seed,
        num_learners=num_learners,
        num_gpus_per_learner=num_gpus_per_learner,
    )
    if num_learners:
        start_ray()  # in one process nothing of Ray runs
    record = run_offline_training(spec, folder, resume=resume, command=command_line())
    trained = f"{spec.steps:,} gradient steps" if spec.steps else "in closed form"
    print_judgement(record, f"{algorithm}, {trained}", as_json)
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

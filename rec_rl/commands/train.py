"""``rec-rl train``: one training run, kept in its own folder."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rec_rl.commands.options import (
    BestOfSweep,
    Json,
    Runs,
    Seed,
    Weights,
    chosen_weights,
    command_line,
    estimate_text,
    one_thread_per_process,
    print_json,
    print_table,
)
from rec_rl.commands.train_sessions import REPLAY, WORLD, train_on_sessions

VIRTUAL_TAOBAO = "virtual-taobao"
ENVS = (VIRTUAL_TAOBAO, WORLD, REPLAY)


def train(
    algorithm: Annotated[
        str,
        typer.Argument(
            help="ppo, sac; for session logs prefrec, prefrec_supported, noise_advantage, ddpg, td3, sac, "
            "td3_bc, bcq, iql, il"
        ),
    ],
    env: Annotated[
        str | None,
        typer.Option(
            help="virtual-taobao, session-world or session-replay. Default: virtual-taobao for ppo and sac, "
            "session-replay where --data is given, else session-world."
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="session-replay: Parquet file of a session log.")] = None,
    task: Annotated[
        str | None,
        typer.Option(help="Sessions: depth, frequency or mixture (default), for the scripted teacher."),
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(help="Sessions: JSONL or Parquet file of labelled pairs, instead of the teacher's."),
    ] = None,
    segment_length: Annotated[
        int | None, typer.Option(help="Sessions: requests of a segment; default 100.", min=1)
    ] = None,
    users: Annotated[
        int | None, typer.Option(help="session-world: users to learn from; default 6,000.", min=20)
    ] = None,
    weights: Weights = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Environment steps, never exceeded; default 50,000. On session logs gradient steps; default "
            "by algorithm.",
            min=1,
        ),
    ] = None,
    seed: Seed = 0,
    with_options: Annotated[
        bool,
        typer.Option(
            "--with-options", help="Quartic reward utility, with balanced replay or self-imitation."
        ),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A training setting, such as --set lr=0.0005. Repeatable."),
    ] = None,
    config: BestOfSweep = None,
    reward: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a fitted reward. virtual-taobao: a mental reward that shapes training. Sessions: "
            "one from preferences, to learn from."
        ),
    ] = None,
    kappa: Annotated[float, typer.Option(help="virtual-taobao: weight of the mental reward.")] = 0.2,
    mode: Annotated[
        str, typer.Option(help="virtual-taobao: how it enters: raw, unit or difference.")
    ] = "raw",
    num_env_runners: Annotated[
        int, typer.Option(help="Sampling processes; 0 samples in this one.", min=0)
    ] = 0,
    num_envs_per_env_runner: Annotated[int, typer.Option(help="Environments of each.", min=1)] = 8,
    num_learners: Annotated[int, typer.Option(help="Learner processes; 0 learns in this one.", min=0)] = 0,
    num_gpus_per_learner: Annotated[float, typer.Option(help="GPUs of each learner.", min=0)] = 0,
    name: Annotated[str | None, typer.Option(help="Name of the run; default: algorithm and seed.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Train PPO or SAC on Virtual Taobao, or PrefRec, its baselines and supported forms on session logs."""
    one_thread_per_process()
    from rec_rl.errors import ConfigError, check_name
    from tuning.best import read_best

    of_sessions = {"task": task, "pairs": pairs, "segment_length": segment_length, "num_users": users}
    given = {option: value for option, value in of_sessions.items() if value is not None}
    env = check_name("env", env or _default_env(algorithm, data), ENVS)
    folder = runs / (name or f"{algorithm}-{seed}")
    chosen = (read_best(config, algorithm) if config else {}) | parse_settings(settings or [])
    if env != VIRTUAL_TAOBAO:
        if with_options:
            raise ConfigError(f"--with-options is for {VIRTUAL_TAOBAO}, got env {env}")
        train_on_sessions(
            algorithm,
            env=env,
            log=data,
            data=given,
            reward=reward,
            steps=steps,
            settings=chosen,
            seed=seed,
            num_learners=num_learners,
            num_gpus_per_learner=num_gpus_per_learner,
            folder=folder,
            resume=resume,
            as_json=as_json,
        )
        return
    if given or data is not None:
        raise ConfigError(
            f"--data, --task, --pairs, --segment-length and --users are for session logs, got {env}"
        )
    from rec_rl.experiments.presets import OPTIONS, PLAIN
    from rec_rl.experiments.runner import start_ray
    from rec_rl.experiments.single_run import run_training
    from rec_rl.experiments.training import Shaping, TrainingSpec

    preset = PLAIN.get(algorithm, {}) | (OPTIONS.get(algorithm, {}) if with_options else {})
    spec = TrainingSpec(
        algorithm=algorithm,
        settings=preset | chosen,
        weights=chosen_weights(weights),
        shaping=Shaping(reward=str(reward.absolute()), kappa=kappa, mode=mode) if reward else None,
        steps=50_000 if steps is None else steps,
        seed=seed,
        num_env_runners=num_env_runners,
        num_envs_per_env_runner=num_envs_per_env_runner,
        num_learners=num_learners,
        num_gpus_per_learner=num_gpus_per_learner,
    )
    start_ray()
    record = run_training(spec, folder, resume=resume, command=command_line())
    if as_json:
        print_json(record)
        return
    rows = [(metric, estimate_text(value)) for metric, value in record["metrics"].items()]
    print_table(
        f"{algorithm}, {record['config']['steps_taken']:,} environment steps", ("metric", "value"), rows
    )
    print(f"{folder / 'report.html'}")


def _default_env(algorithm: str, data: Path | None) -> str:
    if data is not None:
        return REPLAY
    return VIRTUAL_TAOBAO if algorithm in ("ppo", "sac") else WORLD


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """``name=value`` pairs with values as numbers, lists or words."""
    import json

    from rec_rl.errors import ConfigError

    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ConfigError(f"--set must be name=value, got {pair!r}")
        try:
            settings[name] = json.loads(text)
        except json.JSONDecodeError:
            settings[name] = text
    return settings

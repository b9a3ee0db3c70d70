"""``rec-rl train``: one training run, kept in its own folder."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rec_rl.commands.options import (
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


def train(
    algorithm: Annotated[str, typer.Argument(help="ppo or sac")],
    weights: Weights = None,
    steps: Annotated[int, typer.Option(help="Environment steps, never exceeded.", min=1)] = 50_000,
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
    reward: Annotated[
        Path | None, typer.Option(help="Folder of a mental reward that shapes training.")
    ] = None,
    kappa: Annotated[float, typer.Option(help="Weight of the mental reward.")] = 0.2,
    mode: Annotated[str, typer.Option(help="How it enters: raw, unit or difference.")] = "raw",
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
    """Train PPO or SAC on Virtual Taobao, with or without a mental reward."""
    one_thread_per_process()
    from rec_rl.experiments.presets import OPTIONS, PLAIN
    from rec_rl.experiments.runner import start_ray
    from rec_rl.experiments.single_run import run_training
    from rec_rl.experiments.training import Shaping, TrainingSpec

    preset = PLAIN.get(algorithm, {}) | (OPTIONS.get(algorithm, {}) if with_options else {})
    spec = TrainingSpec(
        algorithm=algorithm,
        settings=preset | parse_settings(settings or []),
        weights=chosen_weights(weights),
        shaping=Shaping(reward=str(reward.absolute()), kappa=kappa, mode=mode) if reward else None,
        steps=steps,
        seed=seed,
        num_env_runners=num_env_runners,
        num_envs_per_env_runner=num_envs_per_env_runner,
        num_learners=num_learners,
        num_gpus_per_learner=num_gpus_per_learner,
    )
    folder = runs / (name or f"{algorithm}-{seed}")
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

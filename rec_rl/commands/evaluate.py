"""``rec-rl evaluate``: what a trained policy earns on fresh episodes."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import (
    Json,
    Seed,
    command_line,
    estimate_text,
    one_thread_per_process,
    print_json,
    print_table,
)
from rec_rl.commands.train_sessions import print_judgement


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a run of rec-rl train.")],
    episodes: Annotated[
        int, typer.Option(help="Whole episodes to run; a policy of session logs serves a whole life.", min=1)
    ] = 4_000,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Evaluate a run's policy without exploration."""
    one_thread_per_process()
    from rec_rl.experiments.runner import start_ray
    from rec_rl.experiments.single_run import read_config, run_evaluation

    if "data" in read_config(run):
        from rec_rl.experiments.offline_run import run_offline_evaluation

        record = run_offline_evaluation(run, seed, command_line())
        print_judgement(record, f"{run}, policy on its test users", as_json)
        return
    start_ray()
    record = run_evaluation(run, episodes, seed, command_line())
    if as_json:
        print_json(record)
        return
    rows = [(metric, estimate_text(value)) for metric, value in record["metrics"].items()]
    print_table(f"{run}, {episodes:,} episodes", ("metric", "value"), rows)

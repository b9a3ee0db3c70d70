"""``rec-rl table``: the papers' tables, each from one command."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rec_rl.commands.options import (
    Json,
    Runs,
    Weights,
    chosen_weights,
    command_line,
    estimate_text,
    one_thread_per_process,
    print_json,
    print_table,
)

app = typer.Typer(help="The papers' tables, each from one command.", no_args_is_help=True)

NumSeeds = Annotated[int, typer.Option("--seeds", help="Runs of every arm.", min=1)]


@app.command("click-world")
def click_world(
    seeds: NumSeeds = 3,
    quick: Annotated[bool, typer.Option("--quick", help="The form of the table in seconds.")] = False,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Mental rewards against the truth of the click world, and what alignment does there."""
    one_thread_per_process()
    import time

    from rec_rl.experiments.click_world import run_table
    from rec_rl.experiments.records import RunRecord
    from rec_rl.progress import progress

    started = time.monotonic()
    numbers = list(range(1, seeds + 1))
    with progress() as shown:
        table = run_table(
            seeds=numbers,
            quick=quick,
            on_progress=lambda done, total, what: shown.update("click-world", done, total, what),
        )
    record = RunRecord(
        command=command_line(),
        seeds=numbers,
        data_hash=table["data_hash"],
        config={"quick": quick, "bands": table["bands"]},
        arms={name: arm["metrics"] for name, arm in table["arms"].items()},
        controls={name: arm["metrics"] for name, arm in table["controls"].items()},
        missed=table["missed"],
        seconds=time.monotonic() - started,
    )
    record.save(runs / "table-click-world" / "record.json")
    _print(record.to_dict(), as_json)


@app.command("virtual-taobao")
def virtual_taobao(
    weights: Weights = None,
    steps: Annotated[int, typer.Option(help="Environment steps of every run.", min=1)] = 50_000,
    seeds: NumSeeds = 5,
    trajectories: Annotated[int, typer.Option(help="Sessions in the expert set.", min=100)] = 100_000,
    kappa: Annotated[float, typer.Option(help="Weight of the mental reward.", min=0)] = 0.2,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """PPO and SAC with and without mental rewards, with controls (MTRec Sec. 5.2)."""
    one_thread_per_process()
    from rec_rl.experiments.virtual_taobao import run_table
    from rec_rl.progress import progress
    from rec_rl.report.figures import save_training_curves
    from rec_rl.report.page import write_report

    folder = (runs / "table-virtual-taobao").absolute()
    with progress() as shown:
        record, by_arm = run_table(
            weights=chosen_weights(weights),
            steps=steps,
            num_seeds=seeds,
            num_trajectories=trajectories,
            kappa=kappa,
            folder=folder,
            progress=shown,
            command=command_line(),
        )
    record.save(folder / "record.json")
    curves = {name: [row["curve"] for row in rows] for name, rows in by_arm.items()}
    save_training_curves(curves, folder / "figures")
    write_report(folder, title="PPO and SAC on Virtual Taobao", curves=curves)
    _print(record.to_dict(), as_json)


@app.command("virtual-taobao-settings")
def virtual_taobao_settings(
    weights: Weights = None,
    steps: Annotated[int, typer.Option(help="Environment steps of every run.", min=1)] = 50_000,
    seeds: NumSeeds = 2,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """The search that chose the settings of the virtual-taobao table, on seeds that it does not use."""
    one_thread_per_process()
    from rec_rl.experiments.virtual_taobao_settings import run_search
    from rec_rl.progress import progress

    folder = (runs / "table-virtual-taobao-settings").absolute()
    with progress() as shown:
        record = run_search(
            weights=chosen_weights(weights),
            steps=steps,
            num_seeds=seeds,
            folder=folder,
            progress=shown,
            command=command_line(),
        )
    record.save(folder / "record.json")
    _print(record.to_dict(), as_json)


def _print(record: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(record)
        return
    arms = record["arms"] | {f"{name} (control)": arm for name, arm in record["controls"].items()}
    metrics = list(dict.fromkeys(metric for arm in arms.values() for metric in arm["metrics"]))
    rows = [(name, *(estimate_text(arm["metrics"].get(m)) for m in metrics)) for name, arm in arms.items()]
    print_table(record["command"], ("arm", *metrics), rows)
    for name, metric in record["metrics"].items():
        print(f"{name}: {estimate_text(metric)}")
    for miss in record["missed"]:
        print(f"missed: {miss['bar']}: {miss['value']}")
    for note in record["notes"]:
        print(note)

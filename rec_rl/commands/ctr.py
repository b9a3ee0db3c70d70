"""``rec-rl ctr``: click models, plain or aligned with a mental reward."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import (
    BestOfSweep,
    Json,
    Runs,
    Seed,
    command_line,
    estimate_text,
    one_thread_per_process,
    print_json,
    print_table,
)

app = typer.Typer(help="Click models, plain or aligned with a mental reward.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keeps ``train`` a command of its own while it is the only one."""


@app.command()
def train(
    model: Annotated[
        str, typer.Argument(help="wide_deep, pnn, deepfm, sasrec, din, dien, linrec, sigma or dcn")
    ],
    data: Annotated[str, typer.Option(help="Folder of a log in a known layout, or a table with --map.")],
    mapping: Annotated[
        str | None, typer.Option("--map", help="Columns of a table: user=uid,item=iid,action=click,...")
    ] = None,
    reward: Annotated[
        str | None,
        typer.Option(help="iq_learn, qr_iql or anchored: align, beside the plain model and three controls."),
    ] = None,
    kappa: Annotated[float, typer.Option(help="Weight of the mental reward.")] = 0.1,
    feedback: Annotated[
        str | None, typer.Option(help="Column of explicit feedback that calibrates the reward anchored.")
    ] = None,
    config: BestOfSweep = None,
    num_workers: Annotated[
        int,
        typer.Option(
            help="Ray's processes that share the training, a GPU each where there are as many; "
            "0 trains in this one, on the CPU."
        ),
    ] = 0,
    seed: Seed = 0,
    name: Annotated[str | None, typer.Option(help="Name of the run; default: of what is trained.")] = None,
    runs: Runs = Path("runs"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoints.")] = False,
    as_json: Json = False,
) -> None:
    """Train a click model on a log and judge it on held-out rows."""
    one_thread_per_process()
    from rec_rl.experiments.ctr_run import CTRRunSpec, run_ctr
    from rec_rl.experiments.ctr_training import CTRConfig
    from tuning.best import read_best

    settings = read_best(config, model) if config else {}
    spec = CTRRunSpec(
        data=data,
        mapping=mapping,
        training=CTRConfig(model=model, kappa=kappa if reward else 0.0, **settings),
        reward=reward,
        feedback=feedback,
        seed=seed,
        num_workers=num_workers,
    )
    folder = runs / (name or "-".join(["ctr", model, *([reward] if reward else []), str(seed)]))
    record = run_ctr(spec, folder, resume=resume, command=command_line())
    if as_json:
        print_json(record)
        return
    arms = {**record["arms"], **record["controls"]} or {model: {"metrics": record["metrics"]}}
    metrics = ("auc", "gauc", "log_loss", "calibration_error", "auc_gain")
    rows = [(arm, *(estimate_text(row["metrics"].get(m), 4) for m in metrics)) for arm, row in arms.items()]
    print_table(f"{model} on {data}", ("arm", *metrics), rows)
    print("\n".join(record["notes"]))
    print(folder / "report.html")

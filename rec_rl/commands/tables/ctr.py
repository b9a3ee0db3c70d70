"""``rec-rl table ctr``."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import Json, NumSeeds, Runs, command_line, one_thread_per_process, print_record

Data = Annotated[str, typer.Option(help="Folder of a log in a known layout, or a table with --map.")]
Mapping = Annotated[str | None, typer.Option("--map", help="Columns of a table: user=uid,item=iid,...")]
Kappa = Annotated[float, typer.Option(help="Weight of the mental reward.")]


def ctr(
    data: Data,
    mapping: Mapping = None,
    models: Annotated[str, typer.Option(help="Backbones by comma, or 'all'.")] = "all",
    arms: Annotated[
        str, typer.Option(help="ce, irl (iq_learn), mtrec (qr_iql), anchored, controls; by comma.")
    ] = "ce,irl,mtrec,anchored,controls",
    seeds: NumSeeds = 3,
    kappa: Kappa = 0.1,
    reward_body: Annotated[
        str, typer.Option(help="Backbone of the rewards, shared by all models; 'own': each model's.")
    ] = "din",
    quick: Annotated[
        bool, typer.Option("--quick", help="Three backbones and one seed, whatever is asked for.")
    ] = False,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Click models with and without mental rewards on a log (MTRec Table 1), with controls."""
    one_thread_per_process()
    from rec_rl.experiments.ctr_study import ClickStudy, parse_arms
    from rec_rl.experiments.ctr_table import QUICK_MODELS, run_table
    from rec_rl.experiments.records import write_text
    from rec_rl.models import MODELS
    from rec_rl.progress import progress
    from rec_rl.report.figures import save
    from rec_rl.report.grids import gain_figure, markdown_grid

    named = tuple(MODELS) if models == "all" else tuple(name.strip() for name in models.split(","))
    study = ClickStudy(
        data=str(Path(data).absolute()),
        mapping=mapping,
        models=QUICK_MODELS if quick else named,
        arms=parse_arms(arms),
        seeds=(1,) if quick else tuple(range(1, seeds + 1)),
        kappa=kappa,
        reward_body=reward_body,
    )
    folder = (runs / f"table-ctr-{Path(data).stem}{'-quick' if quick else ''}").absolute()
    with progress() as shown:
        record = run_table(study, folder=folder, progress=shown, command=command_line())
    record.save(folder / "record.json")
    plain = record.to_dict()
    title = f"Click models with mental rewards on {Path(data).name}"
    write_text(folder / "table.md", markdown_grid(plain, "auc", title))
    save(gain_figure(plain, "auc", "gain in AUC over cross-entropy"), folder / "figures" / "auc-gain.png")
    print_record(plain, as_json)

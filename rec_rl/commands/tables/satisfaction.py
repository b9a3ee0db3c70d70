"""``rec-rl table satisfaction``."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import Json, NumSeeds, Runs, command_line, one_thread_per_process, print_record
from rec_rl.commands.tables.ctr import Data, Kappa, Mapping


def satisfaction(
    data: Data,
    mapping: Mapping = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Columns of explicit feedback, such as is_like,rating>=4. Default: those known."),
    ] = None,
    model: Annotated[str, typer.Option(help="Backbone of click models and rewards.")] = "din",
    arms: Annotated[
        str, typer.Option(help="Rewards: irl, mtrec, anchored; by comma.")
    ] = "irl,mtrec,anchored",
    held_out_users: Annotated[
        float, typer.Option(help="Share of users kept for the test; 0 tests by the log's split alone.", min=0)
    ] = 0.0,
    seeds: NumSeeds = 3,
    kappa: Kappa = 0.1,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Whether mental rewards rank likes, long views or stars among clicked rows better than click models."""
    one_thread_per_process()
    from rec_rl.data.catalogue import load_log
    from rec_rl.data.satisfaction import Label, known_labels
    from rec_rl.data.tables import ColumnMap
    from rec_rl.experiments.ctr_study import ClickStudy, parse_arms
    from rec_rl.experiments.records import write_text
    from rec_rl.experiments.satisfaction_study import run_satisfaction
    from rec_rl.progress import progress
    from rec_rl.report.figures import save
    from rec_rl.report.grids import gain_figure, markdown_grid

    log = load_log(Path(data), ColumnMap.parse(mapping) if mapping else None)
    named = [Label.parse(text) for text in labels.split(",")] if labels else known_labels(log)
    study = ClickStudy(
        data=str(Path(data).absolute()),
        mapping=mapping,
        models=(model,),
        arms=parse_arms(arms),
        seeds=tuple(range(1, seeds + 1)),
        kappa=kappa,
        reward_body=model,
        held_out_users=held_out_users,
        labels=tuple(map(str, named)),
    )
    folder = (runs / f"table-satisfaction-{Path(data).stem}").absolute()
    with progress() as shown:
        record = run_satisfaction(study, folder=folder, progress=shown, command=command_line())
    record.save(folder / "record.json")
    plain = record.to_dict()
    title = f"Satisfaction among clicked rows of {Path(data).name}"
    write_text(folder / "table.md", markdown_grid(plain, "satisfaction_auc", title))
    figure = gain_figure(plain, "satisfaction_auc", "gain in satisfaction AUC over the click model")
    save(figure, folder / "figures" / "satisfaction-gain.png")
    print_record(plain, as_json)

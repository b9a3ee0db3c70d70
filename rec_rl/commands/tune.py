"""``rec-rl tune``: a sweep over the settings of an algorithm, a mental reward or a click model."""

from pathlib import Path
from typing import Annotated

import typer

from rec_rl.commands.options import (
    Json,
    Seed,
    Weights,
    chosen_weights,
    command_line,
    one_thread_per_process,
    print_record,
)


def tune(
    target: Annotated[str, typer.Argument(help="An algorithm, a mental reward or a click model.")],
    env: Annotated[
        str,
        typer.Option(
            help="Where: virtual-taobao (ppo, sac), session-world or session-replay (offline algorithms), "
            "click-world (mental rewards), click-log (click models)."
        ),
    ] = "virtual-taobao",
    data: Annotated[Path | None, typer.Option(help="File or folder of a log.")] = None,
    mapping: Annotated[
        str | None, typer.Option("--map", help="click-log: columns, as of rec-rl ctr train.")
    ] = None,
    weights: Weights = None,
    steps: Annotated[int, typer.Option(help="Steps of a trial of an algorithm.", min=1)] = 20_000,
    samples: Annotated[int, typer.Option(help="Trials.", min=1)] = 20,
    search: Annotated[str, typer.Option(help="random or optuna")] = "random",
    scheduler: Annotated[str, typer.Option(help="none, asha or pbt")] = "none",
    metric: Annotated[
        str | None,
        typer.Option(
            help="What decides: ectr, satisfaction, mixture, ncis_mixture, auc, ...; default by env."
        ),
    ] = None,
    max_concurrent: Annotated[int, typer.Option(help="Trials at a time; 0: one a core.", min=0)] = 0,
    storage: Annotated[
        Path | None,
        typer.Option(help="Folder of the sweep, shared by every node. Default: runs/tune-TARGET."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the sweep that lies there.")] = False,
    seeds: Annotated[
        int,
        typer.Option(
            help="Fresh seeds on which the three best settings are judged anew, beside the preset.", min=0
        ),
    ] = 0,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Search for settings; leaves them as a file that rec-rl train --config takes."""
    one_thread_per_process()
    from rec_rl.errors import check_name
    from rec_rl.experiments import sweep
    from rec_rl.experiments.sweep_targets import SweepTarget
    from tuning.best import BEST
    from tuning.tuner import SweepConfig

    aim = SweepTarget(
        name=target,
        env=env,
        data=None if data is None else str(data.absolute()),
        mapping=mapping,
        weights=chosen_weights(weights),
        steps=steps,
        seed=seed,
    )
    metric = check_name("metric", metric or next(iter(aim.metrics)), aim.metrics)
    config = SweepConfig(
        samples=samples,
        metrics=tuple(aim.metrics),
        metric=metric,
        mode=aim.metrics[metric],
        max_steps=aim.max_steps,
        search=search,
        scheduler=scheduler,
        mutable=aim.kind.mutable,
        max_concurrent=max_concurrent,
        seed=seed,
    )
    folder = (storage or Path("runs") / f"tune-{target}").absolute()
    record = sweep.tune(aim, config, folder, resume=resume, num_seeds=seeds, command=command_line())
    print_record(record.to_dict(), as_json)
    if not as_json:
        print(f"the best settings: {folder / BEST}")

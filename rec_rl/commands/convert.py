"""``rec-rl data convert``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rec_rl.commands.options import (
    Json,
    Seed,
    command_line,
    one_thread_per_process,
    print_facts,
    print_json,
    print_table,
)
from rec_rl.errors import ConfigError

KUAIRAND = "kuairand"
TOLD = ("users", "training_users", "items", "sessions", "requests", "state_dim", "action_dim", "click_rate")


def convert(
    log: Annotated[
        str,
        typer.Argument(
            help="CSV or Parquet file of a log, or a folder of them, with --map. Or kuairand and a folder."
        ),
    ],
    folder: Annotated[Path | None, typer.Argument(help="kuairand: folder of the published files.")] = None,
    mapping: Annotated[
        str | None,
        typer.Option(
            "--map",
            help="Columns of the log: user=uid,item=sku,time=ts,click=clicked and, where there are any, "
            "session, category, title, exposed, feedback (several).",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; for kuairand the Parquet file of a session log.")
    ] = None,
    session_gap: Annotated[
        str, typer.Option(help="Time without a request that ends a session: 90s, 30m, 2h.")
    ] = "30m",
    item_dim: Annotated[int, typer.Option(help="Numbers of an item's vector.", min=1)] = 8,
    held_out: Annotated[float, typer.Option(help="Share of users that nothing is fitted on.")] = 0.2,
    time_unit: Annotated[
        str | None, typer.Option(help="Of times that are numbers: ns, us, ms, s, min or h; default: by size.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show how the rows are understood and write nothing.")
    ] = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Make sessions, states and item vectors of any log, or of a public data set."""
    one_thread_per_process()
    if out is None and not dry_run:
        raise ConfigError("converting a log needs --out, or --dry-run to see how it is understood")
    if folder is not None:
        if out is None or mapping is not None:
            raise ConfigError(f"{log} {folder} needs --out and takes no --map and no --dry-run")
        _convert_public(log, folder, out, seed, as_json)
        return
    if mapping is None:
        raise ConfigError("converting a log needs --map user=COLUMN,item=COLUMN,time=COLUMN,click=COLUMN")
    from rec_rl.experiments.log_conversion import ConversionSpec, convert_log, preview

    spec = ConversionSpec(
        log=log,
        mapping=mapping,
        session_gap=session_gap,
        item_dim=item_dim,
        held_out=held_out,
        time_unit=time_unit,
        seed=seed,
    )
    if out is None or dry_run:
        seen = preview(spec, command=command_line())
        if as_json:
            print_json(seen)
            return
        columns = list(seen["rows"][0])
        rows = [["" if value is None else str(value) for value in row.values()] for row in seen["rows"]]
        print_table("The first rows, as they are understood", columns, rows)
        print("\n".join([*_account(seen), f"sessions: {seen['sessions']:,}"]))
        return
    record = convert_log(spec, out, command=command_line())
    if as_json:
        print_json(record)
        return
    told = [f"{name.replace('_', ' ')}: {record['config'][name]:,}" for name in TOLD]
    print("\n".join([*_account(record["config"]), *told, *record["notes"]]))
    print(f"{out}: see what it supports with rec-rl data audit {out}")


def _convert_public(layout: str, folder: Path, out: Path, seed: int, as_json: bool) -> None:
    from rec_rl.data.kuairand_sessions import convert_kuairand
    from rec_rl.errors import check_name
    from rec_rl.experiments.session_logs import leave_log

    check_name("layout", layout, [KUAIRAND])
    print_facts(leave_log(convert_kuairand(folder, seed=seed), out, command_line()), as_json)


def _account(told: dict[str, Any]) -> list[str]:
    """What became of the rows, in sentences."""
    lines = [f"{told['rows_read']:,} rows read, {told['rows_kept']:,} kept"]
    for reason, count in told["dropped"].items():
        example = told["examples"].get(reason)
        lines.append(f"dropped: {count:,}: {reason}" + (f" (first: {example})" if example else ""))
    lines += [f"repaired: {count:,}: {what}" for what, count in told["repaired"].items()]
    lines.append(f"times read as {told['times_read_as']}: {told['first_time']} to {told['last_time']}")
    return lines

"""``rec-rl table``: the papers' tables and the studies beside them, each from one command."""

import typer

from rec_rl.commands.tables import click_world, virtual_taobao

app = typer.Typer(help="The papers' tables, each from one command.", no_args_is_help=True)
app.command("click-world")(click_world.click_world)
app.command("virtual-taobao")(virtual_taobao.virtual_taobao)
app.command("virtual-taobao-settings")(virtual_taobao.virtual_taobao_settings)

"""``rec-rl table``: the papers' tables and the studies beside them, each from one command."""

import typer

from rec_rl.commands.tables import (
    ab,
    click_world,
    compare,
    ctr,
    feedback,
    kappa,
    kuairand_sessions,
    labels,
    ope,
    preference,
    prefrec,
    retrieval,
    satisfaction,
    serving,
    supported,
    truth,
    virtual_taobao,
)

app = typer.Typer(help="The papers' tables, each from one command.", no_args_is_help=True)
app.command("click-world")(click_world.click_world)
app.command("virtual-taobao")(virtual_taobao.virtual_taobao)
app.command("virtual-taobao-settings")(virtual_taobao.virtual_taobao_settings)
app.command("ctr")(ctr.ctr)
app.command("satisfaction")(satisfaction.satisfaction)
app.command("compare")(compare.compare)
app.command("feedback")(feedback.feedback)
app.command("truth")(truth.truth)
app.command("kappa")(kappa.kappa)
app.command("ab")(ab.ab)
app.command("ope")(ope.ope)
app.command("preference")(preference.preference)
app.command("kuairand-sessions")(kuairand_sessions.kuairand_sessions)
app.command("supported")(supported.supported)
app.command("prefrec")(prefrec.prefrec)
app.command("retrieval")(retrieval.retrieval)
app.command("serving")(serving.serving)
app.command("labels")(labels.labels)

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from rec_rl import cli

ROOT = Path(__file__).parents[2]


def rec_rl(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rec_rl.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(cwd)},
        check=False,
    )


def test_help_lists_the_commands_without_heavy_imports(tmp_path: Path):
    script = (
        "import sys; from typer.testing import CliRunner; from rec_rl.cli import app; "
        "print(CliRunner().invoke(app, ['--help']).stdout); "
        "print('heavy:', sorted({'torch', 'ray', 'numpy', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    for command in ("demo", "train", "evaluate", "reward", "ctr", "table", "report", "data"):
        assert f"  {command} " in done.stdout
    assert "heavy: []" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["data", "download", "virtual-taobo"],
            "unknown data set 'virtual-taobo'; did you mean 'virtual-taobao'",
        ),
        (["reward", "check", "nothing"], "nothing"),
        (["ope", "nowhere.parquet", "--policy", "x"], "nowhere.parquet cannot be read as Parquet"),
        (["report", "nothing"], "there is no record at nothing/record.json"),
        (["reward", "fit", "qr_iq", "--data", "click-world", "--out", "x"], "did you mean 'qr_iql'"),
        (
            ["reward", "fit", "preference", "--data", "x", "--out", "y", "--config", "best.json"],
            "--config is for mental rewards, got 'preference'",
        ),
        (
            ["ctr", "train", "din", "--data", "x", "--config", "best.json"],
            "best.json is not the configuration that a sweep leaves",
        ),
        (["train", "sac", "--set", "lr"], "--set must be name=value, got 'lr'"),
        (["train", "sac", "--weights", "nowhere"], "nowhere"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_1(tmp_path: Path, arguments: list[str], message: str):
    done = rec_rl(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("rec-rl: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in done.stderr


def test_a_wrong_command_line_exits_2(tmp_path: Path):
    assert rec_rl("train", "sac", "--steps", "many", cwd=tmp_path).returncode == 2


def test_ctrl_c_is_one_line_that_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    app = typer.Typer()

    @app.command()
    def command() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(sys, "argv", ["rec-rl"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    said = "rec-rl: interrupted; where the command has a --resume, that goes on from here\n"
    assert capsys.readouterr() == ("", said)


@pytest.mark.slow
def test_a_run_trains_reports_evaluates_and_resumes(tmp_path: Path):
    train = ["train", "sac", "--steps", "3000", "--name", "first", "--json"]
    done = rec_rl(*train, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record == json.loads((tmp_path / "runs/first/record.json").read_text())
    assert 0 <= record["metrics"]["ectr"]["value"] <= 1
    assert "ms/step" in done.stderr
    for name in ("config.json", "metrics.csv", "report.html", "checkpoints", "figures"):
        assert (tmp_path / "runs/first" / name).exists()
    assert "holds a run already" in rec_rl(*train, cwd=tmp_path).stderr
    evaluated = rec_rl("evaluate", "runs/first", "--episodes", "256", "--json", cwd=tmp_path)
    assert json.loads(evaluated.stdout)["metrics"]["ectr"]["n"] == 256

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rec_rl.cli import app
from rec_rl.experiments import doctor
from rec_rl.experiments.doctor import OK, PROBLEM, WARNING, Check
from rec_rl.experiments.doctor_cluster import compare_nodes


def states(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.state for check in checks}


def test_doctor_passes_on_the_machine_that_runs_the_suite(tmp_path: Path):
    checks = doctor.examine(tmp_path / "runs")
    assert [check for check in checks if check.state == PROBLEM] == []
    assert all(check.remedy for check in checks if check.state == WARNING)
    assert not (tmp_path / "runs").exists()  # looking changes nothing


def test_doctor_exits_1_on_a_problem_and_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "check_torch", lambda: Check(name="torch starts", state=OK, found="yes"))
    arguments = ["doctor", "--runs", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert {"name": "python", "state": "ok"}.items() <= json.loads(done.stdout)["checks"][0].items()
    monkeypatch.setattr(doctor, "available_memory", lambda: 2**30)
    done = CliRunner().invoke(app, arguments[:-1])
    assert done.exit_code == 1
    assert "memory: free at least 3.0 GB" in done.stdout


def test_versions_are_held_against_the_pins():
    installed = {"ray": "2.59.0", "torch": "2.13.0+cpu", "numpy": "2.5.0", "scipy": None}
    pinned = {"ray": "2.60.0", "torch": "2.13.0", "numpy": "2.4.6", "scipy": "1.17.1"}
    checks = list(doctor.check_versions(installed, pinned))
    assert states(checks) == {"ray": PROBLEM, "torch": OK, "numpy": WARNING, "scipy": PROBLEM}
    assert checks[0].remedy == "pip install -c constraints.txt ray==2.60.0"


def test_pins_name_every_package_that_is_looked_at():
    assert set(doctor.pinned_versions()) == set(doctor.PACKAGES)


def test_another_python_is_a_problem():
    assert doctor.check_python("3.11.9").state == OK
    assert doctor.check_python("3.12.1").state == PROBLEM


def test_a_port_in_use_is_named():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert doctor.check_port(port, "the head").found == "in use (the head)"
    assert doctor.check_port(port, "the head").state == OK


def test_a_token_is_asked_for_only_where_one_is_needed(tmp_path: Path):
    path = tmp_path / "auth_token"
    assert doctor.check_token({}, path, needed=False).state == OK
    assert doctor.check_token({}, path, needed=True).state == PROBLEM
    assert doctor.check_token({"RAY_AUTH_MODE": "disabled"}, path, needed=True).state == OK
    assert doctor.check_token({"RAY_AUTH_TOKEN": "x"}, path, needed=True).state == OK
    path.write_text("secret")
    path.chmod(0o644)
    assert doctor.check_token({}, path, needed=True).remedy == f"chmod 600 {path}"
    path.chmod(0o600)
    assert doctor.check_token({}, path, needed=True).state == OK


def test_a_folder_that_cannot_be_written_is_a_problem():
    check = doctor.check_writable(Path("/proc/runs"))
    assert check.state == PROBLEM
    assert "/proc cannot be written" in check.found


def test_a_node_with_another_version_is_a_problem():
    here = {"python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0+cpu"}
    nodes = {"a": here, "b": {"python": "3.11.7", "ray": "2.60.0", "torch": None}}
    good, bad = compare_nodes(nodes, here)
    assert good.state == OK
    assert bad.state == PROBLEM
    assert bad.found == "torch missing there, 2.13.0+cpu here"

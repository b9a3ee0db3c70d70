"""Jobs on a real ``ray start --head``, by the commands of docs/clusters.md."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PATIENCE = 300

pytestmark = pytest.mark.slow


def documented(command: str) -> list[str]:
    """The words of the line that runs ``command`` where docs/clusters.md starts a cluster on one machine."""
    section = (ROOT / "docs" / "clusters.md").read_text().split("## A cluster on this machine")[1]
    line = next(line for line in section.split("```")[1].splitlines() if command in line)
    return shlex.split(line, comments=True)


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    held = [socket.socket() for _ in range(count)]
    for probe in held:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in held]
    for probe in held:
        probe.close()
    return ports


class Head:
    """A cluster of one node, with ports, a token and a home of its own.

    Attributes:
        address: Of its job server.
        environment: Of a client that holds its token.
    """

    def __init__(self, home: Path) -> None:
        (home / ".ray").mkdir(parents=True)
        token = home / ".ray" / "auth_token"
        token.write_text("0123456789abcdef0123456789abcdef")
        token.chmod(0o600)
        gcs, dashboard, client, agent = free_ports(4)
        self.address = f"http://127.0.0.1:{dashboard}"
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # jobs run the node's ``python``
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_A")}
        self.environment = kept | {"HOME": str(home), "PATH": path}
        words = documented("ray start")
        command = words.index("ray")
        own = [f"--port={gcs}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
        own += [f"--dashboard-agent-listen-port={agent}", f"--temp-dir={home / 'r'}", "--num-cpus=2"]
        own += ["--object-store-memory=100000000", "--block", "--disable-usage-stats"]
        self.process = subprocess.Popen(
            [*words[command:], *own],
            executable=BIN / "ray",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=home,
            env=self.environment | dict(word.split("=") for word in words[:command]),
            start_new_session=True,
        )

    def rec_rl(self, *arguments: str, token: bool = True) -> "subprocess.CompletedProcess[str]":
        """A command of rec-rl, from a client with or without the token."""
        home = {} if token else {"HOME": "/nonexistent", "RAY_AUTH_MODE": "disabled"}
        return subprocess.run(
            [sys.executable, "-m", "rec_rl.cli", *arguments],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**self.environment, **home},
            timeout=PATIENCE,
            check=False,
        )

    def wait(self) -> None:
        """Returns when the job server answers."""
        deadline = time.monotonic() + PATIENCE
        host, port = self.address.removeprefix("http://").split(":")
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "the head ended"
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))) == 0:
                    return
            time.sleep(1)
        raise AssertionError(f"no job server at {self.address}")

    def stop(self) -> None:
        """Ends its whole process group; Ray's processes end with their parent."""
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    started = Head(tmp_path_factory.mktemp("h"))
    try:
        started.wait()
        yield started
    finally:
        started.stop()


def test_the_documented_job_trains_on_the_cluster_and_its_output_is_followed(head: Head, tmp_path: Path):
    own = {"http://127.0.0.1:8265": head.address, "$PWD/runs": str(tmp_path)}
    rec_rl, *submit = [own.get(word, word) for word in documented("rec-rl submit")]
    assert rec_rl == "rec-rl"
    done = head.rec_rl(*submit, "--weights", "synthetic", "--steps", "800", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "third" / "record.json").read_text())
    assert json.dumps(record, indent=1) in done.stdout
    assert "sac: 800/800" in done.stdout  # the job's progress


def test_a_failing_job_gives_its_exit_code_and_its_one_line(head: Head):
    submit = ["submit", "--address", head.address, "--json", "--"]
    done = head.rec_rl(*submit, "train", "sacc")
    assert done.returncode == 1
    assert "rec-rl: " in done.stderr
    assert json.loads(done.stdout)["exit_code"] == 1
    assert head.rec_rl(*submit, "train", "sac", "--steps", "many").returncode == 2


def test_a_client_without_the_token_is_turned_away(head: Head):
    done = head.rec_rl("submit", "--address", head.address, "--", "doctor", token=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        f"rec-rl: the cluster at {head.address} refuses this token"
    )


def test_an_address_at_which_nothing_answers_is_one_line(head: Head):
    done = head.rec_rl("submit", "--address", "http://127.0.0.1:1", "--", "doctor")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("rec-rl: no job server answers at http://127.0.0.1:1: ")


def test_the_doctor_compares_every_node_with_this_machine(head: Head):
    done = head.rec_rl("doctor", "--address", head.address, "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["cluster"]["state"] == "ok"
    assert checks["token"]["found"].endswith("auth_token")
    nodes = [check for name, check in checks.items() if name.startswith("node ")]
    assert [node["found"] for node in nodes] == ["same versions as here"]


def test_the_cluster_listens_on_the_loopback_alone(
    head: Head, ports: Callable[[int], tuple[list[int], list[int]]]
):
    inside, elsewhere = ports(head.process.pid)
    assert int(head.address.rsplit(":", 1)[1]) in inside
    assert len(inside) > 5
    assert elsewhere == []

"""Jobs without a cluster; tests/cluster submits real ones."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray._private.runtime_env.packaging import create_package
from ray.job_submission import JobStatus

from rec_rl.errors import ConfigError, RecRLError
from rec_rl.experiments import jobs
from rec_rl.experiments.jobs import JobSpec

ROOT = Path(__file__).parents[3]


class Server:
    """A job server that plays back what happened, one step a poll."""

    def __init__(self, *steps: tuple[JobStatus, str, int | None] | Exception) -> None:
        self.steps: Iterator[Any] = iter(steps)

    def get_job_info(self, name: str) -> SimpleNamespace:
        step = next(self.steps)
        if isinstance(step, Exception):
            raise step
        status, self.text, code = step
        return SimpleNamespace(status=status, driver_exit_code=code, message=f"{name} failed to set up\nmore")

    def get_job_logs(self, name: str) -> str:
        return self.text


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "SECONDS_BETWEEN_POLLS", 0)


def test_following_a_job_shows_each_line_once_and_gives_its_exit_code():
    shown: list[str] = []
    server = Server(
        (JobStatus.RUNNING, "a\n", None),
        ConnectionError("the tunnel broke"),
        (JobStatus.RUNNING, "a\nb", None),
        (JobStatus.FAILED, "a\nb\nc\n", 3),
    )
    assert jobs.follow(server, "j", shown.append) == 3
    assert "".join(shown) == "a\nb\nc\n"
    assert jobs.follow(Server((JobStatus.SUCCEEDED, "", 0)), "j", shown.append) == 0
    assert jobs.follow(Server((JobStatus.STOPPED, "", None)), "j", shown.append) == 130


def test_a_job_that_never_started_says_why():
    with pytest.raises(RecRLError, match=r"job j did not start: j failed to set up$"):
        jobs.follow(Server((JobStatus.FAILED, "", None)), "j", print)


def test_a_cluster_that_is_still_starting_is_given_time(monkeypatch: pytest.MonkeyPatch):
    starting = RuntimeError("500: No available agent to submit job")
    answers = iter([starting, "raysubmit_1", RuntimeError("full")])

    def submit_job(**_: Any) -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    server = SimpleNamespace(submit_job=submit_job)
    assert jobs._hand_in(server, "true") == "raysubmit_1"
    with pytest.raises(RecRLError, match="the cluster did not take the job: full"):
        jobs._hand_in(server, "true")
    monkeypatch.setattr(jobs, "SECONDS_TO_START", -1)
    answers = iter([starting])
    with pytest.raises(RecRLError, match="No available agent"):
        jobs._hand_in(server, "true")


def test_a_server_that_stays_away_is_given_up():
    gone = Server(*[ConnectionError("refused")] * 31)
    with pytest.raises(RecRLError, match="lost sight of job j, which may still run: refused"):
        jobs.follow(gone, "j", print)


def test_a_job_runs_the_checkout_with_the_pins():
    spec = JobSpec(arguments=("train", "ppo", "--name", "a b"), working_dir=ROOT, pip=True)
    assert spec.entrypoint == "python -m rec_rl.cli train ppo --name 'a b'"
    environment = spec.runtime_env()
    assert "torch==2.13.0" in environment["pip"]
    assert not any(pin.startswith("ray==") for pin in environment["pip"])
    assert environment["working_dir"] == str(ROOT)
    assert "pip" not in JobSpec(arguments=("doctor",), working_dir=ROOT).runtime_env()


def test_the_upload_holds_the_code_and_nothing_else(tmp_path: Path):
    package = tmp_path / "package.zip"
    create_package(str(ROOT), package, include_gitignore=True)
    with zipfile.ZipFile(package) as archive:
        names = archive.namelist()
    for part in ("rec_rl/data/sessions.py", "rec_rl/cli.py", "envs/virtual_taobao.py", "tuning/tuner.py"):
        assert part in names
    assert {name.split("/")[0] for name in names}.isdisjoint({".git", ".venv", "runs", "data", "docs"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arguments": ()}, "a job needs a command"),
        ({"working_dir": Path("/nowhere")}, "/nowhere has no rec_rl/cli.py"),
    ],
)
def test_a_job_that_cannot_run_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        JobSpec(**({"arguments": ("doctor",), "working_dir": ROOT} | changes))


def test_an_address_without_a_job_server_is_refused(monkeypatch: pytest.MonkeyPatch):
    def absent(address: str) -> None:
        raise ConnectionError(f"nothing answers at {address}")

    # the client itself would settle for the whole process whether Ray uses tokens
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", absent)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(ConfigError, match=r"must be a job server's.*got 'localhost:6379'"):
        jobs.connect("localhost:6379")
    with pytest.raises(ConfigError, match=r"no job server answers at http://127\.0\.0\.1:1"):
        jobs.connect("http://127.0.0.1:1")


def test_a_token_turns_authentication_on_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HOME", str(tmp_path))
    jobs.use_token_if_there_is_one()
    assert jobs.os.environ["RAY_AUTH_MODE"] == ""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    jobs.use_token_if_there_is_one()
    assert jobs.os.environ["RAY_AUTH_MODE"] == "token"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    jobs.use_token_if_there_is_one()
    assert jobs.os.environ["RAY_AUTH_MODE"] == "disabled"

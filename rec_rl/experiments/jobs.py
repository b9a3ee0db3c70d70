"""Runs a command of rec_rl as a job on a Ray cluster, and follows it to its end."""

import logging
import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rec_rl.errors import ConfigError, RecRLError
from rec_rl.progress import say

SECONDS_BETWEEN_POLLS = 1.0
POLLS_WITHOUT_AN_ANSWER = 30
SECONDS_TO_START = 120.0
NOT_YET = "No available agent"
"""In the job server's answer while the cluster is starting."""


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """One command of rec_rl on a cluster.

    Attributes:
        arguments: Of ``rec-rl``, such as ("train", "ppo").
        working_dir: The checkout that is uploaded, but for what its .rayignore names.
        pip: Install the exact pins of its constraints.txt on the cluster first; without it the nodes must
            have them, as in a prebuilt image.
    """

    arguments: tuple[str, ...]
    working_dir: Path
    pip: bool = False

    def __post_init__(self) -> None:
        if not self.arguments:
            raise ConfigError("a job needs a command: rec-rl submit --address ... -- train ppo")
        for name in ("rec_rl/cli.py", ".rayignore", "constraints.txt"):
            if not (self.working_dir / name).is_file():
                raise ConfigError(
                    f"--working-dir must be a checkout of rec_rl: {self.working_dir} has no {name}"
                )

    @property
    def entrypoint(self) -> str:
        """The command line that runs in the working directory on the cluster."""
        return shlex.join(["python", "-m", "rec_rl.cli", *self.arguments])

    def runtime_env(self) -> dict[str, Any]:
        """What the job needs to run, as Ray takes it."""
        environment: dict[str, Any] = {
            "working_dir": str(self.working_dir),
            "env_vars": {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        }
        if self.pip:
            environment["pip"] = pins(self.working_dir / "constraints.txt")
        return environment


def pins(constraints: Path) -> list[str]:
    """The exact versions of a constraints file, but for Ray's, which is the cluster's own."""
    lines = (line.split("#")[0].strip() for line in constraints.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("ray==")]


def use_token_if_there_is_one() -> None:
    """Turns token authentication on where a token lies ready and nothing else was chosen.

    Clusters ask for a token by default while clients send none by default, which fails the first request.
    """
    if os.environ.get("RAY_AUTH_MODE"):
        return
    if os.environ.get("RAY_AUTH_TOKEN") or token_path().is_file():
        os.environ["RAY_AUTH_MODE"] = "token"


def token_path() -> Path:
    """The file in which Ray looks for the token unless told otherwise."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def connect(address: str) -> Any:
    """A client of the job server at ``address``, which is http://host:port.

    Raises:
        ConfigError: If there is no job server or it refuses the token.
    """
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"--address must be a job server's, such as http://127.0.0.1:8265, got {address!r}")
    use_token_if_there_is_one()
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray").setLevel(logging.ERROR)  # it tells of every folder that it leaves out
    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise ConfigError(
            f"the cluster at {address} refuses this token: put the cluster's into {token_path()} or "
            "RAY_AUTH_TOKEN, with RAY_AUTH_MODE=token"
        ) from error
    except ConnectionError as error:
        raise ConfigError(
            f"no job server answers at {address}: is the tunnel open (ray dashboard cluster.yaml)?"
        ) from error
    except RuntimeError as error:
        raise ConfigError(f"the job server at {address} cannot be used: {error}") from error


def submit(address: str, spec: JobSpec, write: Callable[[str], None]) -> tuple[str, int]:
    """Submits ``spec`` and follows it.

    Args:
        address: Of the job server.
        spec: What to run.
        write: Takes the job's output as it appears.

    Returns:
        The job's name and its exit code.

    Raises:
        ConfigError: If the cluster cannot be reached.
        RecRLError: If the job never started.
    """
    client = connect(address)
    name = _hand_in(client, spec.entrypoint, spec.runtime_env())
    say(f"job {name} runs {spec.entrypoint}")
    return name, follow(client, name, write)


def _hand_in(client: Any, entrypoint: str, runtime_env: dict[str, Any] | None = None) -> str:
    """Submits a job; a cluster that has just started takes none for a while."""
    deadline = time.monotonic() + SECONDS_TO_START
    while True:
        try:
            return str(client.submit_job(entrypoint=entrypoint, runtime_env=runtime_env))
        except (RuntimeError, ValueError) as error:
            if NOT_YET not in str(error) or time.monotonic() > deadline:
                raise RecRLError(f"the cluster did not take the job: {_first_line(error)}") from error
        time.sleep(SECONDS_BETWEEN_POLLS)


def follow(client: Any, name: str, write: Callable[[str], None]) -> int:
    """Writes a job's output until it ends; returns its exit code.

    Polls instead of keeping a connection open, so that a tunnel that breaks for a moment loses nothing.
    """
    from ray.job_submission import JobStatus

    shown, failures = 0, 0
    while True:
        try:
            info = client.get_job_info(name)
            text = client.get_job_logs(name)
            failures = 0
        except (RuntimeError, OSError) as error:
            failures += 1
            if failures > POLLS_WITHOUT_AN_ANSWER:
                raise RecRLError(
                    f"lost sight of job {name}, which may still run: {_first_line(error)}"
                ) from error
            time.sleep(SECONDS_BETWEEN_POLLS)
            continue
        if len(text) > shown:
            write(text[shown:])
            shown = len(text)
        if info.status.is_terminal():
            break
        time.sleep(SECONDS_BETWEEN_POLLS)
    if info.status == JobStatus.SUCCEEDED:
        return 0
    if info.status == JobStatus.STOPPED:
        say(f"job {name} was stopped")
        return 130
    if info.driver_exit_code is None:
        raise RecRLError(f"job {name} did not start: {_first_line(info.message)}")
    return int(info.driver_exit_code)


def run_on_cluster(address: str, arguments: Sequence[str]) -> str:
    """What a short command printed on the cluster's head.

    Raises:
        RecRLError: If it failed.
    """
    client = connect(address)
    name = _hand_in(client, shlex.join(arguments))
    output: list[str] = []
    if code := follow(client, name, output.append):
        raise RecRLError(f"job {name} exited {code}: {''.join(output).strip()[-300:]}")
    return "".join(output)


def _first_line(error: Any) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__

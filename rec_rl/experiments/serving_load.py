"""A served artefact under load: answers per second, how long they take, and a replica killed on the way."""

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rec_rl.errors import ConfigError, RecRLError
from rec_rl.evaluation.intervals import CONFIDENCE, Estimate, bootstrap_interval, mean_interval
from rec_rl.experiments.records import RunRecord
from rec_rl.progress import Progress
from rec_rl.runtime import Recommender

HOST = "127.0.0.1"
START_SECONDS, STOP_SECONDS, ANSWER_SECONDS = 300.0, 60.0, 30.0
NUM_BODIES = 256
JSON = {"Content-Type": "application/json"}
STEADY, KILLED = "steady", "a replica killed"
MOST_FAILED, MOST_SECONDS_TO_RECOVER = 0.01, 60.0


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is asked of the server.

    Attributes:
        clients: That ask at a time, each as soon as it has its answer.
        seconds: Of each of the two arms.
        replicas: Processes that answer.
        k: Items of a question.
        port: Of this machine's loopback address.
    """

    clients: int = 16
    seconds: float = 30.0
    replicas: int = 2
    k: int = 10
    port: int = 8123

    def __post_init__(self) -> None:
        if not self.seconds >= 3:
            raise ConfigError(f"seconds must be >= 3, got {self.seconds:g}")
        if self.replicas < 2:
            raise ConfigError(f"replicas must be >= 2, so that one can be killed, got {self.replicas}")


@dataclass(frozen=True)
class Answers:
    """When questions were sent [s], how long their answers took [s], and their HTTP status, shape [n] each.

    The status is 0 where the connection broke.
    """

    sent: NDArray[np.float64]
    took: NDArray[np.float64]
    status: NDArray[np.int64]


def measure_serving(folder: Path, load: Load, *, progress: Progress, command: str) -> RunRecord:
    """Serves an artefact in a process of its own and loads it, twice: in peace, and with a replica killed.

    Args:
        folder: Of the artefact.
        load: What is asked.
        progress: Where progress is shown.
        command: For the record.

    Raises:
        CheckpointError, ConfigError: If the artefact cannot recommend.
        RecRLError: If the server does not come up, or never replaces the killed replica.
    """
    started = time.monotonic()
    recommender = Recommender(folder)
    bodies = example_bodies(recommender, load.k)
    with server_process(folder, load) as replicas:
        progress.update("serving", 1, 3, f"{len(replicas)} replicas are up")
        arms = {STEADY: _metrics(ask_for(load, bodies))}
        progress.update("serving", 2, 3, "loaded")
        arms[KILLED] = _while_killing(load, bodies, replicas)
        progress.update("serving", 3, 3, "a replica was killed and replaced")
    description = recommender.artefact.description
    return RunRecord(
        command=command,
        seeds=[0],
        data_hash=description["source"]["data_hash"] or "",
        config={**asdict(load), "artefact": description["what"], "items": description["items"]["count"]},
        arms=arms,
        missed=_missed(arms),
        seconds=time.monotonic() - started,
        notes=[
            f"{load.clients} clients ask as soon as they are answered; they share {os.cpu_count()} cores "
            "with the server. Rates are means of one-second windows.",
            "A replica is killed a third of the way through. 'failed' is the share of questions without an "
            "answer; 'recovery_seconds' runs until all replicas answer again.",
        ],
    )


def example_bodies(recommender: Recommender, k: int) -> list[bytes]:
    """Questions as the artefact's schema wants them, drawn at random with a fixed seed."""
    rng = np.random.default_rng(0)
    features = recommender.artefact.description["features"]
    ids = recommender.item_ids.ids

    def user() -> dict[str, Any]:
        if "state" in features:
            return {"state": rng.standard_normal(features["state"]["size"]).round(4).tolist()}
        return {"history": rng.choice(ids, rng.integers(0, features["history"]["most"] + 1)).tolist()}

    return [
        json.dumps({"user": user(), "k": k, "exclude": rng.choice(ids, 3).tolist()}).encode()
        for _ in range(NUM_BODIES)
    ]


@contextmanager
def server_process(folder: Path, load: Load) -> Iterator[set[int]]:
    """``rec-rl serve`` while the block runs, with Ray's files in a folder of its own.

    Yields:
        Process ids of the replicas, once all of them answer.
    """
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as temporary:
        command = [sys.executable, "-m", "rec_rl.cli", "serve", str(folder)]
        command += ["--port", str(load.port), "--replicas", str(load.replicas)]
        environment = {**os.environ, "RAY_TMPDIR": temporary}
        log = Path(temporary) / "serve.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        try:
            yield _await_replicas(load, set(), process, log)
        finally:
            _end(process)


def ask_for(load: Load, bodies: Sequence[bytes]) -> Answers:
    """What all clients were answered in ``load.seconds``."""
    rows: list[list[tuple[float, float, int]]] = [[] for _ in range(load.clients)]
    deadline = time.monotonic() + load.seconds
    threads = [
        threading.Thread(target=_ask, args=(load.port, bodies[i:], deadline, found))
        for i, found in enumerate(rows)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent, took, status = np.array([row for found in rows for row in found]).T
    return Answers(sent, took, status.astype(np.int64))


def _ask(port: int, bodies: Sequence[bytes], deadline: float, found: list[tuple[float, float, int]]) -> None:
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_SECONDS)
    asked = 0
    while (sent := time.monotonic()) < deadline:
        try:
            connection.request("POST", "/recommend", bodies[asked % len(bodies)], JSON)
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):
            connection.close()
            status = 0
        found.append((sent, time.monotonic() - sent, status))
        asked += 1
    connection.close()


def _while_killing(load: Load, bodies: Sequence[bytes], replicas: set[int]) -> dict[str, Estimate]:
    killed: list[float] = []

    def kill() -> None:
        time.sleep(load.seconds / 3)
        os.kill(min(replicas), signal.SIGKILL)
        killed.append(time.monotonic())

    killer = threading.Thread(target=kill)
    killer.start()
    answers = ask_for(load, bodies)
    killer.join()
    _await_replicas(load, {min(replicas)})
    recovery = time.monotonic() - killed[0]
    return _metrics(answers) | {
        "recovery_seconds": Estimate(value=recovery, low=float("nan"), high=float("nan"), n=1)
    }


def _metrics(answers: Answers) -> dict[str, Estimate]:
    """Rate, quantiles of the time of an answer, and the share of questions that failed.

    Raises:
        RecRLError: If none was answered.
    """
    good = answers.status == http.HTTPStatus.OK
    if not good.any():
        raise RecRLError(f"no question was answered, the last status was {answers.status[-1]}")
    done = answers.sent + answers.took
    windows = np.bincount((done[good] - answers.sent.min()).astype(np.int64))[1:-1]
    milliseconds = 1e3 * answers.took[good]
    failed = int((~good).sum())
    exact = stats.binomtest(failed, len(good)).proportion_ci(CONFIDENCE)
    return {
        "requests_per_second": mean_interval(windows),
        "p50_ms": _quantile(milliseconds, 0.5),
        "p99_ms": _quantile(milliseconds, 0.99),
        "failed": Estimate(
            value=failed / len(good), low=float(exact.low), high=float(exact.high), n=len(good)
        ),
    }


def _quantile(sample: NDArray[np.float64], level: float) -> Estimate:
    return bootstrap_interval(
        lambda rows: float(np.quantile(sample[rows], level)), len(sample), np.random.default_rng(0), draws=200
    )


def _await_replicas(
    load: Load, dead: set[int], process: "subprocess.Popen[bytes] | None" = None, log: Path | None = None
) -> set[int]:
    """Waits until as many living replicas answer as there should be."""
    deadline = time.monotonic() + START_SECONDS
    seen: set[int] = set()
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            said = log.read_text().strip().splitlines() if log is not None else []
            raise RecRLError(f"the server ended with code {process.returncode}: {said[-1] if said else ''}")
        try:
            connection = http.client.HTTPConnection(HOST, load.port, timeout=5)
            connection.request("GET", "/health")
            answer = connection.getresponse()
            if answer.status == http.HTTPStatus.OK:
                seen.add(int(json.loads(answer.read())["pid"]))
        except (OSError, http.client.HTTPException):
            time.sleep(0.5)
        if len(seen - dead) >= load.replicas:
            return seen - dead
        time.sleep(0.02)
    raise RecRLError(
        f"the server did not have {load.replicas} replicas within {START_SECONDS:g} s, got {len(seen - dead)}"
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Asks the server to stop, and ends what is left of its session."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _missed(arms: Mapping[str, Mapping[str, Estimate]]) -> list[dict[str, Any]]:
    missed = [
        {"bar": f"{arm}: at most {MOST_FAILED:.0%} of questions fail", "value": metrics["failed"].value}
        for arm, metrics in arms.items()
        if metrics["failed"].value > MOST_FAILED
    ]
    recovery = arms[KILLED]["recovery_seconds"].value
    if recovery > MOST_SECONDS_TO_RECOVER:
        bar = f"all replicas answer again within {MOST_SECONDS_TO_RECOVER:g} s"
        missed.append({"bar": bar, "value": recovery})
    return [{**miss, "reason": "measured so"} for miss in missed]

"""Runs trials on Ray. This is the one place that starts it."""

import hashlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray

from rec_rl.errors import RecRLError
from rec_rl.experiments.records import to_plain, write_text
from rec_rl.progress import Progress

Event = dict[str, Any]
"""What a trial tells while it runs: {"step", "total"}, and at last {"result": plain values}."""

Trial = Callable[[Mapping[str, Any]], Iterator[Event]]


def start_ray(address: str | None = None, num_cpus: int | None = None) -> None:
    """Joins the cluster at ``address``, the one of the job it runs in, or starts one on this machine.

    One that it starts listens on 127.0.0.1 alone.
    """
    if ray.is_initialized():
        return
    ray._private.worker.print_to_stdstream = _tell  # stdout is for results
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # trials are the work, not a background task
    joins = address or os.environ.get("RAY_ADDRESS")
    if not joins:  # Ray's own way to the loopback, which it takes by itself on macOS only
        ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
    local = {} if joins else {"num_cpus": num_cpus, "include_dashboard": False}
    ray.init(address=joins, log_to_driver=False, logging_level=logging.ERROR, configure_logging=True, **local)
    quiet_ray()


def quiet_ray() -> None:
    """Lets errors through alone; importing Ray and starting it set other levels."""
    for logger in ("ray", "ray.rllib"):
        logging.getLogger(logger).setLevel(logging.ERROR)


def _tell(data: Mapping[str, Any], ignore_prefix: bool) -> None:
    """The first sentence of what Ray's processes have to say, on stderr; Ray prints all of it on stdout."""
    for message in data["lines"]:
        print(f"ray: {str(message).strip().split('. ')[0]}", file=sys.stderr)


def trial_key(spec: Mapping[str, Any]) -> str:
    """A name for a trial that changes with anything in its specification."""
    text = json.dumps(to_plain(spec), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_trials(
    trial: Trial,
    specs: Mapping[str, Mapping[str, Any]],
    *,
    store: Path,
    progress: Progress,
    together: str | None = None,
    max_concurrent: int | None = None,
) -> dict[str, Any]:
    """Runs one trial per specification, as many at a time as the cluster has cores.

    A trial's result is kept in ``store`` under the hash of its specification, and a trial whose result is
    there is not run again: an interrupted table goes on where it stopped.

    Args:
        trial: A generator function; takes a specification, yields events, and yields its result last.
        specs: Specifications by name.
        store: Folder of finished results.
        progress: Where every trial shows its steps.
        together: Shows the trials as one task of this name instead, counted as they end: for more of them
            than lines on a screen.
        max_concurrent: Bound on trials at a time; None is the number of cores.

    Returns:
        Results by name, in the order of ``specs``.

    Raises:
        RecRLError: If a trial fails; says which and why.
    """
    results: dict[str, Any] = {}
    waiting: list[str] = []
    for name, spec in specs.items():
        path = store / f"{trial_key(spec)}.json"
        if path.is_file():
            results[name] = json.loads(path.read_text())
        else:
            waiting.append(name)
    if together is not None:
        progress.update(together, len(results), len(specs))
    if waiting:
        start_ray()
        limit = max_concurrent or max(1, int(ray.cluster_resources().get("CPU", 1)))
        remote = ray.remote(num_cpus=1)(trial)
        running: dict[Any, str] = {}
        while waiting or running:
            while waiting and len(running) < limit:
                name = waiting.pop(0)
                running[remote.remote(dict(specs[name]))] = name
            ready, _ = ray.wait(list(running), num_returns=1, fetch_local=False)
            stream = ready[0]
            name = running[stream]
            event = _next_event(stream, name)
            if event is None:
                del running[stream]
                continue
            if "result" in event:
                results[name] = to_plain(event["result"])
                write_text(store / f"{trial_key(specs[name])}.json", json.dumps(results[name]))
            if together is not None:
                progress.update(together, len(results), len(specs), _note(event, name))
            elif "step" in event:
                progress.update(name, event["step"], event["total"], _note(event))
    return {name: results[name] for name in specs}


def _note(event: Event, name: str | None = None) -> str:
    """How far the trial ``name`` is, among others, and its click-through rate, where it tells one."""
    parts = [] if name is None else [name]
    if name is not None and "result" not in event:
        parts[0] += f" {event['step']:,}/{event['total']:,}"
    figures = event.get("result", event)
    if "ectr" in figures:
        parts.append(f"eCTR {figures['ectr']:.3f}")
    return "  ".join(parts)


def _next_event(stream: Any, name: str) -> Event | None:
    try:
        return dict(ray.get(next(stream)))
    except StopIteration:
        return None
    except ray.exceptions.RayTaskError as error:
        cause = error.cause or error
        raise RecRLError(f"trial {name!r} failed: {type(cause).__name__}: {cause}") from error
    except ray.exceptions.RayError as error:
        raise RecRLError(f"trial {name!r} was lost: {type(error).__name__}") from error

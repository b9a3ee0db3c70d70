"""Session logs as the command line leaves and audits them."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from rec_rl.data.session_files import load_log, save_log
from rec_rl.data.sessions import SessionLog
from rec_rl.evaluation.audit import LogAudit, audit_log
from rec_rl.evaluation.intervals import Estimate, mean_interval
from rec_rl.experiments.records import RunRecord


def leave_log(log: SessionLog, path: Path, command: str) -> dict[str, Any]:
    """Saves a log and says what is in it."""
    save_log(log, path)
    return {
        "command": command,
        "path": str(path),
        "data_hash": log.content_hash,
        "users": len(log.user_ids),
        "sessions": len(log.session_starts),
        "requests": len(log),
        "state_dim": log.states.shape[1],
        "action_dim": log.actions.shape[1],
        "behaviour": "unknown" if log.behaviour is None else "recorded",
        "mean_feedback": {name: round(float(np.nanmean(x)), 4) for name, x in log.feedback.items()},
    }


def audit_file(path: Path, *, seed: int, command: str) -> tuple[RunRecord, LogAudit, SessionLog]:
    """Audits a log; the record's notes are the audit in words."""
    started = time.monotonic()
    log = load_log(path)
    audit = audit_log(log, seed=seed)
    metrics = {
        "mean_depth": mean_interval(log.depths.astype(float)),
        "mean_gap_hours": mean_interval(log.gaps[log.gaps > 0]),
        "supported_radius": _figure(audit.supported_radius, audit.num_users),
        "usable_radius": _figure(audit.usable_radius, audit.num_users),
    }
    record = RunRecord(
        command=command,
        seeds=[seed],
        data_hash=log.content_hash,
        config={"log": str(path), "audit": audit},
        metrics=metrics,
        seconds=time.monotonic() - started,
        notes=audit.sentences(),
    )
    return record, audit, log


def _figure(value: float, n: int) -> Estimate:
    return Estimate(value=value, low=float("nan"), high=float("nan"), n=n)

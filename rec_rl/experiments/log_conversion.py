"""Turns anyone's log into interactions and sessions, and says what became of its rows."""

import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rec_rl.data.behaviour import fit_behaviour
from rec_rl.data.converted_logs import ABOUT, save_converted
from rec_rl.data.own_logs import OwnLog, read_own_log
from rec_rl.data.session_building import BuiltSessions, SessionBuild, build_sessions, session_opens
from rec_rl.data.tables import ColumnMap
from rec_rl.errors import ConfigError, DatasetError
from rec_rl.evaluation.audit import calibrate
from rec_rl.experiments.records import RunRecord

SHOWN_ROWS = 10
_GAP = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h|d)")
_MINUTES = {"s": 1 / 60, "m": 1.0, "h": 60.0, "d": 1440.0}


@dataclass(frozen=True, kw_only=True)
class ConversionSpec:
    """How a log is converted.

    Attributes:
        log: CSV or Parquet file, or a folder of them.
        mapping: Roles of its columns, as `ColumnMap.parse` reads them.
        session_gap: Time without a request that ends a session, such as "30m", "2h" or "90s".
        item_dim: Numbers of an item's vector, >= 1.
        held_out: Share of the users that nothing is fitted on, in (0, 1).
        time_unit: Of times that are numbers; None goes by their size.
        seed: Of the vectors and the choice of the users held out.
    """

    log: str
    mapping: str
    session_gap: str = "30m"
    item_dim: int = 8
    held_out: float = 0.2
    time_unit: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.item_dim < 1:
            raise ConfigError(f"item_dim must be >= 1, got {self.item_dim}")
        if not 0 < self.held_out < 1:
            raise ConfigError(f"held_out must be in (0, 1), got {self.held_out}")
        _ = self.gap_minutes

    @property
    def gap_minutes(self) -> float:
        """The session gap in minutes."""
        found = _GAP.fullmatch(self.session_gap)
        if found is None or float(found[1]) == 0:
            raise ConfigError(
                f"a session gap must be a time > 0 such as 90s, 30m, 2h or 1d, got {self.session_gap!r}"
            )
        return float(found[1]) * _MINUTES[found[2]]

    def read(self) -> OwnLog:
        """The log as it is understood."""
        return read_own_log(Path(self.log), ColumnMap.parse(self.mapping), time_unit=self.time_unit)


def preview(spec: ConversionSpec, *, command: str) -> dict[str, Any]:
    """The first rows as they are understood, and what would be dropped; writes nothing."""
    own = spec.read()
    rows = own.interactions
    session = session_opens(rows, spec.gap_minutes).cumsum()
    first = session[rows.user_offsets[rows.users]]  # of each row's user
    shown = [
        {
            "user": str(rows.user_ids.decode(rows.users[[i]])[0]),
            "session": int(session[i] - first[i]) + 1,
            "time": str(pd.Timestamp(int(rows.times[i]), unit="ms")),
            "item": str(rows.item_ids.decode(rows.items[[i]])[0]),
            "title": own.titles[rows.items[i] - 1],
            "click": int(rows.actions[i]),
            **{name: _number(column[i]) for name, column in rows.feedback.items()},
        }
        for i in range(min(SHOWN_ROWS, len(rows)))
    ]
    return {"command": command, "rows": shown, **_account(own), "sessions": int(session[-1])}


def convert_log(spec: ConversionSpec, out: Path, *, command: str) -> dict[str, Any]:
    """Converts a log into a folder, which appears whole or not at all.

    Args:
        spec: How.
        out: The folder; one that an earlier conversion left is replaced.
        command: For the record.

    Returns:
        What is in it, as left in its ``conversion.json``.

    Raises:
        ConfigError: If something else is at ``out``.
        DatasetError: If the log cannot be read or is too small.
    """
    if out.exists() and not (out / ABOUT).is_file():
        raise ConfigError(f"{out} exists and is no converted log; name another folder")
    own = spec.read()
    held_out = _held_out(own.interactions.user_ids.num_codes, spec)
    build = SessionBuild(
        gap_minutes=spec.gap_minutes,
        item_dim=spec.item_dim,
        signals=tuple(own.interactions.feedback),
        seed=spec.seed,
    )
    built = build_sessions(own.interactions, build, fitted_on=~held_out)
    about = _about(spec, own, built, held_out, command)
    staging = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        staging.mkdir(parents=True)
        save_converted(staging, own.interactions, own.titles, built, held_out)
        about.save(staging / ABOUT)
        shutil.rmtree(out, ignore_errors=True)
        staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return about.to_dict()


def _held_out(num_codes: int, spec: ConversionSpec) -> NDArray[np.bool_]:
    """Users that nothing is fitted on, by code; code 0 is no user."""
    num_users = num_codes - 1
    num_held = round(spec.held_out * num_users)
    if not 0 < num_held < num_users:
        raise DatasetError(f"too few users to hold out a share of {spec.held_out}: got {num_users}")
    held_out = np.zeros(num_codes, np.bool_)
    held_out[1 + np.random.default_rng(spec.seed).permutation(num_users)[:num_held]] = True
    return held_out


def _about(
    spec: ConversionSpec, own: OwnLog, built: BuiltSessions, held_out: NDArray[np.bool_], command: str
) -> RunRecord:
    out = held_out[built.log.user_ids]
    train, test = built.log.of_users(~out), built.log.of_users(out)
    behaviour = fit_behaviour(train.states, train.actions).on(test.states)
    calibration = calibrate(test, behaviour)
    notes = [
        f"behaviour: the log has no propensities; a linear Gaussian fitted on {len(train.user_ids):,} users "
        f"is {calibration.verdict}, on the {len(test.user_ids):,} held out",
        f"{built.cold.mean():.0%} of the items are too rare for a vector of their own and take their "
        "category's, or none",
    ]
    if own.interactions.exposed.all() and (own.interactions.actions == 1).all():
        notes.append("every row is taken as shown and clicked: nothing says what was shown and declined")
    return RunRecord(
        command=command,
        seeds=[spec.seed],
        data_hash=train.content_hash,
        config={
            "spec": asdict(spec),
            **_account(own),
            "sessions": len(built.log.session_starts),
            "requests": len(built.log),
            "training_users": len(train.user_ids),
            "test_hash": test.content_hash,
            "state_dim": train.states.shape[1],
            "action_dim": train.actions.shape[1],
            "behaviour": {
                "bias": calibration.bias,
                "spread": calibration.spread,
                "coverage": calibration.coverage,
                "explained": calibration.explained,
                "verdict": calibration.verdict,
            },
        },
        notes=notes,
    )


def _number(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)


def _account(own: OwnLog) -> dict[str, Any]:
    """What became of the rows."""
    times = own.interactions.times
    return {
        "rows_read": own.num_rows,
        "rows_kept": len(own.interactions),
        "dropped": dict(own.dropped),
        "examples": dict(own.examples),
        "repaired": dict(own.repaired),
        "times_read_as": own.time_unit,
        "first_time": str(pd.Timestamp(int(times.min()), unit="ms")),
        "last_time": str(pd.Timestamp(int(times.max()), unit="ms")),
        "users": own.interactions.user_ids.num_codes - 1,
        "items": own.interactions.item_ids.num_codes - 1,
        "click_rate": round(float(own.interactions.actions.mean()), 4),
    }

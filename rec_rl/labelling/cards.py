"""What the page shows of a session: when it was, how long, what was shown and what the user made of it."""

from typing import Any

import numpy as np
import pandas as pd

from rec_rl.data.converted_logs import ItemTable
from rec_rl.data.session_building import COLD
from rec_rl.data.sessions import SessionLog

MOST_LANES = 3
"""Signals that the timeline draws."""

LEAST_HEIGHT = 0.15
_FIRST_DATE = 175_000.0  # hours since 1970: times below are counted from some other origin
_VECTOR_BARS = 8


class SessionCards:
    """Shows sessions of a log.

    Args:
        log: The sessions.
        items: The table that the log's ``items`` are rows of; None where there is none.
        user_names: Names of the log's users, by id; an id without a name is shown as it is.
    """

    def __init__(
        self, log: SessionLog, items: ItemTable | None = None, user_names: dict[int, str] | None = None
    ) -> None:
        self._log, self._items, self._user_names = log, items, user_names or {}
        self._signals = {name: signal for name, signal in log.feedback.items() if name != COLD}
        self._ranges = {name: _range(signal) for name, signal in self._signals.items()}
        self._largest = np.quantile(np.abs(log.actions), 0.99, axis=0).clip(min=1e-12)
        self._dated = bool(log.times[0] > _FIRST_DATE)

    def session(self, index: int) -> dict[str, Any]:
        """One session as plain values."""
        log = self._log
        start, depth = int(log.session_starts[index]), int(log.depths[index])
        rows = slice(start, start + depth)
        user = int(log.session_users[index])
        first = index == 0 or log.session_user_index[index] != log.session_user_index[index - 1]
        names = list(self._signals)[:MOST_LANES]
        return {
            "user": self._user_names.get(user, str(user)),
            "when": self._when(float(log.times[start])),
            "requests": depth,
            "lasted": span(float(log.times[start + depth - 1] - log.times[start])),
            "before": "first session" if first else f"{span(float(log.gaps[index - 1]))} after the last one",
            "after": f"came back after {span(float(log.gaps[index]))}",
            "lanes": [{"name": name, "values": self._lane(name, rows)} for name in names],
            "cards": [self._card(row, start) for row in range(start, start + depth)],
        }

    def _card(self, row: int, start: int) -> dict[str, Any]:
        log, feedback = self._log, []
        for name, signal in self._signals.items():
            value, (low, high) = float(signal[row]), self._ranges[name]
            if np.isnan(value) or ((low, high) == (0.0, 1.0) and value == 0):
                continue  # a flag that is not set says nothing
            feedback.append(name if (low, high) == (0.0, 1.0) and value == 1 else f"{name} {value:.3g}")
        card = {"after": span(float(log.times[row] - log.times[start])), "feedback": feedback}
        if self._items is None or log.items is None:
            heights = (log.actions[row] / self._largest)[:_VECTOR_BARS].clip(-1, 1)
            return card | {"title": "item without a name", "category": "", "bars": heights.tolist()}
        item = int(log.items[row])
        return card | {
            "title": self._items.titles[item],
            "category": self._items.categories[item],
            "bars": [],
        }

    def _lane(self, name: str, rows: slice) -> list[float | None]:
        """A signal of a session's requests, 0 to 1 over the log's range; None where not observed.

        Only a flag that is not set is 0: the least of any other signal can still be seen.
        """
        low, high = self._ranges[name]
        least = 0.0 if (low, high) == (0.0, 1.0) else LEAST_HEIGHT
        scaled = ((self._signals[name][rows] - low) / (high - low)).clip(0, 1)
        heights = least + (1 - least) * scaled
        return [None if np.isnan(height) else float(height) for height in heights]

    def _when(self, hours: float) -> str:
        if not self._dated:
            return f"hour {hours:.1f}"
        return pd.Timestamp(round(hours * 3_600_000), unit="ms").strftime("%a %-d %b %Y, %H:%M")


def span(hours: float) -> str:
    """A length of time in words: 40 s, 12 min, 3 h 5 min, 2 d 4 h."""
    seconds = round(hours * 3600)
    if seconds < 60:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        whole, rest = divmod(minutes, 60)
        return f"{whole} h {rest} min" if rest else f"{whole} h"
    days, rest = divmod(round(minutes / 60), 24)
    return f"{days} d {rest} h" if rest else f"{days} d"


def _range(signal: np.ndarray[Any, np.dtype[np.float32]]) -> tuple[float, float]:
    """The least and largest value that the page need show, apart by more than nothing."""
    known = signal[~np.isnan(signal)]
    if not len(known):
        return 0.0, 1.0
    if np.isin(known, (0, 1)).all():
        return 0.0, 1.0
    low, high = np.quantile(known, [0.01, 0.99])
    return float(low), float(high) if high > low else float(low) + 1.0

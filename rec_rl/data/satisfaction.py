"""What counts as satisfied: columns of explicit feedback and the least value in them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.interactions import Interactions
from rec_rl.errors import ConfigError, check_name

KNOWN = {
    "rating": 4.0,
    "is_like": 1.0,
    "is_follow": 1.0,
    "is_comment": 1.0,
    "is_forward": 1.0,
    "long_view": 1.0,
}
"""Columns of known logs that speak of satisfaction, and the least value that counts."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """A row is satisfied if it has ``least`` or more in ``column``."""

    column: str
    least: float

    def __str__(self) -> str:
        return f"{self.column}>={self.least:g}"

    @classmethod
    def parse(cls, text: str) -> "Label":
        """Reads ``rating>=4`` or ``is_like``; the bound of a column that is not known is 1.

        Raises:
            ConfigError: If the bound is no number.
        """
        column, bound, least = (part.strip() for part in text.partition(">="))
        try:
            return cls(column=column, least=float(least) if bound else KNOWN.get(column, 1.0))
        except ValueError as error:
            raise ConfigError(f"a label is column or column>=number, got {text!r}") from error

    def answers(self, log: Interactions, sources: NDArray[np.int64]) -> NDArray[np.float32]:
        """1 satisfied, 0 not, NaN where nothing was said, for rows of the log, shape [n].

        Raises:
            ConfigError: If the log has no such column.
        """
        said = log.feedback[check_name("feedback column", self.column, log.feedback)][sources]
        return np.where(np.isnan(said), np.nan, said >= self.least).astype(np.float32)


def known_labels(log: Interactions) -> tuple[Label, ...]:
    """The known columns that a log has.

    Raises:
        ConfigError: If it has none.
    """
    labels = tuple(Label(column=name, least=KNOWN[name]) for name in KNOWN if name in log.feedback)
    if not labels:
        raise ConfigError(f"no explicit feedback of the log is known: name its label, of {[*log.feedback]}")
    return labels

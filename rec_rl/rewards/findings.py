"""What the gate's findings are, and those that concern the log alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.transitions import UserTransitions


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing the gate looked at.

    Attributes:
        name: What.
        value: The figure; NaN where there is none.
        bound: What it must meet, in words.
        passed: None where it could not be judged.
        sentence: What it means here.
    """

    name: str
    value: float
    bound: str
    passed: bool | None
    sentence: str


def not_judged(name: str, bound: str, reason: str) -> Finding:
    """A finding without a figure."""
    return Finding(name=name, value=float("nan"), bound=bound, passed=None, sentence=f"not judged: {reason}")


def session_steps(transitions: UserTransitions) -> NDArray[np.int64] | None:
    """Place of each row in its session, from 0, shape [n]; None without user ids.

    A session ends with its user's rows or with a labelled end.
    """
    if transitions.users is None:
        return None
    ended = transitions.terminated | transitions.truncated
    first = np.append(True, (transitions.users[1:] != transitions.users[:-1]) | ended[:-1])
    index = np.arange(len(transitions))
    return index - np.maximum.accumulate(np.where(first, index, 0))


def exits_labelled(transitions: UserTransitions) -> Finding:
    """Whether exits are there, and are not a time limit in disguise."""
    name, bound = "exits labelled", "exits present, <= 0.5 of them at the longest session"
    if not transitions.terminated.any():
        return Finding(
            name=name,
            value=0.0,
            bound=bound,
            passed=False,
            sentence="no row is an exit; without them the value of staying, and every reward, is distorted.",
        )
    steps = session_steps(transitions)
    if steps is None:
        share = float(transitions.terminated.mean())
        sentence = f"{share:.3f} of the rows are exits; without user ids their steps are unknown."
        return Finding(name=name, value=share, bound=bound, passed=True, sentence=sentence)
    longest = int(steps.max())
    share = float((steps[transitions.terminated] == longest).mean())
    return Finding(
        name=name,
        value=share,
        bound=bound,
        passed=share <= 0.5 or longest == 0,
        sentence=f"{share:.3f} of the exits fall on step {longest + 1}, the last that any session reaches; "
        "many would mean a time limit recorded as leaving.",
    )


def ends_labelled(transitions: UserTransitions) -> Finding:
    """Whether sessions that end say how."""
    name, bound = "ends labelled", "<= 0.01 of the users' last rows unlabelled"
    if transitions.users is None:
        return not_judged(name, bound, "without user ids, where sessions end is unknown.")
    last = np.append(transitions.users[1:] != transitions.users[:-1], True)
    unlabelled = last & ~(transitions.terminated | transitions.truncated)
    share = float(unlabelled.sum() / last.sum())
    return Finding(
        name=name,
        value=share,
        bound=bound,
        passed=share <= 0.01,
        sentence=f"{share:.3f} of the users' last rows are neither an exit nor cut off.",
    )

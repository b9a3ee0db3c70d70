"""Lives in the session world: policies that know its truth, recorded logs, and what a policy earns online."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.session_world import (
    ACTION_DIM,
    REQUEST_HOURS,
    SERVING_SCALE,
    STATE_DIM,
    TASTE_DIM,
    Floats,
    SessionWorld,
)
from rec_rl.data.half import to_half
from rec_rl.data.levels import TASKS, Task, UserAverages, level_of_depth, level_of_gap
from rec_rl.data.sessions import SessionLog

Policy = Callable[[SessionWorld], Floats]
"""The world at a request to the mean items to serve, [num_users, 8]."""


def logging_policy(world: SessionWorld) -> Floats:
    """The policy whose logs are learned from."""
    return world.logging_mean()


def on_states(act: Callable[[Floats], Floats]) -> Policy:
    """A policy of the platform: sees states [n, 245] alone and gives means [n, 8]."""
    return lambda world: act(world.observe())


def _serve_taste(world: SessionWorld, mean: Floats) -> None:
    mean[:, :TASTE_DIM] = world.taste


def _serve_diverse(world: SessionWorld, mean: Floats) -> None:
    mean[:, :TASTE_DIM] = 1.5 * world.taste - 0.5 * world.recent[:, :TASTE_DIM]


def _serve_profile(world: SessionWorld, mean: Floats) -> None:
    mean[:, :TASTE_DIM] = 0.75 * world.profile


def _serve_anti(world: SessionWorld, mean: Floats) -> None:
    mean[:, :TASTE_DIM] = 1.6 * mean[:, :TASTE_DIM] - 0.6 * world.profile


def _serve_neutral(world: SessionWorld, mean: Floats) -> None:
    mean[:] = 0


def _serve_click(world: SessionWorld, mean: Floats) -> None:
    mean[:, TASTE_DIM] = 1


def _serve_calm(world: SessionWorld, mean: Floats) -> None:
    mean[:, TASTE_DIM] = -1


ORACLE_PARTS: Mapping[str, Callable[[SessionWorld, Floats], None]] = {
    "taste": _serve_taste,
    "diverse": _serve_diverse,
    "profile": _serve_profile,
    "anti": _serve_anti,
    "neutral": _serve_neutral,
    "click": _serve_click,
    "calm": _serve_calm,
}


def oracle(*parts: str, share: float = 1.0) -> Policy:
    """A policy that knows the users' taste.

    Args:
        parts: Names in ORACLE_PARTS, such as "diverse", "calm"; later ones act on what earlier ones left.
        share: How far to go from the logging policy (0) to the oracle (1).
    """
    serve = [ORACLE_PARTS[part] for part in parts]

    def policy(world: SessionWorld) -> Floats:
        start = world.logging_mean()
        mean = start.copy()
        for part in serve:
            part(world, mean)
        return start + np.float32(share) * (mean - start)

    return policy


class Record(NamedTuple):
    """A recorded life.

    Attributes:
        log: What the platform kept; request times begin at 0 for every user.
        policy_means: What other policies would have served at each request, by name, [n, 8] each.
    """

    log: SessionLog
    policy_means: dict[str, Floats]


def record_log(
    world: SessionWorld, num_requests: int, *, shadows: Mapping[str, Policy] | None = None
) -> Record:
    """Serves every user ``num_requests`` times with the logging policy, from where the world stands.

    Args:
        world: Goes on; reset it for a life from the start.
        num_requests: Of each user, >= 1.
        shadows: Policies to ask along the way without serving them.
    """
    n, requests = world.num_users, num_requests
    states = np.empty((n, requests, STATE_DIM), np.float16)
    actions, means = np.empty((2, n, requests, ACTION_DIM), np.float32)
    gaps, ended = np.empty((n, requests), np.float32), np.empty((n, requests), np.bool_)
    signals = {name: np.empty((n, requests), np.float32) for name in ("like", "watch")}
    asked = {name: np.empty((n, requests, ACTION_DIM), np.float32) for name in shadows or {}}
    for t in range(requests):
        states[:, t] = to_half(world.observe())
        for name, policy in (shadows or {}).items():
            asked[name][:, t] = policy(world)
        means[:, t] = world.logging_mean()
        actions[:, t] = world.serve(means[:, t])
        outcome = world.step(actions[:, t])
        ended[:, t], gaps[:, t] = outcome.ended, outcome.gap
        signals["like"][:, t], signals["watch"][:, t] = outcome.like, outcome.watch

    users, positions = np.nonzero(_session_opens(ended))
    log = SessionLog(
        states=states.reshape(-1, STATE_DIM),
        actions=actions.reshape(-1, ACTION_DIM),
        times=_request_times(ended, gaps).ravel(),
        session_starts=users * requests + positions,
        session_users=users,
        behaviour_mean=means.reshape(-1, ACTION_DIM),
        behaviour_scale=np.full(ACTION_DIM, SERVING_SCALE, np.float32),
        feedback={name: signal.ravel() for name, signal in signals.items()},
    )
    return Record(log, {name: mean.reshape(-1, ACTION_DIM) for name, mean in asked.items()})


def online_levels(
    world: SessionWorld, policy: Policy, averages: UserAverages, num_requests: int, *, seed: int
) -> dict[Task, NDArray[np.float64]]:
    """What a policy earns: the mean level of each user's sessions in a fresh life.

    Args:
        world: Of the users that ``averages`` were taken from; reset to life ``seed``.
        policy: Serves, with the serving layer's noise.
        averages: The frozen references of Eq. (11), of every user of the world.
        num_requests: Of each user.
        seed: Of the life; policies compared under one seed share their users' luck.

    Returns:
        Per task, shape [num_users]; NaN for a user who finished no session.
    """
    world.reset(seed)
    totals, sessions = np.zeros((2, world.num_users)), np.zeros(world.num_users)
    for _ in range(num_requests):
        outcome = world.step(world.serve(policy(world)))
        (left,) = np.nonzero(outcome.ended)
        totals[0, left] += level_of_depth(outcome.depth[left], averages.depth[left])
        totals[1, left] += level_of_gap(outcome.gap[left], averages.gap[left])
        sessions[left] += 1
    sessions[sessions == 0] = np.nan
    depth, frequency = totals / sessions
    return dict(zip(TASKS, (depth, frequency, (depth + frequency) / 2), strict=True))


def _session_opens(ended: NDArray[np.bool_]) -> NDArray[np.bool_]:
    opens = np.ones_like(ended)
    opens[:, 1:] = ended[:, :-1]
    return opens


def _request_times(ended: NDArray[np.bool_], gaps: Floats) -> NDArray[np.float64]:
    """Hours since a user's first request: a gap after a session's last, REQUEST_HOURS after any other."""
    waits = np.where(ended, gaps.astype(np.float64), REQUEST_HOURS)
    times = np.zeros(ended.shape)
    np.cumsum(waits[:, :-1], axis=1, out=times[:, 1:])
    return times

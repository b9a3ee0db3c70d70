"""Whether off-policy intervals hold what they are of, counted on many small logs of the session world."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.session_rollouts import Policy
from envs.session_world import ACTION_DIM, SERVING_SCALE, Floats, SessionWorld
from rec_rl.data.behaviour import GaussianBehaviour
from rec_rl.data.levels import TASKS, Task, level_of_depth, level_of_gap
from rec_rl.errors import check_name
from rec_rl.evaluation.off_policy import SUPPORTED, ncis, snips
from rec_rl.experiments.off_policy_truth import POLICIES, OnProgress

Doubles = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How often intervals from small logs hold what they are of.

    Attributes:
        policy, task: Of the estimate.
        ncis: Share of NCIS intervals that hold NCIS's expectation over users.
        snips: Share of SNIPS intervals that hold the one-request value, found by serving single requests.
        num_supported: Draws with the verdict SUPPORTED, over which both shares are.
        one_request_value: The truth that SNIPS is compared with.
    """

    policy: str
    task: Task
    ncis: float
    snips: float
    num_supported: int
    one_request_value: float


class _Life(NamedTuple):
    """A life: level and depth of each session; session and log ratio of each request, [users, requests]."""

    level: Mapping[Task, Doubles]
    session: NDArray[np.int64]
    depths: NDArray[np.int64]
    log_ratio: Floats


def coverage_study(
    policy_names: tuple[str, ...],
    *,
    num_draws: int = 200,
    users_per_draw: int = 300,
    num_requests: int = 240,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> list[Coverage]:
    """Cuts many fresh users into small logs and counts the intervals that hold.

    The truth of SNIPS does not come from weights: the same users live the same lives again, each with one
    request, drawn evenly from all, served by the policy.

    Args:
        policy_names: In POLICIES.
        num_draws: Logs per policy.
        users_per_draw: Users of each log.
        num_requests: Of each user.
        seed: Of the world, and of the requests that the policy serves.
        on_progress: Called as on_progress(policies done, policies).
    """
    world = SessionWorld(num_draws * users_per_draw, seed)
    results = []
    for done, name in enumerate(policy_names, start=1):
        policy = POLICIES[check_name("policy", name, POLICIES)]
        at = np.random.default_rng([seed, 1]).integers(0, num_requests, world.num_users)
        life = _live(world, policy, num_requests, seed, served_at=None)
        changed = _live(world, policy, num_requests, seed, served_at=at)
        results += [_coverage(name, task, life, changed, at, num_draws) for task in TASKS]
        if on_progress is not None:
            on_progress(done, len(policy_names))
    return results


def _live(
    world: SessionWorld, policy: Policy, requests: int, seed: int, served_at: NDArray[np.int64] | None
) -> _Life:
    """The logger's life ``seed``; with ``served_at`` [users], one request of each user is the policy's."""
    world.reset(seed)
    n = world.num_users
    ended = np.zeros((n, requests), np.bool_)
    gaps, log_ratio = np.zeros((2, n, requests), np.float32)
    scale = np.full(ACTION_DIM, SERVING_SCALE, np.float32)
    for t in range(requests):
        start, target = world.logging_mean(), policy(world)
        mean = start if served_at is None else np.where((served_at == t)[:, None], target, start)
        items = world.serve(mean)
        log_ratio[:, t] = GaussianBehaviour(mean=start, scale=scale).log_ratio(items, target)
        outcome = world.step(items)
        ended[:, t], gaps[:, t] = outcome.ended, outcome.gap
    opens = np.ones_like(ended)
    opens[:, 1:] = ended[:, :-1]
    session = opens.ravel().cumsum() - 1
    depths = np.bincount(session)
    last = depths.cumsum() - 1
    counted = (last % requests) != requests - 1  # a user's last session is censored
    user = last[counted] // requests
    number = np.maximum(np.bincount(user, minlength=n), 1)
    depth, gap = depths[counted].astype(float), gaps.ravel()[last[counted]].astype(float)
    averages = (np.bincount(user, signal, n) / number for signal in (depth, gap))
    level = np.full((2, len(depths)), np.nan)
    level[0, counted] = level_of_depth(depth, next(averages)[user])
    level[1, counted] = level_of_gap(gap, next(averages)[user])
    levels: dict[Task, Doubles] = {"depth": level[0], "frequency": level[1], "mixture": level.mean(axis=0)}
    return _Life(levels, session.reshape(n, requests), depths, log_ratio)


def _coverage(
    name: str, task: Task, life: _Life, changed: _Life, at: NDArray[np.int64], num_draws: int
) -> Coverage:
    level, num_users = life.level[task], len(at)
    users = np.broadcast_to(np.arange(num_users)[:, None], life.session.shape)
    everyone = ncis(life.log_ratio.ravel(), life.session.ravel(), users.ravel(), level, draws=1).value
    one_request = _one_request_value(life, changed, at, task)
    held: list[tuple[bool, bool]] = []
    for rows in np.array_split(np.arange(num_users), num_draws):
        session = life.session[rows]
        first, beyond = session[0, 0], session[-1, -1] + 1
        columns = (
            life.log_ratio[rows].ravel(),
            (session - first).ravel(),
            users[rows].ravel(),
            level[first:beyond],
        )
        by_user, pooled = ncis(*columns), snips(*columns)
        if by_user.verdict == SUPPORTED:
            held.append((by_user.low <= everyone <= by_user.high, pooled.low <= one_request <= pooled.high))
    shares = np.mean(held, axis=0) if held else np.full(2, np.nan)
    return Coverage(
        policy=name,
        task=task,
        ncis=float(shares[0]),
        snips=float(shares[1]),
        num_supported=len(held),
        one_request_value=one_request,
    )


def _one_request_value(life: _Life, changed: _Life, at: NDArray[np.int64], task: Task) -> float:
    """sum of L / length over sum of 1 / length at the policy's requests.

    The lives agree up to those requests, so the plain life's own sums, taken over all requests, and the
    change at them vary much less than the changed life's sums would.
    """
    sums = np.zeros(2)
    counted = ~np.isnan(life.level[task])
    per_user = np.array([life.level[task][counted].sum(), counted.sum()]) / len(at)
    for sign, lived in ((1, changed), (-1, life)):
        session = lived.session[np.arange(len(at)), at]
        level = lived.level[task][session]
        weight = np.where(np.isnan(level), 0, 1 / lived.depths[session])
        sums += sign * np.array([(weight * np.nan_to_num(level)).mean(), weight.mean()])
    above, below = per_user / life.session.shape[1] + sums
    return float(above / below)

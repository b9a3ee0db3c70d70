"""Records what users did while a policy learned: the demonstrations that a mental reward is learned from.

MTRec keeps the sessions with a mean click-through rate above one half. In those hardly a page is skipped, so
they say little about what users decline, and nothing about pages unlike them: a reward learned from them is
free to be anything where a learner begins. Keeping every session is our sound form: the user, not the
recommender, is the expert, whatever the page.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from envs.virtual_taobao import VirtualTaobaoVectorEnv, user_state
from rec_rl.algorithms.rollouts import ActingModule
from rec_rl.data.transitions import UserTransitions
from rec_rl.data.virtual_taobao_files import ACTION_DIM, MAX_CLICKS, USER_DIM
from rec_rl.errors import ConfigError, RecRLError
from rec_rl.evaluation.online import ITEMS_PER_PAGE
from rec_rl.experiments.training import TrainingSpec, build_algorithm

RECORDING_ENVS = 512
SESSIONS_PER_ENV = 10
EVERY_SESSION = -1.0
FEWEST_KEPT = 0.1
"""A snapshot of whose sessions fewer pass is left out."""


@dataclass(frozen=True, kw_only=True)
class ExpertSpec:
    """How experts are recorded (MTRec Sec. 5.2).

    Attributes:
        training: The run whose policy is recorded while it learns.
        num_trajectories: Sessions kept, over all snapshots.
        min_ctr: A session is kept if its mean click-through rate is above this; the paper's is .5, and
            EVERY_SESSION keeps all.
        noise_scale: Multiple of the policy's exploration noise while it is recorded. Above 1 the record also
            holds pages apart from the policy's habits, without which nobody can tell what made users glad.
        feedback_share: Share of the pages with a click, drawn at random, on which users say how glad they are
            of what they clicked; in [0, 1]. Above 0 only where the networks know it.
        num_snapshots: Equally spaced moments of training at which the policy is recorded, so that the record
            holds skips as well as clicks.
    """

    training: TrainingSpec
    num_trajectories: int = 100_000
    min_ctr: float = 0.5
    noise_scale: float = 1.0
    feedback_share: float = 0.0
    num_snapshots: int = 5


@dataclass(frozen=True)
class _Sessions:
    """Rows in order: session by session, page by page."""

    obs: NDArray[np.float32]
    actions: NDArray[np.float32]
    clicks: NDArray[np.int64]
    ended: NDArray[np.bool_]
    session: NDArray[np.int64]
    feedback: NDArray[np.float32]

    def of_rows(self, rows: NDArray[np.bool_]) -> "_Sessions":
        return _Sessions(*(getattr(self, column.name)[rows] for column in fields(self)))


def record_experts(spec: ExpertSpec, on_progress: Callable[[int, int], None]) -> UserTransitions:
    """Trains a policy and records the sessions in which its users clicked most.

    The policy acts with its exploration noise. What an early snapshot does not bring, later ones make up for.

    Args:
        spec: How.
        on_progress: Called with (done, total), in environment steps of training plus sessions kept.

    Raises:
        ConfigError: If feedback is asked for where nobody can give it.
        RecRLError: If too few sessions pass.
    """
    env = VirtualTaobaoVectorEnv(RECORDING_ENVS, weights=spec.training.weights)
    if spec.feedback_share > 0 and env.networks.satisfaction is None:
        raise ConfigError(
            f"feedback_share must be 0 on networks that know no satisfaction, got {spec.feedback_share:g}"
        )
    algorithm = build_algorithm(spec.training)
    kept: list[_Sessions] = []
    num_kept = 0

    def tell() -> None:
        on_progress(algorithm.env_steps + num_kept, spec.training.steps + spec.num_trajectories)

    try:
        for snapshot in range(1, spec.num_snapshots + 1):
            while algorithm.env_steps < spec.training.steps * snapshot // spec.num_snapshots:
                algorithm.train()
                tell()
            share = (spec.num_trajectories - num_kept) // (spec.num_snapshots - snapshot + 1)
            rng = np.random.default_rng([spec.training.seed, snapshot])
            target = num_kept + share
            while num_kept < target:
                sessions = _record(env, algorithm.policy_module(), rng, spec)
                good = _sessions_above(sessions, spec.min_ctr)
                if len(good) < FEWEST_KEPT * RECORDING_ENVS * SESSIONS_PER_ENV:
                    break
                good = good[: target - num_kept]
                kept.append(sessions.of_rows(np.isin(sessions.session, good)))
                num_kept += len(good)
                tell()
    finally:
        algorithm.stop()
    if not kept:
        raise RecRLError(
            f"too few sessions had a click-through rate above {spec.min_ctr:g}: train the recorded policy "
            f"for more than {spec.training.steps:,} steps"
        )
    return _transitions(kept)


def _record(
    env: VirtualTaobaoVectorEnv, module: ActingModule, rng: np.random.Generator, spec: ExpertSpec
) -> _Sessions:
    """The same number of whole sessions from every environment, so that short ones are not favoured."""
    steps: list[tuple[NDArray[Any], ...]] = []
    obs, _ = env.reset(seed=int(rng.integers(2**31)))
    session, resetting = np.zeros(env.num_envs, np.int64), np.zeros(env.num_envs, bool)
    while (session < SESSIONS_PER_ENV).any():
        counting = (session < SESSIONS_PER_ENV) & ~resetting
        noise = spec.noise_scale * rng.standard_normal((env.num_envs, ACTION_DIM), dtype=np.float32)
        with torch.inference_mode():
            actions = module.act(torch.from_numpy(obs), torch.from_numpy(noise))[0].numpy()
        next_obs, clicks, ended, _, infos = env.step(actions)
        feedback = np.full(env.num_envs, np.nan, np.float32)
        if spec.feedback_share > 0:
            asked = (clicks > 0) & (rng.random(env.num_envs) < spec.feedback_share)
            feedback[asked] = infos["satisfaction"][asked] * MAX_CLICKS / clicks[asked]
        steps.append((obs, actions, clicks, ended, session.copy(), feedback, counting))
        resetting = ended & ~resetting
        session += resetting
        obs = next_obs
    # [N, T] order: every environment's pages one after the other
    columns = [np.stack(column, 1) for column in zip(*steps, strict=True)]
    obs_all, actions_all, clicks_all, ended_all, sessions_all, feedback_all, counted = columns
    numbers = sessions_all + SESSIONS_PER_ENV * np.arange(env.num_envs)[:, None]
    all_clicks = clicks_all.astype(np.int64)
    return _Sessions(obs_all, actions_all, all_clicks, ended_all, numbers, feedback_all).of_rows(counted)


def _sessions_above(sessions: _Sessions, min_ctr: float) -> NDArray[np.int64]:
    """Numbers of the sessions whose mean click-through rate is above ``min_ctr``."""
    pages = np.bincount(sessions.session)
    ctr = np.bincount(sessions.session, sessions.clicks) / (ITEMS_PER_PAGE * np.maximum(pages, 1))
    return np.flatnonzero(ctr > min_ctr)


def _transitions(parts: list[_Sessions]) -> UserTransitions:
    """The user's decisions: clicked or not, on a page that shows an action."""
    obs = np.concatenate([p.obs for p in parts])
    actions = np.concatenate([p.actions for p in parts])
    ended = np.concatenate([p.ended for p in parts])
    states = user_state(obs, actions)
    next_states = np.roll(states, -1, axis=0)  # the next row is the session's next page ...
    next_states[ended] = states[ended]  # ... and after its last page the same user stands one page further
    next_states[ended, USER_DIM] += 1
    users = np.concatenate([[0], np.cumsum(ended)[:-1]])
    feedback = np.concatenate([p.feedback for p in parts])
    return UserTransitions(
        states=states,
        actions=(np.concatenate([p.clicks for p in parts]) > 0).astype(np.int64),
        next_states=next_states,
        terminated=ended,
        truncated=np.zeros(len(ended), bool),
        users=users,
        feedback=None if np.isnan(feedback).all() else feedback,
    )

"""How far preferences alone carry the supported policy in the session world, by reward, trace and radius."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.session_rollouts import Policy, logging_policy, on_states, online_levels, record_log
from envs.session_world import SessionWorld
from rec_rl.algorithms.noise_advantage import NoiseAdvantageConfig, NoiseAdvantagePolicy, fit_noise_advantage
from rec_rl.data.hashing import content_hash
from rec_rl.data.levels import TASKS, UserAverages, session_levels, user_averages
from rec_rl.data.preferences import locate_pairs, scripted_preferences
from rec_rl.data.sessions import RequestReward, SessionLog
from rec_rl.evaluation.intervals import Estimate, mean_interval
from rec_rl.experiments.records import RunRecord
from rec_rl.experiments.runner import Event, run_trials
from rec_rl.experiments.telling import telling
from rec_rl.progress import Progress
from rec_rl.rewards.linear_reward import fit_linear_reward
from rec_rl.rewards.session_reward import fit_session_reward

FIRST_WORLD = 200
"""No choice of the method was made on these worlds."""
RADII = (1.0, 1.5, 2.0)
BAR = 1.0
OURS = "session reward"
LOGGER = "logging policy"

ARMS: Mapping[str, tuple[str, float]] = {
    OURS: ("session", 0.8),
    "session reward, trace .95": ("session", 0.95),
    "request reward": ("request", 0.95),
    "levels themselves, no preferences": ("level", 0.8),
}
"""Reward and trace decay of each arm; all share the log, and the pairs where they use any."""
CONTROLS: Mapping[str, tuple[str, float]] = {"session reward, labels shuffled": ("shuffled", 0.8)}


@dataclass(frozen=True, kw_only=True)
class StudySize:
    """Size of each world: its users, and the requests of each in the log and in the life it is judged in."""

    num_users: int = 12_000
    num_requests: int = 240
    num_pairs: int = 20_000


QUICK = StudySize(num_users=400, num_requests=210, num_pairs=2_000)


def run_study(*, num_worlds: int, quick: bool, folder: Path, progress: Progress, command: str) -> RunRecord:
    """Runs the worlds that are not in ``folder`` yet.

    Args:
        num_worlds: Fresh users, log and life each; intervals are over them.
        quick: The form of the study on small logs; its numbers miss the bar.
        folder: Keeps finished trials.
        progress: Where progress is shown.
        command: For the record.
    """
    started = time.monotonic()
    size = QUICK if quick else StudySize()
    seeds = [FIRST_WORLD + i for i in range(num_worlds)]

    specs = {f"world {seed}": {"seed": seed, "size": asdict(size)} for seed in seeds}
    worlds = list(run_trials(world_trial, specs, store=folder / "trials", progress=progress).values())
    arms = {arm: _metrics([world["arms"][arm] for world in worlds]) for arm in ARMS}
    controls = {arm: _metrics([world["arms"][arm] for world in worlds]) for arm in (*CONTROLS, LOGGER)}
    reached = arms[OURS]["mixture"].value
    reason = "a quick run" if quick else "measured so"
    missed = [{"bar": f"{OURS}: mixture > {BAR:g}", "value": reached, "reason": reason}]
    return RunRecord(
        command=command,
        seeds=seeds,
        data_hash=content_hash(np.array([world["data_hash"] for world in worlds])),
        config={"quick": quick, **asdict(size), "arms": dict(ARMS), "radii": RADII},
        arms=arms,
        controls=controls,
        missed=[] if reached > BAR else missed,
        seconds=time.monotonic() - started,
        notes=[
            "True online levels of the users whose log was learned from, in another life, with the reference "
            "averages of that log. depth, frequency and mixture are at the radius that the log alone chose.",
        ],
    )


def world_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """Every arm in one world; ``spec`` is {"seed", "size": values of a StudySize}."""
    seed, size = spec["seed"], StudySize(**spec["size"])

    def work(tell: Callable[[Event], None]) -> dict[str, Any]:
        world = SessionWorld(size.num_users, seed)
        log = record_log(world, size.num_requests).log
        averages = user_averages(log)
        rewards = _rewards(log, size.num_pairs, seed)
        found = {LOGGER: _online(world, logging_policy, averages, size, seed)}
        arms = {**ARMS, **CONTROLS}
        for done, (arm, (reward, trace_decay)) in enumerate(arms.items(), start=1):
            config = NoiseAdvantageConfig(trace_decay=trace_decay)
            policy = fit_noise_advantage(log, rewards[reward], config, seed=seed)
            found[arm] = _judged(policy, world, averages, size, seed)
            tell({"step": done, "total": len(arms)})
        return {"data_hash": log.content_hash, "arms": found}

    yield from telling(work)


def _rewards(
    log: SessionLog, num_pairs: int, seed: int
) -> dict[str, RequestReward | np.ndarray[Any, np.dtype[np.float32]]]:
    level = session_levels(log).mixture
    labelled = scripted_preferences(log, level, teacher="mean", num_pairs=num_pairs, seed=seed)
    pairs = locate_pairs(labelled, log)
    shuffled = replace(pairs, label=np.random.default_rng(seed).permutation(pairs.label))
    paid = np.zeros(len(log), np.float32)
    paid[log.session_starts + log.depths - 1] = np.nan_to_num(level - np.nanmean(level))
    return {
        "session": fit_session_reward(log, pairs).of_requests(log),
        "request": fit_linear_reward(log, pairs),
        "level": paid,
        "shuffled": fit_session_reward(log, shuffled).of_requests(log),
    }


def _judged(
    policy: NoiseAdvantagePolicy, world: SessionWorld, averages: UserAverages, size: StudySize, seed: int
) -> dict[str, float]:
    """Online levels at the chosen radius, the mixture at others, and what chose."""
    figures = _online(world, on_states(policy), averages, size, seed)
    figures |= {"radius": policy.radius, "effective_share": policy.effective_share}
    for radius in RADII:
        same = radius == policy.radius
        served = (
            figures
            if same
            else _online(world, on_states(replace(policy, radius=radius)), averages, size, seed)
        )
        figures[f"mixture_at_{radius:g}"] = served["mixture"]
    return figures


def _online(
    world: SessionWorld, policy: Policy, averages: UserAverages, size: StudySize, seed: int
) -> dict[str, float]:
    earned = online_levels(world, policy, averages, size.num_requests, seed=seed + 1000)
    return {task: float(np.nanmean(earned[task])) for task in TASKS}


def _metrics(worlds: list[dict[str, float]]) -> dict[str, Estimate]:
    return {name: mean_interval([world[name] for world in worlds], seeds=True) for name in worlds[0]}

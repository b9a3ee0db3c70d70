"""Records experts on Virtual Taobao and learns mental rewards from them, as trials of the runner."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from rec_rl.data.transitions import UserTransitions
from rec_rl.experiments.runner import Event
from rec_rl.experiments.telling import telling
from rec_rl.experiments.training import TrainingSpec

SAMPLE_ROWS = 4_096


def experts_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """Records experts.

    Args:
        spec: {"training": a TrainingSpec's values, "num_trajectories", "min_ctr", "noise_scale" and
            "feedback_share" (an ExpertSpec's own if left out), "path": the Parquet file to write}.
    """
    import torch

    from rec_rl.experiments.experts import ExpertSpec, record_experts

    torch.set_num_threads(1)
    experts = ExpertSpec(
        training=TrainingSpec.from_plain(spec["training"]),
        num_trajectories=spec["num_trajectories"],
        min_ctr=spec["min_ctr"],
        **{name: spec[name] for name in ("noise_scale", "feedback_share") if name in spec},
    )

    def work(tell: Callable[[Event], None]) -> dict[str, Any]:
        transitions = record_experts(experts, lambda step, total: tell({"step": step, "total": total}))
        transitions.save(spec["path"])
        return {
            "path": str(spec["path"]),
            "data_hash": transitions.content_hash,
            "rows": len(transitions),
            "click_rate": float(transitions.actions.mean()),
        }

    yield from telling(work)


def reward_trial(spec: Mapping[str, Any]) -> Iterator[Event]:
    """Fits one mental reward and keeps a sample of its rewards for the shuffled control.

    Args:
        spec: {"method", "settings": of its config, "seed", "experts": the Parquet file, "data_hash", "path":
            the folder to write}.
    """
    import torch

    from rec_rl.rewards import REWARD_METHODS, fit_mental_reward
    from rec_rl.rewards.controls import ShuffledReward

    torch.set_num_threads(1)

    def work(tell: Callable[[Event], None]) -> dict[str, Any]:
        transitions = UserTransitions.load(spec["experts"])
        model = fit_mental_reward(
            transitions,
            REWARD_METHODS[spec["method"]](**spec["settings"]),
            seed=spec["seed"],
            on_step=lambda step, total, _: tell({"step": step, "total": total}) if step % 50 == 0 else None,
        )
        folder = Path(spec["path"])
        model.save(folder)
        rows = np.random.default_rng(spec["seed"]).permutation(len(transitions))[:SAMPLE_ROWS]
        ShuffledReward.save_sample(folder, model, transitions.states[rows])
        return {"path": str(folder), **asdict(model.record)}

    yield from telling(work)

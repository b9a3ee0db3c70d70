"""Settings that suit Virtual Taobao.

Future states do not depend on the action there, so gamma is 0. Without options an algorithm maximises clicks
as they are paid; with options it maximises their fourth power and replays pages evenly over their click
counts (SAC), or imitates the best pages it has seen (PPO), which is what leaves the plateau at nine clicks.

They come from ``rec-rl table virtual-taobao-settings``, which tries a few other values, one at a time, on
seeds that no table uses; its record is docs/results/virtual-taobao-settings.json.
"""

from typing import Any

PLAIN: dict[str, dict[str, Any]] = {
    "sac": {
        "hidden_sizes": (64, 64),
        "lr": 1e-3,
        "gamma": 0.0,
        "batch_size": 64,
        "updates_per_round": 2,
        "random_steps": 500,
        "replay_capacity": 50_000,
        "target_entropy": -13.0,
    },
    "ppo": {
        "hidden_sizes": (64, 64),
        "lr": 1e-3,
        "gamma": 0.0,
        "steps_per_iteration": 64,
        "num_passes": 6,
        "batch_size": 64,
        "initial_log_std": -1.5,
    },
}

OPTIONS: dict[str, dict[str, Any]] = {
    "sac": {"reward_utility": "quartic", "balanced_fraction": 0.25},
    "ppo": {"reward_utility": "quartic", "self_imitation_weight": 0.3, "initial_log_std": -1.0},
}
"""What an arm "with options" has over PLAIN."""

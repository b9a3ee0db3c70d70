"""The algorithms by name."""

from rec_rl.algorithms.online import OnlineConfig
from rec_rl.algorithms.ppo import PPOConfig
from rec_rl.algorithms.sac import SACConfig

ALGORITHMS: dict[str, type[OnlineConfig]] = {"ppo": PPOConfig, "sac": SACConfig}

"""The algorithms by name: those that act in an environment, and those that learn from a session log."""

from rec_rl.algorithms.bcq import BCQConfig
from rec_rl.algorithms.ddpg import DDPGConfig
from rec_rl.algorithms.il import ILConfig
from rec_rl.algorithms.iql import IQLConfig
from rec_rl.algorithms.offline import OfflineConfig
from rec_rl.algorithms.online import OnlineConfig
from rec_rl.algorithms.ppo import PPOConfig
from rec_rl.algorithms.prefrec import PrefRecConfig
from rec_rl.algorithms.prefrec_supported import PrefRecSupportedConfig
from rec_rl.algorithms.sac import SACConfig
from rec_rl.algorithms.sac_offline import OfflineSACConfig
from rec_rl.algorithms.td3 import TD3Config
from rec_rl.algorithms.td3_bc import TD3BCConfig

ALGORITHMS: dict[str, type[OnlineConfig]] = {"ppo": PPOConfig, "sac": SACConfig}

OFFLINE_ALGORITHMS: dict[str, type[OfflineConfig]] = {
    "prefrec": PrefRecConfig,
    "prefrec_supported": PrefRecSupportedConfig,
    "ddpg": DDPGConfig,
    "td3": TD3Config,
    "sac": OfflineSACConfig,
    "td3_bc": TD3BCConfig,
    "bcq": BCQConfig,
    "iql": IQLConfig,
    "il": ILConfig,
}

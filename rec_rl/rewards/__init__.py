"""Reward models learned from what users did or preferred."""

from rec_rl.rewards.anchored import AnchoredConfig
from rec_rl.rewards.iq_learn import IQLearnConfig
from rec_rl.rewards.mental_reward import REWARD_METHODS, FitRecord, MentalRewardModel, fit_mental_reward
from rec_rl.rewards.qr_iql import QRIQLConfig

__all__ = [
    "REWARD_METHODS",
    "AnchoredConfig",
    "FitRecord",
    "IQLearnConfig",
    "MentalRewardModel",
    "QRIQLConfig",
    "fit_mental_reward",
]

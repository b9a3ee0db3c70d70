"""Recommendations from an exported artefact, with numpy and onnxruntime alone: neither torch nor ray."""

from rec_rl.runtime.features import FeatureError, Query
from rec_rl.runtime.recommender import Recommendation, Recommender

__all__ = ["FeatureError", "Query", "Recommendation", "Recommender"]

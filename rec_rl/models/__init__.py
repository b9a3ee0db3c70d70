"""Click models: nine backbones on shared blocks."""

from rec_rl.errors import check_name
from rec_rl.models.backbone import Backbone, BackboneConfig, ClickModel
from rec_rl.models.dcn import DCN
from rec_rl.models.deepfm import DeepFM
from rec_rl.models.dien import DIEN
from rec_rl.models.din import DIN
from rec_rl.models.linrec import LinRec
from rec_rl.models.pnn import PNN
from rec_rl.models.sasrec import SASRec
from rec_rl.models.sigma import SIGMA
from rec_rl.models.wide_deep import WideDeep

MODELS: dict[str, type[Backbone]] = {
    "wide_deep": WideDeep,
    "pnn": PNN,
    "deepfm": DeepFM,
    "sasrec": SASRec,
    "din": DIN,
    "dien": DIEN,
    "linrec": LinRec,
    "sigma": SIGMA,
    "dcn": DCN,
}


def build_backbone(name: str, config: BackboneConfig) -> Backbone:
    """A new backbone with random weights.

    Raises:
        ConfigError: If the name is unknown.
    """
    return MODELS[check_name("model", name, MODELS)](config)


__all__ = ["MODELS", "Backbone", "BackboneConfig", "ClickModel", "build_backbone"]

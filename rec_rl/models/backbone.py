"""What every click model shares: fields, their embeddings, the deep part and the seam to an output layer."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rec_rl.errors import ConfigError
from rec_rl.models.batches import Batch
from rec_rl.models.ragged import lookup

EMBEDDING_SD = 1e-4


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """Sizes of a backbone.

    Attributes:
        num_users, num_items, num_categories: Codes of each field; code 0 is the row of what is unknown.
        embedding_size: Of each field.
        hidden_sizes: Layers of the deep part.
        user_field: Whether the user's id is a field. It overfits where users act rarely (.01 to .02 AUC on
            Amazon Beauty); the authors of DIN leave it out there too.
        max_history: Longest history.
    """

    num_users: int
    num_items: int
    num_categories: int
    embedding_size: int = 16
    hidden_sizes: tuple[int, ...] = (200, 80)
    user_field: bool = False
    max_history: int = 100

    def __post_init__(self) -> None:
        for name in ("num_users", "num_items", "num_categories", "embedding_size", "max_history"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be >= 1, got {getattr(self, name)}")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ConfigError(f"hidden_sizes must be one or more sizes >= 1, got {self.hidden_sizes}")


class Backbone(nn.Module, ABC):
    """A click model without its output layer: batches of (history, item shown) to features.

    Attributes:
        width: Size of the features.
        num_logits: The first so many features are logits already; a click model's output layer starts by
            adding them as they are.
    """

    width: int
    num_logits: int = 0

    @abstractmethod
    def features(self, batch: Batch) -> Tensor:
        """Features of each row, shape [B, width]."""

    def features_and_auxiliary_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Features, and a scalar that training adds to its loss; 0 without an auxiliary task."""
        features = self.features(batch)
        return features, features.new_zeros(())

    def forward(self, batch: Batch) -> Tensor:
        return self.features(batch)


class ClickModel(nn.Module):
    """A backbone with one linear output, the logit of a click."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.output = nn.Linear(backbone.width, 1)
        with torch.no_grad():
            self.output.weight[:, : backbone.num_logits] = 1.0

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits, shape [B], and the auxiliary loss, scalar."""
        features, auxiliary_loss = self.backbone.features_and_auxiliary_loss(batch)
        return self.output(features).squeeze(1), auxiliary_loss


class FieldEmbeddings(nn.Module):
    """Vectors of the fields user, item and category; history and item shown share theirs."""

    def __init__(self, config: BackboneConfig, size: int) -> None:
        """Args: size: Of each vector; 1 gives the weights of a linear model."""
        super().__init__()
        self.user = _table(config.num_users, size) if config.user_field else None
        self.item = _table(config.num_items, size)
        self.category = _table(config.num_categories, size)

    def of_user(self, batch: Batch) -> list[Tensor]:
        """The user's vector, [B, size], or nothing without the user field."""
        return [] if self.user is None else [lookup(self.user, batch.users)]

    def of_item(self, batch: Batch) -> Tensor:
        """Item and category shown, shape [B, 2 size]."""
        item, category = lookup(self.item, batch.items), lookup(self.category, batch.categories)
        return torch.cat([item, category], dim=1)

    def of_history(self, batch: Batch) -> Tensor:
        """Items and categories of the histories, shape [T, 2 size]."""
        items = lookup(self.item, batch.history_items)
        categories = lookup(self.category, batch.history_categories)
        return torch.cat([items, categories], dim=1)


class PooledFields(nn.Module):
    """Fields of models without order: user, item, category, and means of the history's last two."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.embeddings = FieldEmbeddings(config, config.embedding_size)
        self.num_fields = 5 if config.user_field else 4
        self.width = self.num_fields * config.embedding_size

    def forward(self, batch: Batch) -> Tensor:
        """Field vectors, shape [B, num_fields, size]."""
        pooled = batch.history.mean(self.embeddings.of_history(batch))
        fields = torch.cat([*self.embeddings.of_user(batch), self.embeddings.of_item(batch), pooled], dim=1)
        return fields.view(-1, self.num_fields, self.width // self.num_fields)


class LinearPart(nn.Module):
    """One weight per id, summed over the fields; the history's weights are its own and enter as their mean.

    Source: Cheng et al. 2016 (Wide & Deep), w_wide in Eq. (3); Guo et al. 2017 (DeepFM), <w, x> in Eq. (2).
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.shown = FieldEmbeddings(config, 1)
        self.past_item = _table(config.num_items, 1)
        self.past_category = _table(config.num_categories, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Shape [B, 1]."""
        shown = torch.cat([*self.shown.of_user(batch), self.shown.of_item(batch)], dim=1)
        past = lookup(self.past_item, batch.history_items)
        past = past + lookup(self.past_category, batch.history_categories)
        return shown.sum(dim=1, keepdim=True) + batch.history.mean(past)


def mlp(width: int, hidden_sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU, the last one included."""
    layers: list[nn.Module] = []
    for size in hidden_sizes:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers)


def _table(num_codes: int, size: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(num_codes, size) * EMBEDDING_SD)

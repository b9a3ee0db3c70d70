"""The three networks that are Virtual Taobao: who comes, for how long, and what they click on.

Source: Shi et al. 2019 (Virtual-Taobao), and the weights published with it.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from envs import virtual_taobao_synthetic as synthetic
from rec_rl.data.virtual_taobao_files import (
    ACTION_DIM,
    LATENT_DIM,
    MAX_CLICKS,
    MAX_LENGTH,
    NUM_NEXT_PAGES,
    USER_DIM,
    USER_GROUPS,
    read_verified,
)
from rec_rl.errors import DatasetError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
# Affine layers, weight [in, out] and bias [out], with a leaky ReLU between them.
Layers = tuple[tuple[Floats, Floats], ...]

SYNTHETIC = "synthetic"
NEGATIVE_SLOPE = 0.01
_GROUP_START = np.cumsum((0, *USER_GROUPS[:-1]))
_GROUP_OF = np.repeat(np.arange(len(USER_GROUPS)), USER_GROUPS)
NUM_CLICK_CLASSES = MAX_CLICKS + 1
FILE_SIZES = {
    "generator_model.pt": (LATENT_DIM, 128, USER_DIM),
    "leave_model.pt": (USER_DIM, 128, 256, MAX_LENGTH + 1),
    "action_model.pt": (USER_DIM + 1 + ACTION_DIM, 128, 256, NUM_CLICK_CLASSES + NUM_NEXT_PAGES),
}


@dataclass(frozen=True, kw_only=True)
class VirtualTaobaoNetworks:
    """Virtual Taobao's users, session lengths and clicks, in numpy float32.

    Attributes:
        name: "synthetic", or the folder that the weights came from.
        content_hash: SHA-256 over all weights.
        generator: Latent [128] -> logits of the user's attributes [88].
        leave: User [88] -> logits of the session's length, 0 to 100 [101].
        action: User, page count, action [116] -> logits of the clicks, 0 to 10, and of the next page [21].
        satisfaction: (users [B, 88], pages [B], actions [B, 27], clicks [B]) -> [B], in [0, 1]; None for the
            published networks, whose users' satisfaction nobody knows.
    """

    name: str
    content_hash: str
    generator: Layers
    leave: Layers
    action: Layers
    satisfaction: Callable[[Floats, Floats, Floats, Ints], Floats] | None

    @classmethod
    def load(cls, weights: str | Path) -> "VirtualTaobaoNetworks":
        """Loads the published networks from a folder, or builds the synthetic ones.

        Args:
            weights: A folder of the three published files, or "synthetic".

        Raises:
            DatasetError: If a file is missing or is not the published one.
        """
        if weights == SYNTHETIC:
            return cls._of(SYNTHETIC, *synthetic.networks(), synthetic.satisfaction)
        folder = Path(weights)
        generator, leave, action = (_read_layers(folder, name) for name in FILE_SIZES)
        return cls._of(str(folder), generator, leave, action, None)

    @classmethod
    def _of(
        cls,
        name: str,
        generator: Layers,
        leave: Layers,
        action: Layers,
        satisfaction: Callable[[Floats, Floats, Floats, Ints], Floats] | None,
    ) -> "VirtualTaobaoNetworks":
        digest = sha256()
        for weight, bias in (*generator, *leave, *action):
            digest.update(weight.tobytes())
            digest.update(bias.tobytes())
        return cls(
            name=name,
            content_hash=digest.hexdigest(),
            generator=generator,
            leave=leave,
            action=action,
            satisfaction=satisfaction,
        )

    def sample_users(self, rng: np.random.Generator, num_users: int) -> Floats:
        """Draws users: in each of the 11 attribute groups one category is set.

        The category is drawn from the group's softmax as the winner of an exponential race, which needs no
        padding of groups. The race is run in float64, where ties do not happen.

        Returns:
            Binary vectors, shape [num_users, 88].
        """
        logits = _forward(self.generator, rng.random((num_users, LATENT_DIM), dtype=np.float32))
        lead = logits - np.log(rng.standard_exponential(logits.shape))
        best = np.maximum.reduceat(lead, _GROUP_START, axis=1)
        users: Floats = (lead == best[:, _GROUP_OF]).astype(np.float32)
        return users

    def sample_lengths(self, rng: np.random.Generator, users: Floats) -> Ints:
        """Draws how many pages each user looks at, in 1..100; a drawn length of 0 is one page too.

        Args:
            users: Shape [B, 88].

        Returns:
            Shape [B].
        """
        uniforms = rng.random(len(users), dtype=np.float32)
        return np.maximum(sample_categorical(_forward(self.leave, users), uniforms), 1)

    def length_probabilities(self, users: Floats) -> Floats:
        """Distribution of the session's length, 0 to 100.

        Args:
            users: Shape [B, 88].

        Returns:
            Shape [B, 101].
        """
        return softmax(_forward(self.leave, users))

    def click_probabilities(self, users: Floats, pages: NDArray[np.number], actions: Floats) -> Floats:
        """Distribution of the clicks on a page, 0 to 10.

        Args:
            users: Shape [B, 88].
            pages: Pages seen before this one, shape [B].
            actions: The weight vectors shown, in [-1, 1], shape [B, 27].

        Returns:
            Shape [B, 11].

        Raises:
            ValueError: If the three are not of the same B.
        """
        if not len(users) == len(pages) == len(actions):
            raise ValueError(f"got {len(users)} users, {len(pages)} pages and {len(actions)} actions")
        logits = self.action_logits(self.user_layer(users), pages, actions)
        return softmax(logits[:, :NUM_CLICK_CLASSES])

    def user_layer(self, users: Floats) -> Floats:
        """The users' part of the action network's first layer, bias included; constant over a session.

        Args:
            users: Shape [B, 88].

        Returns:
            Shape [B, hidden].
        """
        weight, bias = self.action[0]
        return users @ weight[:USER_DIM] + bias

    def action_logits(self, user_layer: Floats, pages: NDArray[np.number], actions: Floats) -> Floats:
        """The action network on users whose first-layer part is known.

        Args:
            user_layer: What ``user_layer`` returns, shape [B, hidden].
            pages: Pages seen before this one, shape [B].
            actions: Shape [B, 27].

        Returns:
            11 click logits and 10 next-page logits, shape [B, 21].
        """
        shown = np.concatenate([pages[:, None], actions], axis=1, dtype=np.float32)
        first = shown @ self.action[0][0][USER_DIM:]
        first += user_layer
        return _forward(self.action[1:], _leaky_relu(first))


def softmax(logits: Floats) -> Floats:
    """Softmax over the last axis, shape [..., K]."""
    probabilities: Floats = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    return probabilities


def sample_categorical(logits: Floats, uniforms: Floats) -> Ints:
    """Draws from softmax(logits) by the inverse of its cumulative sum.

    Args:
        logits: Shape [..., K]; -inf is never drawn.
        uniforms: In [0, 1), shape [...].

    Returns:
        Class indices, shape [...].
    """
    cumulative = np.exp(logits - logits.max(axis=-1, keepdims=True)).cumsum(axis=-1)
    classes: Ints = (cumulative[..., :-1] <= uniforms[..., None] * cumulative[..., -1:]).sum(axis=-1)
    return classes


def _forward(layers: Layers, x: Floats) -> Floats:
    for index, (weight, bias) in enumerate(layers):
        x = x @ weight
        x += bias
        if index + 1 < len(layers):
            x = _leaky_relu(x)
    return x


def _leaky_relu(x: Floats) -> Floats:
    np.maximum(x, NEGATIVE_SLOPE * x, out=x)
    return x


def _read_layers(folder: Path, name: str) -> Layers:
    state = torch.load(io.BytesIO(read_verified(folder, name)), map_location="cpu", weights_only=True)
    return layers_of_state(state, FILE_SIZES[name], name)


def layers_of_state(state: dict[str, torch.Tensor], sizes: tuple[int, ...], name: str) -> Layers:
    """Turns the state dict of ``nn.Sequential(Linear, LeakyReLU, Linear, ...)`` into layers.

    Args:
        state: Keys 0.weight, 0.bias, 2.weight, ...
        sizes: Widths from input to output.
        name: What error lines call it.

    Raises:
        DatasetError: If keys or shapes are not those of ``sizes``.
    """
    expected: dict[str, tuple[int, ...]] = {}
    for index, (num_in, num_out) in enumerate(pairwise(sizes)):
        expected[f"{2 * index}.weight"] = (num_out, num_in)
        expected[f"{2 * index}.bias"] = (num_out,)
    received = {key: tuple(value.shape) for key, value in state.items()}
    if received != expected:
        raise DatasetError(f"{name}: expected tensors {expected}, got {received}")
    arrays = {key: value.numpy().astype(np.float32) for key, value in state.items()}
    return tuple(
        (np.ascontiguousarray(arrays[f"{2 * index}.weight"].T), arrays[f"{2 * index}.bias"])
        for index in range(len(sizes) - 1)
    )

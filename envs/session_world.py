"""A world of users who come back or stay away, with states and actions of PrefRec's shapes and a known truth.

All users make one request at a time, in step. A policy gives the mean of an item vector and the serving
layer adds Gaussian noise of known scale, so that every policy has a density and every log exact
propensities. An item is a point in taste space (7 numbers) and its clickbait (1 number, in [-1, 1]):

    match = exp(-|item - taste|^2 / 1.6),  bore = exp(-|item - recent items|^2 / 1.6)
    joy   = match + .25 clickbait                        keeps the session going
    worth = match - bore - .3 clickbait                  moves the mood, slowly
    P(go on) = sigmoid(patience + 3 (joy - .3) + 2 mood + whim - .02 requests)
    log gap  = log base gap - 2 mood + .4 noise          hours until the user comes back

So clickbait makes the session at hand deeper and the next return later, and what serves the mixture of
depth and frequency in the long run (diverse, true to taste, calm) is not what serves it at once.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rec_rl.errors import CheckpointError

Floats = NDArray[np.float32]

STATE_DIM, ACTION_DIM = 245, 8
TASTE_DIM = ACTION_DIM - 1
SERVING_SCALE = 0.4  # sigma of the noise that the serving layer adds to every policy
REQUEST_HOURS = 0.01

_CORE, _MIXED, _NOISE = (
    64,
    121,
    30,
)  # columns of a state: readable, nonlinear mixtures, frozen noise and fresh noise
_POPULAR = 0.5 * np.array([1, -1, 1, -1, 1, -1, 1], np.float32) / np.sqrt(np.float32(TASTE_DIM))
_MIXTURE_SEED = 20230617  # the mixtures are the same in every world

# Columns of the core that change with every request; those before them belong to the user.
_LAST, _RECENT, _LIKED = slice(24, 32), slice(32, 40), slice(40, 48)
_FEEDBACK = slice(48, 54)  # like (fast, slow), watch (fast, slow), last like, last watch; each as 2 x - 1
_CLOCKWORK = slice(54, 64)

_ARRAYS = (
    "_core", "_taste", "_profile", "_patience", "_base_gap", "_frozen_noise",
    "_mood", "_requests", "_history", "_clock", "_sessions", "_whim",
)  # fmt: skip
_STREAMS = ("_life", "_view", "_serving")


class Outcome(NamedTuple):
    """What one request brought, each of shape [num_users].

    Attributes:
        ended: Whether the user left after this request.
        depth: Requests of the session so far, this one included.
        gap: Hours until the user comes back, if the session has ended.
        like: 1 where the item was liked.
        watch: How much of it was watched; unbounded.
    """

    ended: NDArray[np.bool_]
    depth: NDArray[np.int32]
    gap: Floats
    like: Floats
    watch: Floats


class SessionWorld:
    """Users in step; see the module's docstring.

    A life draws from three streams: what users do, what the platform sees, and the serving noise. Looking
    at a state or comparing another policy therefore does not change the luck of the users.

    Args:
        num_users: Users, >= 1.
        seed: Of the users; also of their first life.

    Raises:
        ValueError: If num_users < 1.
    """

    def __init__(self, num_users: int, seed: int) -> None:
        if num_users < 1:
            raise ValueError(f"num_users must be >= 1, got {num_users}")
        self.num_users = num_users
        self._mixtures = np.random.default_rng(_MIXTURE_SEED).standard_normal((_CORE, _MIXED)) / 8
        self._mixtures = (2 * self._mixtures).astype(np.float32)
        self._draw_users(np.random.default_rng([seed, 0]))
        self.reset(seed)

    @property
    def taste(self) -> Floats:
        """What users truly like, shape [num_users, 7]. No log shows it."""
        return self._taste

    @property
    def profile(self) -> Floats:
        """The platform's noisy idea of the taste, shape [num_users, 7]; in the state."""
        return self._profile

    @property
    def recent(self) -> Floats:
        """Fading mean of the items just served, shape [num_users, 8]; boredom is nearness to it."""
        return self._core[:, _RECENT]

    def reset(self, seed: int) -> None:
        """Begins another life of the same users."""
        n = self.num_users
        self._life, self._view, self._serving = (np.random.default_rng([seed, i]) for i in (1, 2, 3))
        self._core[:, _LAST.start :] = 0
        self._core[:, _FEEDBACK] = -1
        self._mood, self._sessions = np.zeros(n, np.float32), np.zeros(n, np.float32)
        self._requests = np.zeros(n, np.int32)
        # Log depth of the last session and its moving average, log gap and its moving average.
        self._history = np.tile(np.array([np.log(7), np.log(7), 2.5, 2.5], np.float32), (n, 1))
        self._clock = 24 * self._life.random(n, dtype=np.float32)
        self._whim = 0.7 * self._life.standard_normal(n, dtype=np.float32)
        self._looked = False

    def observe(self) -> Floats:
        """The raw state that the platform sees, shape [num_users, 245].

        The same until the next step; the first look after it overwrites the array: copy what is to be kept.
        """
        obs, mixed, noise = self._view_memory
        if not self._looked:
            mixed_end = _CORE + _MIXED
            self._fill_clockwork()
            obs[:, :_CORE] = self._core
            np.tanh(np.matmul(self._core, self._mixtures, out=mixed), out=obs[:, _CORE:mixed_end])
            obs[:, mixed_end : mixed_end + _NOISE] = self._frozen_noise
            obs[:, mixed_end + _NOISE :] = self._view.standard_normal(out=noise, dtype=np.float32)
            self._looked = True
        return obs

    @cached_property
    def _view_memory(self) -> tuple[Floats, Floats, Floats]:
        """Of `observe`: with many users the pages of new arrays cost more than the numbers in them."""
        n = self.num_users
        obs, mixed, noise = (np.empty((n, width), np.float32) for width in (STATE_DIM, _MIXED, _NOISE))
        return obs, mixed, noise

    def logging_mean(self) -> Floats:
        """Mean of the logging policy, shape [num_users, 8]: too little personal, too much clickbait."""
        mean = np.empty((self.num_users, ACTION_DIM), np.float32)
        mean[:, :TASTE_DIM] = 0.3 * self._profile + 0.15 * self._core[:, _LIKED][:, :TASTE_DIM] + _POPULAR
        mean[:, TASTE_DIM] = 0.25
        return mean

    def serve(self, mean: Floats) -> Floats:
        """The item that is served where a policy asks for ``mean``: with the serving layer's noise."""
        noise = self._serving.standard_normal((self.num_users, ACTION_DIM), dtype=np.float32)
        return mean + np.float32(SERVING_SCALE) * noise

    def step(self, items: ArrayLike) -> Outcome:
        """Shows every user an item.

        Args:
            items: Shape [num_users, 8]. The clickbait is clipped to [-1, 1]; the taste part is not bounded.

        Raises:
            ValueError: If the shape is wrong or an item is not finite.
        """
        items = self._checked(items)
        uniform = self._life.random((2, self.num_users), dtype=np.float32)
        normal = self._life.standard_normal((3, self.num_users), dtype=np.float32)
        match, joy, worth = self._feelings(items)

        self._mood += 0.04 * (worth + 0.178 - self._mood)
        stay = self._patience + 3 * (joy - 0.3) + 2 * self._mood + self._whim - 0.02 * self._requests
        ended = uniform[0] > _sigmoid(stay)
        self._requests += 1
        depth = self._requests.copy()
        like = (uniform[1] < _sigmoid(4 * match - 2.5)).astype(np.float32)
        watch = joy + 0.2 * normal[0]
        log_gap = self._base_gap - 2 * self._mood + 0.4 * normal[1]
        gap = np.exp(log_gap)

        self._remember(items, like, watch)
        self._clock += REQUEST_HOURS
        self._end_sessions(np.flatnonzero(ended), log_gap, gap, normal[2])
        self._looked = False
        return Outcome(ended, depth, gap, like, watch)

    def get_state(self) -> dict[str, Any]:
        """Everything that the next requests depend on, copied."""
        state: dict[str, Any] = {name: getattr(self, name).copy() for name in _ARRAYS}
        return state | {name: getattr(self, name).bit_generator.state for name in _STREAMS}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where ``get_state`` was called, bit for bit, users included.

        Raises:
            CheckpointError: If the state is of another number of users.
        """
        if len(state["_mood"]) != self.num_users:
            raise CheckpointError(f"the state is of {len(state['_mood'])} users, expected {self.num_users}")
        for name in _ARRAYS:
            setattr(self, name, state[name].copy())
        for name in _STREAMS:
            getattr(self, name).bit_generator.state = state[name]
        self._looked = False

    def _draw_users(self, rng: np.random.Generator) -> None:
        n = self.num_users

        def normal(*columns: int) -> Floats:
            return rng.standard_normal((n, *columns), dtype=np.float32)

        self._taste = 0.35 * normal(TASTE_DIM)
        self._profile = self._taste + 0.2 * normal(TASTE_DIM)
        self._patience = 1.8 + 0.5 * normal()
        self._base_gap = np.float32(np.log(12)) + 0.5 * normal()
        self._core = np.zeros((n, _CORE), np.float32)
        self._core[:, :7] = self._profile
        self._core[:, 7] = self._patience - 1.8 + 0.5 * normal()
        self._core[:, 8] = self._base_gap - 2.5 + 0.3 * normal()
        self._core[np.arange(n), 9 + rng.integers(0, 5, n)] = 1  # age group
        self._core[:, 14] = rng.random(n) < 0.5
        self._core[:, 15:24] = normal(9)
        self._frozen_noise = normal(_NOISE)

    def _feelings(self, items: Floats) -> tuple[Floats, Floats, Floats]:
        from_taste = items[:, :TASTE_DIM] - self._taste
        from_recent = items[:, :TASTE_DIM] - self._core[:, _RECENT][:, :TASTE_DIM]
        clickbait = items[:, TASTE_DIM].clip(-1, 1)
        match = np.exp(np.einsum("ij,ij->i", from_taste, from_taste) / np.float32(-1.6))
        bore = np.exp(np.einsum("ij,ij->i", from_recent, from_recent) / np.float32(-1.6))
        return match, match + 0.25 * clickbait, match - bore - 0.3 * clickbait

    def _remember(self, items: Floats, like: Floats, watch: Floats) -> None:
        core = self._core
        core[:, _LAST] = items
        core[:, _RECENT] += 0.3 * (items - core[:, _RECENT])
        core[:, _LIKED] += (0.1 * like)[:, None] * (items - core[:, _LIKED])
        feedback = core[:, _FEEDBACK]
        for column, signal in ((0, 2 * like - 1), (2, 2 * watch - 1)):
            feedback[:, column] += 0.3 * (signal - feedback[:, column])
            feedback[:, column + 1] += 0.03 * (signal - feedback[:, column + 1])
            feedback[:, 4 + column // 2] = signal

    def _end_sessions(self, left: NDArray[np.int64], log_gap: Floats, gap: Floats, whim: Floats) -> None:
        log_depth = np.log(self._requests[left], dtype=np.float32)
        history = self._history[left]
        history[:, 0], history[:, 2] = log_depth, log_gap[left]
        history[:, 1] += 0.2 * (log_depth - history[:, 1])
        history[:, 3] += 0.2 * (log_gap[left] - history[:, 3])
        self._history[left] = history
        self._clock[left] += gap[left]
        self._clock %= 24
        self._sessions[left] += 1
        self._requests[left] = 0
        self._core[left, _RECENT] *= 0.5
        self._whim[left] = 0.7 * whim[left]

    def _fill_clockwork(self) -> None:
        columns, history = self._core[:, _CLOCKWORK], self._history
        log_requests = np.log1p(self._requests, dtype=np.float32)
        angle = np.float32(2 * np.pi / 24) * self._clock
        columns[:, 0] = log_requests
        columns[:, 1:5] = history - np.array([2, 2, 2.5, 2.5], np.float32)
        columns[:, 5], columns[:, 6] = np.sin(angle), np.cos(angle)
        columns[:, 7] = 0.3 * np.log1p(self._sessions)
        columns[:, 8] = log_requests - history[:, 1]
        columns[:, 9] = history[:, 2] - history[:, 3]

    def _checked(self, items: ArrayLike) -> Floats:
        array = np.asarray(items, dtype=np.float32)
        if array.shape != (self.num_users, ACTION_DIM):
            raise ValueError(f"items must have shape {(self.num_users, ACTION_DIM)}, got {array.shape}")
        if not np.isfinite(array).all():
            user = int(np.argmin(np.isfinite(array).all(axis=1)))
            raise ValueError(f"items must be finite, that of user {user} is not")
        return array


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)), dtype=np.float32)

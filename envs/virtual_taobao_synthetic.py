"""Synthetic networks with Virtual Taobao's interface and a truth that the published ones lack.

They are written down, not trained, from one seed. A page shown to a user has two properties:

- its fit: the action holds eight tastes, each the signed mean of three of its coordinates, and the user has
  a wanted value for each, looked up in one of the user's attributes. Misfit is the sum of the distances.
- its bait, in [0, 1]: how far the signed mean of the three coordinates left over is above zero.

Ten items are clicked independently with probability sigmoid(appeal), where

    appeal = 3.3 + 1.2 bait - 1.5 misfit - 0.02 min(page, 10)

except that a user who would click sees through the bait now and then and leaves the whole page unclicked,
with log-odds of about -(3.7 + 12 (1 - bait)). A click on a baited page is regretted (see ``satisfaction``).
So the bait pays in clicks at any fit, costs satisfaction, and what gives it away in the log is the page
without a click.

The published networks have one action that suits everybody; these do not, since tastes differ. The constants
are set for a random policy's eCTR of .03, a best constant action's of .20, the per-user optimum's of .98 with
satisfaction .45, and .96 with satisfaction .96 without bait; session lengths follow the published quantiles.
"""

from functools import cache
from math import comb

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.virtual_taobao_files import (
    ACTION_DIM,
    LATENT_DIM,
    MAX_CLICKS,
    MAX_LENGTH,
    NUM_NEXT_PAGES,
    USER_DIM,
    USER_GROUPS,
)

Floats = NDArray[np.float32]
Layers = tuple[tuple[Floats, Floats], ...]

SEED = 20190127
SLOPE = 0.01  # of the leaky ReLU, whose pairs make exact ReLUs and absolute values below

TASTE_GROUPS = (0, 1, 2, 3, 4, 5, 8, 9)  # the attribute that each taste is looked up in
NUM_TASTES = len(TASTE_GROUPS)
COORDINATES_PER_PROPERTY = ACTION_DIM // (NUM_TASTES + 1)
WANTED = (0.5, 0.8)  # smallest and largest size of a wanted value

APPEAL = 3.3
APPEAL_OF_BAIT = 1.2
APPEAL_LOST_BY_MISFIT = 1.5
APPEAL_LOST_BY_PAGE = 0.02
TIRING_PAGES = 10
LEAVE_UNBAITED = 12.0
LEAVE_BAITED = 3.7

REGRET_GROUP = 6  # of two categories: the easy-going and the wary
REGRET = (0.5, 0.7)
REGRET_PER_PAGE = 0.03


@cache
def networks() -> tuple[Layers, Layers, Layers]:
    """The generator, leave and action networks, each as (weight [in, out], bias [out]) layers."""
    rng = np.random.default_rng(SEED)
    return _generator(rng), _leave(rng), _action(rng)


def satisfaction(
    users: Floats, pages: NDArray[np.number], actions: Floats, clicks: NDArray[np.int64]
) -> Floats:
    """How glad the user is of a page: the share of clicked items, less what is regretted of it.

    clicks / 10 * (1 - bait * (regret(user) + 0.03 min(page, 10))): each click on a baited page is
    regretted, by the wary more than by the easy-going, and more as the session goes on.

    Args:
        users: Shape [B, 88].
        pages: Pages seen before this one, shape [B].
        actions: In [-1, 1], shape [B, 27].
        clicks: In 0..10, shape [B].

    Returns:
        In [0, 1], shape [B].
    """
    regret = users[:, _group(REGRET_GROUP)] @ np.array(REGRET, np.float32)
    regret += np.float32(REGRET_PER_PAGE) * np.minimum(pages, TIRING_PAGES)
    return np.asarray(clicks / MAX_CLICKS * (1 - bait(actions) * regret), np.float32)


def bait(actions: Floats) -> Floats:
    """How much of a lure each action is, in [0, 1].

    Args:
        actions: In [-1, 1], shape [B, 27].

    Returns:
        Shape [B].
    """
    lure: Floats = actions @ _properties()[:, -1]
    return np.maximum(lure, 0)


@cache
def _properties() -> Floats:
    """Signed means of three action coordinates each: the tastes, then the bait, shape [27, 9]."""
    rng = np.random.default_rng(SEED)
    order = np.argsort(rng.random(ACTION_DIM))
    signs = np.where(rng.random(ACTION_DIM) < 0.5, -1.0, 1.0)
    matrix = np.zeros((ACTION_DIM, NUM_TASTES + 1))
    matrix[order, np.arange(ACTION_DIM) // COORDINATES_PER_PROPERTY] = signs / COORDINATES_PER_PROPERTY
    return matrix.astype(np.float32)


def _group(index: int) -> slice:
    start = sum(USER_GROUPS[:index])
    return slice(start, start + USER_GROUPS[index])


def _generator(rng: np.random.Generator) -> Layers:
    """Category j of a group has a share of about 1 / (2 + j) in random order, moved by the latent."""
    weight = 0.7 * (rng.random((LATENT_DIM, USER_DIM)) - 0.5)
    log_share = np.concatenate([-np.log(2.0 + np.argsort(rng.random(size))) for size in USER_GROUPS])
    return _layers((weight, log_share - weight.sum(axis=0) / 2))


def _leave(rng: np.random.Generator) -> Layers:
    """Three in four stay for 4 pages in the mean, one for 21, tilted by how active the user is."""
    length = np.arange(MAX_LENGTH + 1)
    brief = 0.135 * length * 0.6325 ** (length - 1.0)
    browsing = np.power(20 / 21, length - 1.0) / 21
    activity = 0.3 * (rng.random(USER_DIM) - 0.5)
    tilt = np.minimum(length, 20) / 20
    return _layers((np.outer(activity, tilt), np.log(0.75 * brief + 0.25 * browsing)))


def _action(rng: np.random.Generator) -> Layers:
    """The docstring of this module in three layers of leaky ReLUs."""
    wanted = np.zeros((USER_DIM, NUM_TASTES + 1))
    for taste, group in enumerate(TASTE_GROUPS):
        size = USER_GROUPS[group]
        spread = np.linspace(*WANTED, size) * np.where(np.arange(size) % 2, 1.0, -1.0)
        wanted[_group(group), taste] = spread[np.argsort(rng.random(size))]

    # Layer 1: each of these and its negative, misfit by taste [8], bait, page - 10; then the page itself.
    num_signed = NUM_TASTES + 2
    signed = np.zeros((USER_DIM + 1 + ACTION_DIM, num_signed))
    signed[:USER_DIM, :-1] = -wanted
    signed[USER_DIM, -1] = 1.0
    signed[USER_DIM + 1 :, :-1] = _properties()
    offset = np.zeros(num_signed)
    offset[-1] = -TIRING_PAGES
    page_column = np.eye(len(signed))[:, [USER_DIM]]
    layer_1 = np.hstack([signed, -signed, page_column]), np.hstack([offset, -offset, 0.0])

    # Layer 2: each of these and its negative, the appeal, and the log-odds of leaving above zero.
    units = np.eye(2 * num_signed + 1)
    up, down, page = units[:num_signed], units[num_signed:-1], units[-1]
    magnitude, (*_, baited, late) = (up + down) / (1 - SLOPE), (up + SLOPE * down) / (1 - SLOPE**2)
    appeal = APPEAL_OF_BAIT * baited - APPEAL_LOST_BY_PAGE * (page - late)
    appeal -= APPEAL_LOST_BY_MISFIT * magnitude[:NUM_TASTES].sum(axis=0)
    leaving = MAX_CLICKS * appeal + LEAVE_UNBAITED * baited
    bias = np.array([APPEAL, MAX_CLICKS * APPEAL - LEAVE_BAITED - LEAVE_UNBAITED])
    layer_2 = np.column_stack([appeal, leaving, -appeal, -leaving]), np.hstack([bias, -bias])

    # Layer 3: ten independent clicks are log-linear in the appeal; leaving adds to no click at all.
    clicks = np.arange(MAX_CLICKS + 1)
    weight = np.zeros((4, MAX_CLICKS + 1 + NUM_NEXT_PAGES))
    weight[0, : MAX_CLICKS + 1] = clicks / (1 + SLOPE)
    weight[2, : MAX_CLICKS + 1] = -clicks / (1 + SLOPE)
    weight[[1, 3], 0] = np.array([1.0, SLOPE]) / (1 - SLOPE**2)
    log_ways = np.log([comb(MAX_CLICKS, k) for k in clicks] + [1] * NUM_NEXT_PAGES)
    return _layers(layer_1, layer_2, (weight, log_ways))


def _layers(*layers: tuple[NDArray[np.float64], NDArray[np.float64]]) -> Layers:
    return tuple((weight.astype(np.float32), bias.astype(np.float32)) for weight, bias in layers)

"""Mental rewards of a log: its training rows as decisions of the users, fitted and patched to the rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.interactions import Interactions
from rec_rl.data.splits import SAMPLED, ClickDataset, Impressions
from rec_rl.data.transitions import UserTransitions
from rec_rl.errors import ConfigError, check_name
from rec_rl.experiments.ctr_training import CTRConfig, backbone_config, reward_differences
from rec_rl.models.state_body import backbone_body, encode_states
from rec_rl.progress import OnStep
from rec_rl.rewards import REWARD_METHODS, MentalRewardModel, fit_mental_reward
from rec_rl.rewards.controls import ShuffledReward
from rec_rl.rewards.mental_reward import EXPOSED

REWARD_HISTORY = 20  # items of history that a reward sees: all its states are in memory at once

SAMPLED_NOTE = (
    "the log records no exposures: the skips that the mental reward was fitted on are sampled negatives, "
    "which are no decisions of the user"
)


def train_decisions(
    data: ClickDataset, log: Interactions, *, feedback: str | None = None
) -> tuple[UserTransitions, NDArray[np.int64]]:
    """The training rows as decisions, in the order of users and time.

    The next state is the user's next training row. After the last one the record stops while the user stays:
    the row is truncated, and what comes next is taken to be the item shown before, to a history that has
    grown by the click. An exit is known only where a session ends and a later one of the same user follows.
    A sampled negative is put before the action that it was drawn for, so that histories grow by clicks alone.

    Args:
        data: Split of ``log``.
        log: Knows sessions and feedback.
        feedback: A column of ``log.feedback``, brought from its range to [0, 1].

    Returns:
        The transitions, and the index of each in ``data.train``, shape [n].
    """
    sampled = is_sampled(data)
    keys = (data.train.clicks, data.train.ends, data.train.users) if sampled else (data.train.sources,)
    order = np.lexsort(keys).astype(np.int64)
    rows = data.train.rows(order)
    at = np.arange(len(rows))
    is_last = np.append(rows.users[1:] != rows.users[:-1], True)
    is_first = np.append(True, is_last[:-1])
    following = rows.rows(at + np.where(is_last, np.where(is_first, 0, -1), 1))
    after = replace(
        following,
        starts=np.where(is_last, rows.starts, following.starts),
        ends=np.where(is_last, rows.ends + rows.clicks, following.ends),
    )
    left = np.zeros(len(rows), np.bool_)
    if log.sessions is not None and not sampled:
        session = log.sessions[rows.sources]
        left[:-1] = ~is_last[:-1] & (session[1:] != session[:-1])
    transitions = UserTransitions(
        states=states_of(data, rows),
        actions=rows.clicks.astype(np.int64),
        next_states=states_of(data, after),
        terminated=left,
        truncated=is_last,
        users=rows.users.astype(np.int64),
        feedback=None if feedback is None else _feedback(log, feedback)[rows.sources],
    )
    return transitions, order


def _feedback(log: Interactions, name: str) -> NDArray[np.float32]:
    """A column in [0, 1], and NaN behind its last row, where the source of a sampled row points."""
    column = log.feedback[check_name("feedback", name, log.feedback)]
    values = np.unique(column[~np.isnan(column)])
    if len(values) < 2:
        raise ConfigError(f"feedback {name!r} must hold two values or more, got {values.tolist()}")
    low, high = values[0], values[-1]
    return np.append((column - low) / (high - low), np.nan).astype(np.float32)


def assumptions(model: MentalRewardModel, data: ClickDataset) -> list[str]:
    """What the rewards rest on, corrected where the log has no skips of its own."""
    sampled = is_sampled(data)
    return [SAMPLED_NOTE if sampled and text == EXPOSED else text for text in model.record.assumptions]


def is_sampled(data: ClickDataset) -> bool:
    """Whether the skips are sampled items and not decisions."""
    return bool((data.train.sources == SAMPLED).any())


def states_of(data: ClickDataset, rows: Impressions) -> NDArray[np.float32]:
    """The states that a reward is asked about at rows of the split, shape [n, d]."""
    return encode_states(data, rows, min(REWARD_HISTORY, int(data.settings["max_history"])))


def fit_reward_on_backbone(
    transitions: UserTransitions,
    data: ClickDataset,
    *,
    method: str,
    body: CTRConfig,
    epochs: int,
    seed: int,
    on_step: OnStep | None = None,
    checkpoints: Path | None = None,
) -> MentalRewardModel:
    """A mental reward whose networks have the architecture of a click model below its output (MTRec A.3).

    Args:
        transitions: Training rows of ``data`` as decisions.
        data: Tells the sizes of the embeddings.
        method: A name in REWARD_METHODS.
        body: Backbone, learning rate and batch size.
        epochs: Passes over the rows, for Q and again for the reward head.
        seed: Of the fit.
        on_step, checkpoints: As in `fit_mental_reward`.
    """
    steps = epochs * -(-len(transitions) // body.batch_size)
    config = REWARD_METHODS[method](
        learning_rate=body.learning_rate, batch_size=body.batch_size, steps=steps, head_steps=steps
    )
    return fit_mental_reward(
        transitions,
        config,
        seed=seed,
        body=backbone_body(body.model, backbone_config(data, body), data.item_categories),
        on_step=on_step,
        checkpoints=checkpoints,
    )


def control_differences(
    rewards: NDArray[np.float32], q: NDArray[np.float32], states: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Dn of the arms that must not help, shape [n] each.

    Rewards dealt to the rows at random (shuffled), the same reward everywhere (placebo), and the difference
    of Q, which is the click logit again (q_difference).

    Args:
        rewards: r*(s, skip) and r*(s, click) of the rows, shape [n, 2].
        q: Q of the same rows, shape [n, 2].
        states: The rows' states.
    """
    return {
        "shuffled": reward_differences(ShuffledReward(rewards)(states)),
        "placebo": np.ones(len(rewards), np.float32),
        "q_difference": reward_differences(q),
    }

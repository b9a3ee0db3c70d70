"""Days in which a click model chooses what users of the click world see.

Every user opens the app on a share of the days of their own, rested, with the tastes that the time before
left. At every step a few items are at hand, drawn as the world draws them, and the one with the highest
score is shown. A click plays a video of one minute; the user watches a share sigmoid(true reward) of it,
noise included, so that a regretted click is left early.
"""

import numpy as np
from numpy.typing import NDArray

from envs.click_world import MAX_STEPS, NUM_FATIGUES, ClickWorld

CANDIDATES = 4


def serve(
    world: ClickWorld,
    people: NDArray[np.int64],
    activity: NDArray[np.float64],
    scores: NDArray[np.floating],
    *,
    days: int,
    truth: str,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Minutes that each user watches each day, and what the days make of the users.

    Args:
        world: They live in.
        people: Shape [n].
        activity: Share of days on which each user comes, shape [n].
        scores: Of every state, shape [2430].
        days: How many.
        truth: Decides what is watched, not what is clicked.
        rng: Source of chance.

    Returns:
        Minutes, shape [n, days], and people, shape [n].
    """
    mean_reward, noise_sd = world.mean_reward(truth)[:, 1], world.noise_sd()
    minutes = np.zeros((len(people), days))
    people = people.copy()
    for day in range(days):
        people -= people % NUM_FATIGUES
        here = np.flatnonzero(rng.random(len(people)) < activity)
        for _ in range(MAX_STEPS):
            at_hand = world.draw_items(rng, len(here) * CANDIDATES).reshape(len(here), CANDIDATES)
            states = world.state(people[here, None], at_hand)
            states = states[np.arange(len(here)), scores[states].argmax(axis=1)]
            clicks = world.act(rng, states)
            reward = mean_reward[states] + noise_sd[states] * rng.standard_normal(len(here))
            minutes[here, day] += clicks / (1 + np.exp(-reward))
            people[here], left = world.advance(rng, states, clicks)
            here = here[~left]
    return minutes, people

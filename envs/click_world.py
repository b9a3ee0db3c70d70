"""A world of users whose reward is known, for judging what clicks reveal of it.

A state is a person (taste 0..2 for each of three topics, fatigue 0..4) and the item shown (topic, quality
0..2, bait 0 or 1): 405 people, 18 items, 2430 states. Items come independently of everything: topic uniform,
quality (.3, .4, .3), bait .3. A click is worth, on average and as the user perceives it,

    -.2 + 1.2 (taste[topic] - 1) + .5 (quality - 1) - .15 fatigue + 1.2 bait,

a skip -skip_cost * quality. A clicked bait lowers the taste for its topic (.9), a clicked quality-2 item
without bait raises it (.5), a skip raises it (.03); a click tires (.5), a skip rests (.4). After each action
the user leaves with probability .01 + .08 fatigue. Users are soft-optimal at temperature 1 and the discount
gamma_u.

Two truths share that behaviour. In truth A the perceived reward is the true one. In truth B the lure is
felt before the click and regretted after it: a clicked bait is truly worth 2.4 less. Clicks cannot tell the
two apart.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rec_rl.data.transitions import UserTransitions
from rec_rl.errors import ConfigError, check_name

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NUM_TOPICS, NUM_TASTES, NUM_FATIGUES, NUM_QUALITIES = 3, 3, 5, 3
NUM_PEOPLE = NUM_TASTES**NUM_TOPICS * NUM_FATIGUES
NUM_ITEMS = NUM_TOPICS * NUM_QUALITIES * 2
NUM_STATES = NUM_PEOPLE * NUM_ITEMS
MAX_STEPS = 20
TASTE_START = (0.25, 0.5, 0.25)
QUALITY_SHARES = (0.3, 0.4, 0.3)
BAIT_SHARE = 0.3
REGRET = 2.4
TRUTHS = ("A", "B")
NOISES = ("N1", "N2")


@dataclass(frozen=True, kw_only=True)
class ClickWorldLog:
    """What a population did, and what nobody but the world knows of it.

    Attributes:
        transitions: The log, by user and in order of time.
        states: Index of each row's state, shape [n].
        steps: Place of each row in its session, from 0, shape [n].
        rewards: The true reward that the user got in each row, noise included, shape [n].
    """

    transitions: UserTransitions
    states: Ints
    steps: Ints
    rewards: Floats


class ClickWorld:
    """The world's tables, its users' policy, and the process that draws from them.

    Attributes:
        tastes: Taste for each topic, shape [2430, 3].
        fatigue, topic, quality, bait: Of each state, shape [2430].
        features: One-hot tastes, fatigue, topic and quality, then bait: shape [2430, 21], float32.
        next_people: The person that may come of (state, action), shape [2430, 2, 4].
        next_probabilities: How likely each is, shape [2430, 2, 4].
        item_probabilities: How often each item is shown, shape [18].
        exit_probability: Of leaving as a person, shape [405].
    """

    def __init__(self, *, discount: float = 0.9, skip_cost: float = 0.0) -> None:
        """Builds the tables.

        Args:
            discount: How far users look ahead, gamma_u, in [0, 1). 0 makes them myopic.
            skip_cost: What a skip costs per unit of quality.
        """
        if not 0 <= discount < 1:
            raise ConfigError(f"discount must be in [0, 1), got {discount}")
        self.discount = discount
        self.skip_cost = skip_cost
        people, items = np.divmod(np.arange(NUM_STATES), NUM_ITEMS)
        taste_index, self.fatigue = np.divmod(people, NUM_FATIGUES)
        self.tastes = np.stack(np.unravel_index(taste_index, (NUM_TASTES,) * NUM_TOPICS), axis=1)
        self.topic, self.quality, self.bait = np.unravel_index(items, (NUM_TOPICS, NUM_QUALITIES, 2))
        self.item_probabilities = _item_probabilities()
        self.exit_probability = 0.01 + 0.08 * (np.arange(NUM_PEOPLE) % NUM_FATIGUES)
        self.next_people, self.next_probabilities = self._outcomes()
        self.features = self._features()

    def mean_reward(self, truth: str = "A") -> Floats:
        """True mean reward of skipping and clicking, shape [2430, 2]; truth A's is also the perceived one."""
        check_name("truth", truth, TRUTHS)
        taste = self.tastes[np.arange(NUM_STATES), self.topic]
        click = -0.2 + 1.2 * (taste - 1) + 0.5 * (self.quality - 1) - 0.15 * self.fatigue + 1.2 * self.bait
        if truth == "B":
            click = click - REGRET * self.bait
        return np.stack([-self.skip_cost * self.quality, click], axis=1)

    def noise_sd(self, noise: str = "N1") -> Floats:
        """Spread of the true reward around its mean, shape [2430]; behaviour never uses it."""
        check_name("noise", noise, NOISES)
        if noise == "N1":
            return np.asarray(0.3 + 0.6 * self.bait + 0.1 * self.fatigue)
        return np.asarray(0.3 + 0.3 * self.quality)

    @cached_property
    def q(self) -> Floats:
        """The users' soft-optimal Q(s, skip) and Q(s, click), by value iteration; shape [2430, 2]."""
        reward = self.mean_reward()
        v = np.zeros(NUM_STATES)
        while True:
            q = reward + self.discount * self.expected_next(v)
            v, before = np.logaddexp(q[:, 0], q[:, 1]), v
            if np.abs(v - before).max() < 1e-12:
                return q

    @cached_property
    def click_probability(self) -> Floats:
        """Of each state, shape [2430]."""
        click: Floats = 1 / (1 + np.exp(self.q[:, 0] - self.q[:, 1]))
        return click

    def expected_next(self, v: Floats) -> Floats:
        """E[(1-d) V(s') | s, a] of a value of states, [2430] to [2430, 2]."""
        person_value = v.reshape(NUM_PEOPLE, NUM_ITEMS) @ self.item_probabilities
        stays = person_value * (1 - self.exit_probability)
        expected: Floats = (self.next_probabilities * stays[self.next_people]).sum(axis=2)
        return expected

    def draw_people(self, rng: np.random.Generator, num_people: int) -> Ints:
        """New users, without fatigue, shape [num_people]."""
        tastes = rng.choice(NUM_TASTES, size=(num_people, NUM_TOPICS), p=TASTE_START)
        return np.asarray(np.ravel_multi_index(tuple(tastes.T), (NUM_TASTES,) * NUM_TOPICS)) * NUM_FATIGUES

    def draw_items(self, rng: np.random.Generator, num_items: int) -> Ints:
        """Items as the log's recommender shows them, shape [num_items]."""
        return rng.choice(NUM_ITEMS, size=num_items, p=self.item_probabilities)

    def state(self, people: Ints, items: Ints) -> Ints:
        """Index of the state in which a person is shown an item."""
        return people * NUM_ITEMS + items

    def act(self, rng: np.random.Generator, states: Ints) -> Ints:
        """What users do in these states: 0 skip or 1 click."""
        return (rng.random(len(states)) < self.click_probability[states]).astype(np.int64)

    def advance(
        self, rng: np.random.Generator, states: Ints, actions: Ints
    ) -> tuple[Ints, NDArray[np.bool_]]:
        """The person that the action leaves behind, and whether that person leaves."""
        cumulative = self.next_probabilities[states, actions].cumsum(axis=1)
        outcome = (rng.random(len(states))[:, None] > cumulative[:, :-1]).sum(axis=1)
        people = self.next_people[states, actions, outcome]
        return people, rng.random(len(states)) < self.exit_probability[people]

    def simulate(
        self, num_users: int, *, seed: int, truth: str = "A", noise: str = "N1", max_steps: int = MAX_STEPS
    ) -> ClickWorldLog:
        """Lets new users act on randomly shown items until they leave or ``max_steps`` have passed.

        Args:
            num_users: One session each.
            seed: The same seed gives the same log; truth and noise change its rewards alone.
            truth: "A" or "B".
            noise: "N1" or "N2".
            max_steps: Sessions that last so long are truncated.
        """
        for name, value in (("num_users", num_users), ("max_steps", max_steps)):
            if value < 1:
                raise ConfigError(f"{name} must be >= 1, got {value}")
        rng = np.random.default_rng(seed)
        users = np.arange(num_users)
        states = self.state(self.draw_people(rng, num_users), self.draw_items(rng, num_users))
        rows = []
        for step in range(max_steps):
            actions = self.act(rng, states)
            people, left = self.advance(rng, states, actions)
            next_states = self.state(people, self.draw_items(rng, len(users)))
            cut = np.full(len(users), step == max_steps - 1) & ~left
            rows.append((users, np.full(len(users), step), states, actions, next_states, left, cut))
            users, states = users[~left], next_states[~left]
        user, step_of, state, action, next_state, left, cut = map(np.concatenate, zip(*rows, strict=True))
        order = np.lexsort((step_of, user))
        state, action = state[order], action[order]
        mean = self.mean_reward(truth)[state, action]
        return ClickWorldLog(
            transitions=UserTransitions(
                states=self.features[state],
                actions=action,
                next_states=self.features[next_state[order]],
                terminated=left[order],
                truncated=cut[order],
                users=user[order],
            ),
            states=state,
            steps=step_of[order],
            rewards=mean + self.noise_sd(noise)[state] * rng.standard_normal(len(state)),
        )

    def _outcomes(self) -> tuple[Ints, Floats]:
        rows = np.arange(NUM_STATES)
        topic_weight = NUM_TASTES ** (NUM_TOPICS - 1 - self.topic)
        taste_index = rows // NUM_ITEMS // NUM_FATIGUES
        taste = self.tastes[rows, self.topic]
        clicked_bait = self.bait == 1
        clicked_good = (self.bait == 0) & (self.quality == 2)
        # Change of taste and its probability; change of fatigue and its probability.
        skip = (np.ones_like(rows), np.full(NUM_STATES, 0.03), -1, 0.4)
        click = (
            np.select([clicked_bait, clicked_good], [-1, 1], 0),
            np.select([clicked_bait, clicked_good], [0.9, 0.5], 0.0),
            1,
            0.5,
        )
        people, probabilities = [], []
        for taste_change, taste_probability, fatigue_change, fatigue_probability in (skip, click):
            new_taste = np.clip(taste + taste_change, 0, NUM_TASTES - 1)
            new_index = taste_index + (new_taste - taste) * topic_weight
            new_fatigue = np.clip(self.fatigue + fatigue_change, 0, NUM_FATIGUES - 1)
            people.append(
                [t * NUM_FATIGUES + f for t in (taste_index, new_index) for f in (self.fatigue, new_fatigue)]
            )
            probabilities.append(
                [
                    t * f
                    for t in (1 - taste_probability, taste_probability)
                    for f in (1 - fatigue_probability, fatigue_probability)
                ]
            )
        return np.array(people).transpose(2, 0, 1), np.array(probabilities).transpose(2, 0, 1)

    def _features(self) -> NDArray[np.float32]:
        columns = [np.eye(NUM_TASTES)[self.tastes[:, topic]] for topic in range(NUM_TOPICS)]
        columns += [
            np.eye(size)[values]
            for values, size in (
                (self.fatigue, NUM_FATIGUES),
                (self.topic, NUM_TOPICS),
                (self.quality, NUM_QUALITIES),
            )
        ]
        return np.concatenate([*columns, self.bait[:, None]], axis=1).astype(np.float32)


def _item_probabilities() -> Floats:
    _, quality, bait = np.unravel_index(np.arange(NUM_ITEMS), (NUM_TOPICS, NUM_QUALITIES, 2))
    return np.array(QUALITY_SHARES)[quality] * np.where(bait == 1, BAIT_SHARE, 1 - BAIT_SHARE) / NUM_TOPICS

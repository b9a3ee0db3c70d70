"""The gate's findings about a fitted model: its exits, its level, and how it hangs on what it assumes."""

from dataclasses import replace

import numpy as np

from rec_rl.data.transitions import UserTransitions
from rec_rl.rewards.anchored import AnchoredConfig
from rec_rl.rewards.findings import Finding
from rec_rl.rewards.mental_reward import MentalRewardModel, fit_mental_reward, level_gauge

SENSITIVITY_STEPS = 200
SENSITIVITY_BATCH = 1000


def exits_valued(model: MentalRewardModel, rows: UserTransitions) -> Finding:
    """Whether Q - gamma (1-d) V(s') under these exit labels is what the reward head says."""
    taken = model.behaviour_reward(rows.states)[np.arange(len(rows)), rows.actions]
    shift = float((model.reward_targets(rows) - taken).mean() / max(float(taken.std()), 1e-9))
    return Finding(
        name="exits valued at zero",
        value=shift,
        bound="|.| <= 0.25 sd of the reward",
        passed=abs(shift) <= 0.25,
        sentence=f"with these exits worth zero, Q and the reward disagree by {shift:+.3f} sd on average.",
    )


def level(model: MentalRewardModel, rows: UserTransitions) -> Finding:
    """Whether the level of the reward is the one that its method fixes."""
    targets = model.reward_targets(rows)
    if isinstance(model.config, AnchoredConfig):
        value = float((targets[rows.actions == 0] - model.config.skip_reward).mean())
        sentence = f"skips earn the assumed r0 on average, but for {value:+.4f}."
    else:
        value = level_gauge(targets, rows.terminated, model.config.discount)
        sentence = f"the mean of r (1 - gamma (1-d)) is {value:+.4f}; only differences mean something."
    bound = 0.1 * float(targets.std())
    return Finding(
        name="level", value=value, bound=f"|.| <= {bound:.4f}", passed=abs(value) <= bound, sentence=sentence
    )


def sensitivity(
    model: MentalRewardModel, train: UserTransitions, test: UserTransitions, *, seed: int
) -> list[Finding]:
    """Correlation of r(click) - r(skip) with that of small refits at half gamma and at another r0."""
    small = replace(
        model.config,
        steps=SENSITIVITY_STEPS,
        head_steps=SENSITIVITY_STEPS // 2,
        batch_size=SENSITIVITY_BATCH,
    )
    gamma = model.config.discount / 2
    refits = [("gamma", f"gamma {gamma:g}", replace(small, discount=gamma))]
    if isinstance(small, AnchoredConfig):
        r0 = small.skip_reward - model.record.reward_sd / 2
        refits.append(("r0", f"r0 {r0:.2g}", replace(small, skip_reward=r0)))
    rewards = model.behaviour_reward(test.states)
    findings = []
    for name, what, config in refits:
        other = fit_mental_reward(train, config, seed=seed).behaviour_reward(test.states)
        value = float(np.corrcoef(rewards[:, 1] - rewards[:, 0], other[:, 1] - other[:, 0])[0, 1])
        findings.append(
            Finding(
                name=f"sensitivity to {name}",
                value=value,
                bound=">= 0.5",
                passed=value >= 0.5,
                sentence=f"the differences of a small refit with {what} correlate {value:.2f} with these.",
            )
        )
    return findings

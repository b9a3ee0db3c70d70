"""The gate: whether a mental reward means anything, judged without knowing the truth.

Users who act on a reward leave traces of it. The gate asks whether its difference r(click) - r(skip) ranks
what users clicked, whatever its shape and level; whether users who maximised the reward would have acted as
these did, which a reward that grows with the session or goes to the wrong states does not survive; whether
the log can carry an inverse method; and how far the result hangs on its assumptions. Its own fits share
nothing with the reward's training, and its scores are taken on other users than its fits.

A pass says that behaviour supports the reward. Whether users were glad afterwards cannot be read from
clicks: two truths with the same behaviour pass alike. Explicit feedback tells them apart. A reward that was
calibrated on feedback is judged twice: as behaviour gave it, by behaviour; as it is, by feedback of others.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import roc_auc_score

from rec_rl.data.transitions import UserTransitions
from rec_rl.rewards.findings import Finding, ends_labelled, exits_labelled, not_judged, session_steps
from rec_rl.rewards.mental_reward import MentalRewardModel
from rec_rl.rewards.model_findings import exits_valued, level, sensitivity
from rec_rl.rewards.soft_evaluation import RandomFeatures, click_model, log_likelihoods, soft_optimal_q

RewardFunction = Callable[[NDArray[np.float32]], NDArray[np.floating]]
"""States [n, d] to r(s, skip) and r(s, click) (or the log-probabilities of both), [n, 2]."""

Floats = NDArray[np.float64]

MAX_ROWS = 30_000
TEST_SHARE = 0.3
MIN_FEEDBACK = 30
RANKING, EXPLAINS, POLICY = "click ranking", "reward explains behaviour", "policy explains behaviour"
AGREEMENT = "agreement with feedback"


@dataclass(frozen=True, kw_only=True)
class RewardCheck:
    """All findings and what they add up to.

    Attributes:
        findings: In the order in which they were looked at.
        passed: None if the log cannot judge a reward.
        verdict: The same in words.
    """

    findings: tuple[Finding, ...]
    passed: bool | None
    verdict: str


def check_reward(
    model: MentalRewardModel | RewardFunction,
    transitions: UserTransitions,
    *,
    log_policy: RewardFunction | None = None,
    discount: float = 0.9,
    feedback: NDArray[np.floating] | None = None,
    seed: int = 0,
) -> RewardCheck:
    """Judges a reward against what users did.

    Args:
        model: A fitted model, or any function of states. A model brings its own policy and discount.
        transitions: What users did; best those of users that the reward was not fitted on.
        log_policy: The policy that comes with a function, where there is one.
        discount: The users' gamma that a function assumes.
        feedback: Explicit feedback of each row (ratings, likes; larger is better), shape [n], NaN where none
            was given; that of the transitions if None.
        seed: Of the users drawn, the split and the gate's features.

    Returns:
        The findings and the verdict.

    Raises:
        ValueError: If the reward is not finite numbers of shape [n, 2], or the feedback not [n].
    """
    if feedback is None:
        feedback = transitions.feedback
    if feedback is not None and feedback.shape != (len(transitions),):
        raise ValueError(f"feedback must have shape [{len(transitions)}], got {feedback.shape}")
    reward: RewardFunction
    if isinstance(model, MentalRewardModel):
        reward, log_policy, discount = model.behaviour_reward, model.log_policy, model.config.discount
    else:
        reward = model
    rows = transitions
    if len(transitions) > MAX_ROWS:
        rows = transitions.split(MAX_ROWS / len(transitions), seed=seed)[1]
    train, test = rows.split(TEST_SHARE, seed=seed)
    findings = [exits_labelled(transitions), ends_labelled(transitions)]
    findings += _behaviour(reward, log_policy, train, test, discount, seed)
    findings.append(_no_clock(reward, rows))
    if isinstance(model, MentalRewardModel):
        if feedback is not None:
            findings.append(_agreement_of_model(model, transitions, feedback))
        findings += [exits_valued(model, rows), level(model, rows)]
        findings += sensitivity(model, train, test, seed=seed)
        return _verdict(tuple(findings), model.record.assumptions)
    if feedback is not None:
        findings.append(_agreement(reward, transitions, feedback))
    return _verdict(tuple(findings))


def _verdict(findings: tuple[Finding, ...], assumptions: tuple[str, ...] = ()) -> RewardCheck:
    failed = [finding.name for finding in findings if finding.passed is False]
    if failed:
        verdict = f"FAILS: {', '.join(failed)}. Do not train on this reward."
        return RewardCheck(findings=findings, passed=False, verdict=verdict)
    if any(finding.name == RANKING and finding.passed is None for finding in findings):
        verdict = "CANNOT BE JUDGED: in this log, what users do hardly depends on the state."
        return RewardCheck(findings=findings, passed=None, verdict=verdict)
    verdict = "PASSES: behaviour supports this reward."
    agrees = next((finding for finding in findings if finding.name == AGREEMENT), None)
    if agrees is None or agrees.passed is None:
        verdict += " Whether users were glad afterwards, only feedback tells."
    if assumptions:
        verdict += f" No log can test that {'; that '.join(assumptions)}."
    return RewardCheck(findings=findings, passed=True, verdict=verdict)


def _behaviour(
    reward: RewardFunction,
    log_policy: RewardFunction | None,
    train: UserTransitions,
    test: UserTransitions,
    discount: float,
    seed: int,
) -> list[Finding]:
    """Held-out: ranking of clicks, likelihood of the soft-optimal users of the reward and of the policy."""
    features = RandomFeatures.draw(train.states, np.random.default_rng(seed))
    x, x_test = features(train.states), features(test.states)
    rate = (train.actions.sum() + 1) / (len(train) + 2)
    click_logit = x_test @ click_model(x, train.actions)
    best = log_likelihoods(click_logit, test.actions)
    base = log_likelihoods(np.full(len(test), np.log(rate / (1 - rate))), test.actions)
    gain = best - base
    if len(np.unique(train.actions)) < 2 or gain.mean() < 3 * stats.sem(gain):
        reason = "what users do here hardly depends on the state, so there is nothing to explain."
        names = (RANKING, EXPLAINS) if log_policy is None else (RANKING, EXPLAINS, POLICY)
        return [_share(name, None, reason) for name in names]

    values = _values(reward, test.states)
    auc = roc_auc_score(test.actions, values[:, 1] - values[:, 0])
    ceiling = roc_auc_score(test.actions, click_logit)
    text = (
        f"r(click) - r(skip) ranks held-out clicks with AUC {auc:.3f}, the states alone with {ceiling:.3f}."
    )
    findings = [_share(RANKING, (auc - 0.5) / (ceiling - 0.5), text)]

    q = soft_optimal_q(lambda states: _values(reward, states), train, features, discount)(test.states)
    explained = log_likelihoods(q[:, 1] - q[:, 0], test.actions)
    findings.append(
        _share(EXPLAINS, (explained - base).mean() / gain.mean(), _likelihoods(explained, base, best))
    )

    if log_policy is not None:
        logp = _values(log_policy, test.states)[np.arange(len(test)), test.actions]
        findings.append(_share(POLICY, (logp - base).mean() / gain.mean(), _likelihoods(logp, base, best)))
    return findings


def _likelihoods(candidate: Floats, base: Floats, best: Floats) -> str:
    return (
        f"log-likelihood {candidate.mean():.4f} a decision, between {base.mean():.4f} of the click rate and "
        f"{best.mean():.4f}, minus the entropy of behaviour."
    )


def _share(name: str, value: float | None, sentence: str) -> Finding:
    """A share of what a click model of the same states reaches; half of it passes."""
    bound = ">= 0.5 of what the states allow"
    if value is None:
        return not_judged(name, bound, sentence)
    return Finding(name=name, value=float(value), bound=bound, passed=bool(value >= 0.5), sentence=sentence)


def _no_clock(reward: RewardFunction, rows: UserTransitions) -> Finding:
    """How much of the reward the mere step of the session explains."""
    name, bound = "not a clock", "<= 0.5 of the variance"
    steps = session_steps(rows)
    if steps is None:
        return not_judged(name, bound, "without user ids, the steps of a session are unknown.")
    taken = _values(reward, rows.states)[np.arange(len(rows)), rows.actions]
    by_step = np.bincount(steps, taken) / np.maximum(np.bincount(steps), 1)
    share = float(by_step[steps].var() / max(taken.var(), 1e-12))
    return Finding(
        name=name,
        value=share,
        bound=bound,
        passed=share <= 0.5,
        sentence=f"the step of the session alone explains {share:.2f} of the reward's variance.",
    )


def _agreement_of_model(
    model: MentalRewardModel, transitions: UserTransitions, feedback: NDArray[np.floating]
) -> Finding:
    """`_agreement` of the reward as it is; on the rows of its own fit, that of users kept from the fit."""
    if model.record.num_feedback and model.record.data_hash == transitions.content_hash:
        said = replace(transitions, feedback=feedback.astype(np.float32))
        transitions = said.split(model.config.held_out_share, seed=model.record.seed)[1]
        assert transitions.feedback is not None
        feedback = transitions.feedback
    finding = _agreement(model.reward, transitions, feedback)
    if not model.record.num_feedback or finding.passed is None:
        return finding
    before = _agreement(model.behaviour_reward, transitions, feedback).value
    return replace(finding, sentence=f"{finding.sentence} Before calibration it was {before:.2f}.")


def _agreement(
    reward: RewardFunction, transitions: UserTransitions, feedback: NDArray[np.floating]
) -> Finding:
    """Rank correlation of r(click) - r(skip) with explicit feedback on the rows that carry any."""
    name, bound = AGREEMENT, "rank correlation > 0 with 95 % confidence"
    given = np.flatnonzero(np.isfinite(feedback))
    if len(given) < MIN_FEEDBACK or np.ptp(feedback[given]) == 0:
        return not_judged(name, bound, f"{len(given)} rows carry feedback, too few or all the same.")
    values = _values(reward, transitions.states[given])
    difference = values[:, 1] - values[:, 0]
    correlation = float(stats.spearmanr(difference, feedback[given])[0]) if np.ptp(difference) > 0 else 0.0
    return Finding(
        name=name,
        value=correlation,
        bound=bound,
        passed=bool(correlation > 1.96 / np.sqrt(len(given) - 1)),
        sentence=f"over {len(given)} rows with feedback, the rank correlation is {correlation:.2f}.",
    )


def _values(reward: RewardFunction, states: NDArray[np.float32]) -> Floats:
    values = np.asarray(reward(states), dtype=np.float64)
    if values.shape != (len(states), 2):
        raise ValueError(f"a reward must have shape {(len(states), 2)}, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"a reward must be finite, {int((~np.isfinite(values)).sum())} values are not")
    return values

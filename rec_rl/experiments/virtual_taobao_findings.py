"""What the runs of the Virtual Taobao table say: figures of an arm, effects against controls, bars."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rec_rl.evaluation.intervals import Estimate, interquartile_mean, mean_interval, paired_difference

EFFECT_STEPS = (10_000, 25_000, 50_000)
THRESHOLD = 0.9
PLATEAU = 0.9
"""eCTR of policies whose pages have nine clicks in ten, where learners stay."""


def arm_metrics(rows: list[dict[str, Any]], steps: int) -> dict[str, Estimate]:
    """What a table shows of one arm's runs of ``steps`` steps, each with its interval over seeds."""
    final = [row["ectr"] for row in rows]
    metrics = {
        "ectr": mean_interval(final, seeds=True),
        "ectr_interquartile_mean": _point(interquartile_mean(final), len(final)),
        "ectr_of_totals": mean_interval([row["ectr_of_totals"] for row in rows], seeds=True),
    }
    if all(row["curve"] for row in rows):
        for at in EFFECT_STEPS:
            if at < steps:
                metrics[f"ectr_at_{at}"] = mean_interval([ectr_at(row, at) for row in rows], seeds=True)
        reached = mean_interval([steps_to(row, THRESHOLD, steps) for row in rows], seeds=True)
        metrics[f"steps_to_{THRESHOLD}"] = reached
    for name in ("satisfaction", "seconds"):
        if all(name in row for row in rows):
            metrics[name] = mean_interval([row[name] for row in rows], seeds=True)
    return metrics


def _point(value: float, n: int) -> Estimate:
    return Estimate(value=value, low=float("nan"), high=float("nan"), n=n)


def ectr_at(row: Mapping[str, Any], step: int) -> float:
    """eCTR at the last evaluation up to ``step``; the final one where training ended before."""
    points = [point["ectr"] for point in row["curve"] if point["step"] <= step + 600]
    return float(points[-1])


def steps_to(row: Mapping[str, Any], threshold: float, steps: int) -> float:
    """Environment steps at the first evaluation at or above ``threshold``; ``steps`` if there was none."""
    return float(next((p["step"] for p in row["curve"] if p["ectr"] >= threshold), steps))


def effects(by_arm: Mapping[str, list[dict[str, Any]]], steps: int) -> dict[str, Estimate]:
    """eCTR of every shaped arm minus that of its shuffled control, over shared seeds, along training."""
    metrics: dict[str, Estimate] = {}
    for name, rows in by_arm.items():
        base, _, reward = name.partition("/")
        method, _, mode = reward.partition("/")
        if not reward or method == "shuffled":
            continue
        control = by_arm[f"{base}/shuffled/{mode}"]
        for at in EFFECT_STEPS:
            if at < steps:
                a, b = ([ectr_at(row, at) for row in side] for side in (rows, control))
            elif at == steps:
                a, b = ([row["ectr"] for row in side] for side in (rows, control))
            else:
                continue
            metrics[f"effect_at_{at}/{name}"] = paired_difference(a, b)
    return metrics


def verdicts(differences: Mapping[str, Estimate]) -> list[str]:
    """What the differences of `effects` say in words, a sentence for each of EFFECT_STEPS."""
    sentences = []
    for at in EFFECT_STEPS:
        prefix = f"effect_at_{at}/"
        found = {name.removeprefix(prefix): d for name, d in differences.items() if name.startswith(prefix)}
        if not found:
            continue
        raised = [f"{name} {d.value:+.3f}" for name, d in found.items() if d.low > 0]
        lowered = [f"{name} {d.value:+.3f}" for name, d in found.items() if d.high < 0]
        by_chance = f"{0.05 * len(found):.1g}"
        sentences.append(
            f"After {at:,} steps, of {len(found)} mental rewards {len(raised)} raise eCTR above their "
            f"shuffled control ({', '.join(raised) or 'none'}) and {len(lowered)} lower it "
            f"({', '.join(lowered) or 'none'}); of {len(found)} rewards without any effect {by_chance} "
            "would be expected to seem to have one."
        )
    return sentences


def missed_bars(by_arm: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Which of the experiment's bars were not reached, and where those runs ended."""
    best_sac = max((n for n in by_arm if n.startswith("sac")), key=lambda n: _mean(by_arm[n]))
    bars = (
        ("SAC's best form: mean eCTR >= .98", best_sac, _mean, 0.98),
        ("SAC's best form: every seed >= .93", best_sac, _worst, 0.93),
        ("PPO without options: mean eCTR >= .90", "ppo", _mean, 0.90),
        ("PPO with self-imitation: mean eCTR >= .98", "ppo+options", _mean, 0.98),
        ("PPO with self-imitation: every seed >= .93", "ppo+options", _worst, 0.93),
    )
    return [
        {"bar": bar, "arm": arm, "value": figure(by_arm[arm]), "reason": _where_runs_ended(by_arm[arm])}
        for bar, arm, figure, least in bars
        if figure(by_arm[arm]) < least
    ]


def _where_runs_ended(rows: list[dict[str, Any]]) -> str:
    on_plateau = sum(abs(row["ectr"] - PLATEAU) < 0.002 for row in rows)
    return (
        f"{on_plateau} of {len(rows)} runs ended on the plateau where nine of ten items are clicked, worth "
        f"{PLATEAU} at most"
    )


def _mean(rows: list[dict[str, Any]]) -> float:
    return float(np.mean([row["ectr"] for row in rows]))


def _worst(rows: list[dict[str, Any]]) -> float:
    return float(min(row["ectr"] for row in rows))

"""Figures of a session log's audit."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy import stats

from rec_rl.data.levels import TASKS
from rec_rl.data.sessions import SessionLog
from rec_rl.evaluation.audit import NOISE_LEVELS, LogAudit
from rec_rl.evaluation.off_policy import CAUTION, SHARE_BOUNDS, SUPPORTED
from rec_rl.report.figures import COLOURS, save


def save_log_figures(log: SessionLog, audit: LogAudit, folder: Path) -> dict[str, Path]:
    """Draws the figures of an audit; returns their paths by caption."""
    figures = {
        "depth, return and levels of sessions": session_figure(log, audit),
        "are the propensities right, and how far do they reach": overlap_figure(audit),
    }
    paths: dict[str, Path] = {}
    for i, (caption, figure) in enumerate(figures.items()):
        paths[caption] = folder / f"{('sessions', 'overlap')[i]}.png"
        save(figure, paths[caption])
    return paths


def session_figure(log: SessionLog, audit: LogAudit) -> Figure:
    """Distributions of depth and gap, and shares of the levels."""
    figure, (depths, gaps, levels) = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    longest = int(np.quantile(log.depths, 0.995)) + 1
    depths.hist(log.depths.clip(max=longest), np.arange(0.5, longest + 1), color=COLOURS[0])
    depths.set(xlabel="requests of a session", ylabel="sessions")
    seen = log.gaps[log.gaps > 0]
    bins = np.geomspace(seen.min(), seen.max() * 1.001, 50) if len(seen) else [0.0, 1.0]
    gaps.hist(seen, bins, color=COLOURS[1])
    gaps.set(xlabel="hours until the return", ylabel="sessions", xscale="log")
    for i, task in enumerate(TASKS):
        shares = audit.level_shares[task]
        levels.bar(np.arange(len(shares)) + 0.27 * (i - 1), shares, 0.27, color=COLOURS[i], label=task)
    levels.set(xlabel="level, rounded down", ylabel="share of sessions")
    levels.legend(fontsize=8, frameon=False)
    return figure


def overlap_figure(audit: LogAudit) -> Figure:
    """The noise against the normal's quantiles, and the effective sample size by distance."""
    figure, (noise, overlap) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    normal = stats.norm.ppf(NOISE_LEVELS)
    noise.plot(normal, normal, color="black", lw=0.8, label="standard normal")
    noise.plot(normal, audit.calibration.quantiles, color=COLOURS[0], lw=2, label="this log")
    noise.set(xlabel="quantile of the normal", ylabel="(action - mean) / scale")
    noise.set_title(audit.calibration.verdict.partition(":")[0], fontsize=9)
    noise.legend(fontsize=8, frameon=False)

    radii = list(audit.overlap)
    num_counted = audit.num_sessions - sum(audit.exclusions.values())
    share = np.array([estimate.ess or 0 for estimate in audit.overlap.values()]) / num_counted
    colours = {SUPPORTED: COLOURS[2], CAUTION: COLOURS[7]}
    words = [str(estimate.verdict).partition(":")[0] for estimate in audit.overlap.values()]
    overlap.plot(radii, share, color="black", lw=0.8)
    for word in dict.fromkeys(words):
        mine = [i for i, found in enumerate(words) if found == word]
        colour = colours.get(word, COLOURS[4])
        overlap.scatter(np.take(radii, mine), share[mine], color=colour, label=word, zorder=3)
    for bound in SHARE_BOUNDS:
        overlap.axhline(bound, color="grey", lw=0.8, ls=":")
    overlap.set(
        xlabel="step of a policy, in units of the noise",
        ylabel="effective share of sessions",
        ylim=(0, 1.02),
    )
    overlap.legend(fontsize=8, frameon=False)
    return figure

"""A sweep over a search space on Ray Tune, which survives its own death.

Differs from Ray's Tuner.restore: the state of a sweep is a journal of plain JSON (`tuning.journal`), not
Tune's pickles, which are snapshots of some seconds ago and lose the scheduler. A resumed sweep proposes the
journal's trials again, in their order: each first repeats its reports, which teaches the searcher and the
scheduler what they knew, and then goes on from its checkpoint.
"""

import importlib.util
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, PopulationBasedTraining
from ray.tune.search import BasicVariantGenerator

from rec_rl.errors import ConfigError, RecRLError, check_name
from tuning.journal import FAILED, FINISHED, RUNNING, STOPPED, Journal, TrialEntry
from tuning.search_spaces import Choice, Domain, LogUniform, SearchSpace, Uniform

Trial = Callable[[dict[str, Any], Path], Iterator[dict[str, float]]]
"""trial(settings, folder) -> reports with a "step" and every metric; picklable. Before each report it keeps
in ``folder`` what it needs to go on, and it goes on from what it finds there."""

SEARCHES = ("random", "optuna")
SCHEDULERS = ("none", "asha", "pbt")
REDUCTION = 3
"""ASHA lets the best third go on at a ninth and at a third of the steps."""
PBT_INTERVALS = 5
"""PBT copies the best over the worst at every fifth of the steps."""
MAX_FAILURES = 2


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """How to search.

    Attributes:
        samples: Trials.
        search: "random" or "optuna" (a tree of Parzen estimators).
        scheduler: "none", "asha" (stops the worst early) or "pbt" (copies the best over the worst).
        metrics: What every report of a trial holds beside its "step".
        metric: Which of them decides.
        mode: "max" or "min".
        max_steps: Step of a trial's last report.
        mutable: Settings that may change in mid-trial; needed by pbt.
        max_concurrent: Trials at a time; 0 is as many as the cluster has cores.
        seed: Of the draws.
    """

    samples: int
    metrics: tuple[str, ...]
    metric: str
    mode: str
    max_steps: int
    search: str = "random"
    scheduler: str = "none"
    mutable: tuple[str, ...] = ()
    max_concurrent: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ConfigError(f"samples must be >= 1, got {self.samples}")
        if self.max_concurrent < 0:
            raise ConfigError(f"max_concurrent must be >= 0, got {self.max_concurrent}")
        check_name("metric", self.metric, self.metrics)
        check_name("mode", self.mode, ("max", "min"))
        check_name("search", self.search, SEARCHES)
        check_name("scheduler", self.scheduler, SCHEDULERS)
        if self.scheduler == "pbt" and not self.mutable:
            raise ConfigError(
                "scheduler pbt needs settings that can change in mid-trial; this target has none"
            )
        if self.scheduler == "pbt" and self.search != "random":
            raise ConfigError(f"pbt searches by itself: search must be random, got {self.search}")
        if self.search == "optuna" and importlib.util.find_spec("optuna") is None:
            raise ConfigError("search optuna needs the package optuna: pip install rec_rl[tune]")


def run_sweep(
    trial: Trial,
    space: SearchSpace,
    config: SweepConfig,
    journal: Journal,
    on_change: Callable[[list[TrialEntry]], None],
) -> list[TrialEntry]:
    """Runs what the journal lacks of ``config.samples`` trials; Ray must run already.

    Args:
        trial: What a trial does.
        space: What it draws from.
        config: How to search.
        journal: What was done before; kept up to date.
        on_change: Called with every trial after each change.

    Returns:
        All trials, the best first; trials that ran to their end come before those that did not.

    Raises:
        RecRLError: If every trial failed; says why the first did.
    """
    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"}  # stdout is ours
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Tune would take Ctrl-C for the end of the search
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    past = [journal.entries[number] for number in sorted(journal.entries)]
    session = sum(1 for _ in journal.folder.glob("session-*"))
    keeper = _Keeper(journal, config, on_change)
    work = tune.with_parameters(_run_trial, trial=trial, space=space, past=past, config=config)
    tuner = tune.Tuner(
        tune.with_resources(work, {"CPU": 1}),
        param_space={name: _tune_domain(domain) for name, domain in space.domains().items()},
        tune_config=tune.TuneConfig(
            metric=config.metric,
            mode=config.mode,
            num_samples=config.samples,
            search_alg=_search(config, past),
            scheduler=_scheduler(config, space),
            max_concurrent_trials=config.max_concurrent or None,
            trial_name_creator=partial(_name, first=0 if config.search == "random" else 1),
            trial_dirname_creator=str,
        ),
        run_config=tune.RunConfig(
            name=f"session-{session:02d}",
            storage_path=str(journal.folder.absolute()),
            callbacks=[keeper],
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            # pbt copies from checkpoints that their owner no longer needs
            checkpoint_config=tune.CheckpointConfig(num_to_keep=None if config.scheduler == "pbt" else 2),
            verbose=0,
        ),
    )
    tuner.fit()
    entries = list(journal.entries.values())
    if all(entry.state == FAILED for entry in entries):
        raise RecRLError(f"every trial failed; the first: {entries[0].error}")
    return ranked(entries, config.metric, config.mode)


def ranked(entries: list[TrialEntry], metric: str, mode: str) -> list[TrialEntry]:
    """The best first, by the last report; whatever did not finish comes after what did."""
    sign = -1 if mode == "max" else 1

    def place(entry: TrialEntry) -> tuple[bool, float]:
        value = entry.last(metric)
        return entry.state != FINISHED, float("inf") if value is None else sign * value

    return sorted(entries, key=place)


def _run_trial(
    drawn: dict[str, Any], trial: Trial, space: SearchSpace, past: list[TrialEntry], config: SweepConfig
) -> None:
    """Runs in a worker: tells what the journal knows, then goes on."""
    context = tune.get_context()
    number = int(context.get_trial_name())
    folder = Path(context.get_trial_dir()) / "work"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    checkpoint = tune.get_checkpoint()  # of a donor under pbt, or its own after a failure
    if checkpoint is None and number < len(past):
        before = past[number]
        if before.drawn != drawn:
            raise RuntimeError(f"trial {number} must draw {before.drawn} again, got {drawn}")
        told = before.reports[-1:] if config.scheduler == "pbt" else before.reports
        for report in told:
            tune.report({**report, _REPLAYED: True})
        if before.state in (FINISHED, STOPPED):
            return
        if before.checkpoint is not None and Path(before.checkpoint).is_dir():
            checkpoint = tune.Checkpoint.from_directory(before.checkpoint)
    if checkpoint is not None:
        checkpoint.to_directory(folder)
    for report in trial(space.decode(drawn), folder):
        if set(report) != {"step", *config.metrics}:
            raise ValueError(f"a report must hold step and {config.metrics}, got {sorted(report)}")
        kept = tune.Checkpoint.from_directory(folder) if any(folder.iterdir()) else None
        tune.report(dict(report), checkpoint=kept)


_REPLAYED = "replayed"


def _name(trial: Any, first: int) -> str:
    """A trial's number in the order of proposals, from the tag that Tune gives it: "3_lr=0.001"."""
    return f"{int(trial.experiment_tag.split('_')[0]) - first:04d}"


class _Keeper(tune.Callback):
    """Writes the journal as trials tell."""

    def __init__(
        self, journal: Journal, config: SweepConfig, on_change: Callable[[list[TrialEntry]], None]
    ) -> None:
        self._journal, self._config, self._on_change = journal, config, on_change

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restore that is not used here."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A new trial is entered; a past one goes on, also if it failed."""
        number = int(str(trial))
        entry = self._journal.entries.get(number) or TrialEntry(number=number, drawn=dict(trial.config))
        if entry.state == FAILED:
            entry.state, entry.error = RUNNING, None
        self._keep(entry)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        """A report is entered, with the settings that it is of."""
        if _REPLAYED in result:
            return
        entry = self._entry(trial)
        entry.drawn = dict(result["config"])  # pbt may have changed the trial's own by now
        entry.tell({name: float(result[name]) for name in ("step", *self._config.metrics)})
        if result.get("done"):  # the scheduler says so; one that ends by itself says it without a report
            entry.state = STOPPED if result["step"] < self._config.max_steps else FINISHED
        self._keep(entry)

    def on_checkpoint(
        self, iteration: int, trials: list[Any], trial: Any, checkpoint: Any, **info: Any
    ) -> None:
        """What the trial can go on from."""
        entry = self._entry(trial)
        entry.checkpoint = checkpoint.path
        self._keep(entry)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It ended; its checkpoints are no longer needed, unless pbt copies from them."""
        entry = self._entry(trial)
        if entry.state != STOPPED:
            entry.state = FINISHED
        if entry.checkpoint is not None and self._config.scheduler != "pbt":
            shutil.rmtree(entry.checkpoint, ignore_errors=True)
            entry.checkpoint = None
        self._keep(entry)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It failed more often than it may."""
        entry = self._entry(trial)
        entry.state, entry.error = FAILED, str(trial.get_error()).strip().splitlines()[-1]
        self._keep(entry)

    def _entry(self, trial: Any) -> TrialEntry:
        return self._journal.entries[int(str(trial))]

    def _keep(self, entry: TrialEntry) -> None:
        self._journal.write(entry)
        self._on_change(list(self._journal.entries.values()))


def _tune_domain(domain: Domain) -> Any:
    if isinstance(domain, Choice):
        return tune.choice(domain.encoded)
    draw = tune.loguniform if isinstance(domain, LogUniform) else tune.uniform
    return draw(domain.low, domain.high)


def _search(config: SweepConfig, past: list[TrialEntry]) -> Any:
    """Proposes the past trials in their order, then new ones from a stream of its own."""
    points = [entry.drawn for entry in past]
    seed = config.seed + 1_000_003 * len(past)
    if config.search == "random":
        return BasicVariantGenerator(points_to_evaluate=points or None, random_state=seed)
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return OptunaSearch(points_to_evaluate=points or None, sampler=optuna.samplers.TPESampler(seed=seed))


def _scheduler(config: SweepConfig, space: SearchSpace) -> Any:
    if config.scheduler == "asha":
        return AsyncHyperBandScheduler(
            time_attr="step",
            max_t=config.max_steps,
            grace_period=max(1, config.max_steps // REDUCTION**2),
            reduction_factor=REDUCTION,
        )
    if config.scheduler == "pbt":
        domains = {name: space.domains()[name] for name in config.mutable}
        return PopulationBasedTraining(
            time_attr="step",
            perturbation_interval=max(1, config.max_steps // PBT_INTERVALS),
            hyperparam_mutations={  # a list moves to its neighbour, where a domain would be multiplied
                name: domain.encoded if isinstance(domain, Choice) else _tune_domain(domain)
                for name, domain in domains.items()
            },
            custom_explore_fn=partial(_within, domains=domains),
        )
    return FIFOScheduler()


def _within(drawn: dict[str, Any], domains: dict[str, Domain]) -> dict[str, Any]:
    """Settings that pbt multiplied, brought back into their ranges."""
    ranges = {name: domain for name, domain in domains.items() if isinstance(domain, Uniform)}
    return drawn | {name: min(max(drawn[name], range_.low), range_.high) for name, range_ in ranges.items()}

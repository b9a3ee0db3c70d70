"""A mental reward: fitted from user transitions, asked for rewards, saved and loaded (MTRec Sec. 4.2)."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rec_rl.checkpoint import load_state, save_state
from rec_rl.data.transitions import UserTransitions
from rec_rl.errors import CheckpointError, ConfigError
from rec_rl.progress import OnStep
from rec_rl.rewards.anchored import AnchoredConfig
from rec_rl.rewards.descent import Descent, DescentSequence
from rec_rl.rewards.iq_learn import IQLearnConfig
from rec_rl.rewards.qr_iql import QRIQLConfig
from rec_rl.rewards.reward_head import RewardHead, coverage_error, reward_targets
from rec_rl.rewards.soft_q import Batch, BodyBuilder, SoftQNetwork, evaluate, mlp_body

MentalRewardConfig = IQLearnConfig | QRIQLConfig | AnchoredConfig

REWARD_METHODS: dict[str, type[IQLearnConfig] | type[QRIQLConfig] | type[AnchoredConfig]] = {
    "iq_learn": IQLearnConfig,
    "qr_iql": QRIQLConfig,
    "anchored": AnchoredConfig,
}

EXPOSED = "every skip is an item that the user was shown and declined, not a sampled negative"

KIND = "mental reward"


@dataclass(frozen=True, kw_only=True)
class FitRecord:
    """What a mental reward was fitted on and what it reached.

    Attributes:
        method: A name in REWARD_METHODS.
        seed: Seed of the split, the weights and the batches.
        body: "mlp" or "custom".
        num_features: Width of a state.
        num_rows: Rows trained on.
        data_hash: Content hash of all rows given, held-out ones included.
        assumptions: What the rewards rest on, in words.
        q_loss, head_loss: Mean loss over the last tenth of the steps.
        reward_sd: Standard deviation of r*(s, a) at the action taken, training rows. Scale of "unit" shaping.
        difference_sd: Standard deviation of r*(s, click) - r*(s, skip), training rows. Scale of alignment.
        level_gauge: Mean of y (1 - gamma (1-d)), training rows; 0 at the minimum of iq_learn and qr_iql.
        log_likelihood: Mean log pi(a|s), held-out rows.
        base_log_likelihood: The same of the training rows' click rate.
        coverage_error: Of the quantile head on held-out rows, mean over levels, before calibration.
        num_feedback: Rows whose explicit feedback the reward was calibrated on.
    """

    method: str
    seed: int
    body: str
    num_features: int
    num_rows: int
    data_hash: str
    assumptions: tuple[str, ...]
    q_loss: float
    head_loss: float
    reward_sd: float
    difference_sd: float
    level_gauge: float
    log_likelihood: float
    base_log_likelihood: float
    coverage_error: float
    num_feedback: int = 0


class MentalRewardModel:
    """Rewards that explain what users did. Takes and gives numpy arrays, on the CPU.

    Attributes:
        config: Settings it was fitted with.
        record: Data and figures of the fit.
        q_network: The frozen Q.
        reward_head: The frozen head on it.
    """

    def __init__(
        self, config: MentalRewardConfig, q_network: SoftQNetwork, head: RewardHead, record: FitRecord
    ) -> None:
        self.config = config
        self.record = record
        self.q_network = q_network.eval().requires_grad_(False)
        self.reward_head = head.eval().requires_grad_(False)

    def reward(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """r*(s, skip) and r*(s, click), [n, d] to [n, 2]."""
        return self._apply(self.reward_head.reward, states)

    def behaviour_reward(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same as behaviour alone gives it, before explicit feedback calibrated it, [n, d] to [n, 2]."""
        return self._apply(self.reward_head.behaviour_reward, states)

    def quantiles(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """Increasing quantiles of both rewards at the levels (2i - 1) / 2N, [n, d] to [n, 2, N].

        Their spread is the randomness of the next state: behaviour does not tell the spread of the reward.
        """
        return self._apply(self.reward_head.quantiles, states)

    def q(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """Q(s, skip) and Q(s, click), [n, d] to [n, 2]."""
        return self._apply(self.q_network, states)

    def log_policy(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """log pi(skip|s) and log pi(click|s), [n, d] to [n, 2]."""
        return self._apply(lambda x: self.q_network(x).log_softmax(dim=1), states)

    def reward_targets(self, transitions: UserTransitions) -> NDArray[np.float32]:
        """y = Q(s,a) - gamma (1-d) V(s') of each row, shape [n]: what the reward head was fitted to."""
        targets: NDArray[np.float32] = reward_targets(
            self.q_network, Batch.of(transitions), self.config
        ).numpy()
        return targets

    def save(self, folder: str | Path) -> None:
        """Writes weights and description; the folder appears whole or not at all.

        Raises:
            CheckpointError: If the folder cannot be written, or exists and holds no mental reward.
        """
        networks = {name: dict(module.state_dict()) for name, module in self._networks().items()}
        save_state(
            Path(folder),
            {"config": asdict(self.config), "record": asdict(self.record), "networks": networks},
            KIND,
        )

    @classmethod
    def load(cls, folder: str | Path, *, body: BodyBuilder | None = None) -> "MentalRewardModel":
        """Reads what ``save`` wrote; executes none of it.

        Args:
            folder: Where it was saved.
            body: The builder it was fitted with, if that was not the default.

        Raises:
            CheckpointError: If the folder is missing, corrupt, holds something else or had another body.
        """
        state = load_state(Path(folder), KIND)
        record = FitRecord(**{**state["record"], "assumptions": tuple(state["record"]["assumptions"])})
        settings = {**state["config"], "hidden_sizes": tuple(state["config"]["hidden_sizes"])}
        config = REWARD_METHODS[record.method](**settings)
        if (record.body == "custom") != (body is not None):
            raise CheckpointError(f"{folder} was fitted with a {record.body} body; load it with that body")
        # The statistics of these empty states are replaced by the stored ones.
        body = body or mlp_body(np.zeros((1, record.num_features), np.float32), config.hidden_sizes)
        model = cls(config, config.q_network(body), RewardHead(body, config.num_quantiles), record)
        try:
            for name, network in model._networks().items():
                network.load_state_dict({k: torch.from_numpy(v) for k, v in state["networks"][name].items()})
        except RuntimeError as error:
            raise CheckpointError(f"{folder} does not fit the body given: {error}") from error
        return model

    def _networks(self) -> dict[str, nn.Module]:
        return {"q_network": self.q_network, "reward_head": self.reward_head}

    def _apply(
        self, function: Callable[[Tensor], Tensor], states: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        if states.ndim != 2 or states.shape[1] != self.record.num_features:
            raise ValueError(f"states must have shape [n, {self.record.num_features}], got {states.shape}")
        return evaluate(function, states)


def fit_mental_reward(
    transitions: UserTransitions,
    config: MentalRewardConfig,
    *,
    seed: int = 0,
    body: BodyBuilder | None = None,
    on_step: OnStep | None = None,
    checkpoints: Path | None = None,
) -> MentalRewardModel:
    """Fits Q by the method of ``config``, freezes it, and fits the reward head on it.

    The anchored reward is then calibrated on explicit feedback, where the transitions hold any.
    The same data, config and seed give the same model. torch's global generator is left as it was.

    Args:
        transitions: What users did. ``config.held_out_share`` of the users is kept for the record's figures.
        config: Picks the method.
        seed: Of the split, the weights and the batches.
        body: Builds the networks' bodies; an MLP of ``config.hidden_sizes`` on standardised states if None.
        on_step: Called as on_step(step, total, {"q_loss" or "head_loss": value}) after every gradient step.
        checkpoints: Folder in which the fit is kept every few seconds; one that was ended there goes on to
            the same model. None keeps none.

    Raises:
        CheckpointError: If a fit with other settings, another seed or other data lies there.
    """
    training, held_out = transitions.split(config.held_out_share, seed=seed)
    batch = Batch.of(training)
    build = body or mlp_body(training.states, config.hidden_sizes)
    descents = DescentSequence(
        checkpoints,
        f"fit of a {KIND}",
        num_steps=config.steps + config.head_steps,
        on_step=on_step,
        identity={"config": asdict(config), "seed": seed, "data_hash": transitions.content_hash},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = config.q_network(build)
        q_loss = descents.run(
            "q_loss",
            Descent(
                network,
                lambda index: network.loss(batch.rows(index)),
                num_rows=len(training),
                num_steps=config.steps,
                config=config,
                after_step=network.after_step,
            ),
        )
        targets = reward_targets(network, batch, config)
        head = RewardHead(build, config.num_quantiles)
        head.fit_scale(targets)
        head_loss = descents.run(
            "head_loss",
            Descent(
                head,
                lambda index: head.loss(batch.rows(index), targets[index]),
                num_rows=len(training),
                num_steps=config.head_steps,
                config=config,
            ),
        )
    reward_sd, difference_sd = _spread(head, training)
    log_likelihood, base_log_likelihood, error = _held_out_figures(
        network, head, held_out, float(training.actions.mean()), config
    )
    record = FitRecord(
        method=next(name for name, kind in REWARD_METHODS.items() if kind is type(config)),
        seed=seed,
        body="mlp" if body is None else "custom",
        num_features=transitions.num_features,
        num_rows=len(training),
        data_hash=transitions.content_hash,
        assumptions=(EXPOSED, *config.assumptions),
        q_loss=q_loss,
        head_loss=head_loss,
        reward_sd=reward_sd,
        difference_sd=difference_sd,
        level_gauge=level_gauge(targets.numpy(), training.terminated, config.discount),
        log_likelihood=log_likelihood,
        base_log_likelihood=base_log_likelihood,
        coverage_error=error,
    )
    model = MentalRewardModel(config, network, head, record)
    if isinstance(config, AnchoredConfig) and training.has_feedback:
        return calibrate_mental_reward(model, training)
    return model


def calibrate_mental_reward(model: MentalRewardModel, transitions: UserTransitions) -> MentalRewardModel:
    """A copy of an anchored reward whose r(click) - r(skip) agrees with what users said.

    Q and the policy stay: they are about what users do. Feedback also on skipped rows (hides) counts.

    Args:
        model: Fitted by the anchored method, not calibrated before.
        transitions: Rows that it was fitted on, or alike, some of them with feedback.

    Raises:
        ConfigError: If the model is of another method or calibrated, or there is no feedback.
    """
    if not isinstance(model.config, AnchoredConfig):
        raise ConfigError(f"explicit feedback calibrates the reward anchored, got {model.record.method}")
    if model.record.num_feedback:
        raise ConfigError(f"the reward is calibrated on {model.record.num_feedback} rows already")
    if transitions.feedback is None or not transitions.has_feedback:
        raise ConfigError("there is no explicit feedback to calibrate the reward on")
    given = ~np.isnan(transitions.feedback)
    head = deepcopy(model.reward_head)
    head.calibrate(
        torch.from_numpy(transitions.states[given]),
        torch.from_numpy(transitions.feedback[given]),
        prior_sd=model.config.feedback_prior_sd,
    )
    num_feedback = int(given.sum())
    said = (
        f"explicit feedback on {num_feedback:,} of {len(given):,} rows ({num_feedback / len(given):.2%}) "
        "says what users think of a click afterwards, and the users who gave it are like the others"
    )
    reward_sd, difference_sd = _spread(head, transitions)
    record = replace(
        model.record,
        num_feedback=num_feedback,
        assumptions=(*model.record.assumptions, said),
        reward_sd=reward_sd,
        difference_sd=difference_sd,
    )
    return MentalRewardModel(model.config, model.q_network, head, record)


def _spread(head: RewardHead, rows: UserTransitions) -> tuple[float, float]:
    """Deviations of r*(s, a) at the action taken and of r*(s, click) - r*(s, skip)."""
    rewards = evaluate(head.reward, rows.states)
    taken = rewards[np.arange(len(rows)), rows.actions]
    return float(taken.std()), float((rewards[:, 1] - rewards[:, 0]).std())


def _held_out_figures(
    network: SoftQNetwork,
    head: RewardHead,
    rows: UserTransitions,
    click_rate: float,
    config: MentalRewardConfig,
) -> tuple[float, float, float]:
    """Mean log pi(a|s), that of the click rate, and the error of the quantiles' coverage."""
    log_policy = evaluate(lambda x: network(x).log_softmax(dim=1), rows.states)
    targets = reward_targets(network, Batch.of(rows), config).numpy()
    base = np.where(rows.actions == 1, click_rate, 1 - click_rate)
    return (
        float(log_policy[np.arange(len(rows)), rows.actions].mean()),
        float(np.log(np.maximum(base, 1e-12)).mean()),
        coverage_error(evaluate(head.quantiles, rows.states), rows.actions, targets),
    )


def level_gauge(rewards: NDArray[np.float32], terminated: NDArray[np.bool_], discount: float) -> float:
    """Mean of r (1 - gamma (1-d)) over rows: 0 at the minimum of iq_learn and of every head of qr_iql."""
    return float((rewards * (1 - discount * ~terminated)).mean())

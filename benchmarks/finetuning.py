"""PrefRec's step of the reward on preference pairs, against its own matrix products."""

from benchmarks import own_ray
from benchmarks.contest import Contest, Opponent, Side, Work
from benchmarks.gemm import bound, train

STATE_DIM, ACTION_DIM, HIDDEN = 245, 8, [256, 256, 256]
NUM_USERS, NUM_REQUESTS = 100, 300
PAIRS, SEGMENT_LENGTH = 64, 100
STEPS = 2


def ours() -> Work:
    """The step as PrefRec's learner takes it: pairs gathered from the log, loss, gradient and Adam."""
    from envs.session_rollouts import record_log
    from envs.session_world import SessionWorld
    from rec_rl.algorithms.offline_data import OfflineData
    from rec_rl.algorithms.prefrec import PrefRecConfig
    from rec_rl.data.levels import session_levels
    from rec_rl.data.preferences import locate_pairs, scripted_preferences
    from rec_rl.rewards.bradley_terry import BradleyTerryConfig, fit_bradley_terry

    own_ray.start()
    log = record_log(SessionWorld(NUM_USERS, 0), NUM_REQUESTS).log
    preferences = scripted_preferences(
        log, session_levels(log).mixture, num_pairs=4 * PAIRS, segment_length=SEGMENT_LENGTH, seed=0
    )
    pairs = locate_pairs(preferences, log)
    reward = fit_bradley_terry(log, pairs, BradleyTerryConfig(hidden_sizes=tuple(HIDDEN), epochs=1))
    config = PrefRecConfig().training(preference_batch_size=PAIRS)
    algorithm = config.learn_from(lambda: OfflineData(log=log, reward=reward, pairs=pairs)).build_algo()
    learner = algorithm.learner_group._learner

    def work() -> float:
        for _ in range(STEPS):
            learner._finetune()
        return STEPS

    return work


CONTEST = Contest(
    name="finetuning",
    work=f"PrefRec's reward step, {PAIRS} pairs of {SEGMENT_LENGTH} requests (cost at most 1.15 products)",
    unit="step",
    ours=Side(name="rec_rl", setup=ours),
    opponents=(
        Opponent(
            side=bound(train(2 * PAIRS * SEGMENT_LENGTH, [STATE_DIM + ACTION_DIM, *HIDDEN, 1])),
            bar=1 / 1.15,
            why="What is not a product is the gradient of the ReLUs, reading float16 states and the sums of "
            "bias gradients.",
        ),
    ),
)

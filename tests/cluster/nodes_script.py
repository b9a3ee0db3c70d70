"""A cluster of three nodes on one machine, on which runs lose what clusters lose.

``python nodes_script.py CASE`` prints one JSON object. The head runs the driver, one node declares a
GPU (which is not there) and takes the learner, the others take the env runners.
"""

import json
import os
import signal
import sys
import time
from functools import partial
from typing import Any

import numpy as np
import ray
from ray.cluster_utils import Cluster

from envs.virtual_taobao import VirtualTaobaoVectorEnv
from rec_rl.algorithms.online import OnlineAlgorithm
from rec_rl.algorithms.ppo import PPOConfig

PATIENCE = 240


def node_of(_: Any) -> str:
    return str(ray.get_runtime_context().get_node_id())


def pid_of(_: Any) -> int:
    return os.getpid()


def build(num_learners: int) -> OnlineAlgorithm:
    config = PPOConfig().simulate(partial(VirtualTaobaoVectorEnv, weights="synthetic"))
    config.training(hidden_sizes=(16, 16), steps_per_iteration=8, num_passes=2, batch_size=32)
    config.env_runners(num_env_runners=2, num_envs_per_env_runner=4).debugging(seed=1)
    if num_learners:  # asking for the GPU itself would start NCCL, which a CPU build of torch lacks
        config.learners(num_learners=num_learners, custom_resources_per_learner={"beside_gpu": 1})
    return config.build_algo()


def runners(algorithm: OnlineAlgorithm, ask: Any) -> list[Any]:
    return algorithm.env_runner_group.foreach_env_runner(ask, local_env_runner=False)


def weights(algorithm: OnlineAlgorithm) -> dict[str, np.ndarray]:
    return {key: np.asarray(value) for key, value in algorithm._policy_weights().items()}


def runners_have(algorithm: OnlineAlgorithm) -> bool:
    """Whether every healthy runner acts with the learner's policy."""
    current = weights(algorithm)
    theirs = runners(algorithm, lambda runner: runner.module.get_state())
    return all(np.array_equal(np.asarray(own[k]), v) for own in theirs for k, v in current.items())


def train(algorithm: OnlineAlgorithm, times: int) -> list[int]:
    steps = []
    for _ in range(times):
        algorithm.train()
        steps.append(algorithm.env_steps)
    return steps


def train_until_replaced(algorithm: OnlineAlgorithm, ask: Any, lost: set[Any]) -> list[int]:
    """Goes on with whoever is left until there are two runners and none of them is among the lost."""
    steps, deadline = train(algorithm, 4), time.monotonic() + PATIENCE
    while (len(found := runners(algorithm, ask)) < 2 or lost & set(found)) and time.monotonic() < deadline:
        steps += train(algorithm, 1)
        time.sleep(0.2)
    return steps + train(algorithm, 2)


def placement(cluster: Cluster, nodes: dict[str, Any]) -> dict[str, Any]:
    algorithm = build(num_learners=1)
    steps = train(algorithm, 2)
    learner = next(iter(algorithm.learner_group.foreach_learner(node_of))).get()
    names = {node.node_id: name for name, node in nodes.items()}
    return {
        "steps": steps,
        "learner": names[learner],
        "runners": [names[node] for node in runners(algorithm, node_of)],
    }


def node_removed(cluster: Cluster, nodes: dict[str, Any]) -> dict[str, Any]:
    algorithm = build(num_learners=0)
    before = train(algorithm, 2)
    homes = runners(algorithm, node_of)
    gone = next(node for node in nodes.values() if node.node_id in homes)
    cluster.remove_node(gone, allow_graceful=False)
    after = train_until_replaced(algorithm, node_of, {gone.node_id})
    homes = runners(algorithm, node_of)
    return {
        "before": before,
        "after": after,
        "healthy": len(homes),
        "elsewhere": gone.node_id not in homes,
        "up_to_date": runners_have(algorithm),
    }


def all_runners_killed(cluster: Cluster, nodes: dict[str, Any]) -> dict[str, Any]:
    algorithm = build(num_learners=0)
    before = train(algorithm, 2)
    pids = runners(algorithm, pid_of)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    after = train_until_replaced(algorithm, pid_of, set(pids))
    fresh = runners(algorithm, pid_of)
    return {
        "before": before,
        "after": after,
        "killed": len(pids),
        "healthy": len(fresh),
        "others": not set(pids) & set(fresh),
        "up_to_date": runners_have(algorithm),
    }


CASES = {case.__name__: case for case in (placement, node_removed, all_runners_killed)}


def main(case: str) -> None:
    started = time.monotonic()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = {
        "gpu": cluster.add_node(num_cpus=2, num_gpus=1, resources={"beside_gpu": 1}),
        "cpu-1": cluster.add_node(num_cpus=2),
        "cpu-2": cluster.add_node(num_cpus=2),
    }
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        found = CASES[case](cluster, nodes)
    finally:
        ray.shutdown()
        cluster.shutdown()
    print(json.dumps({**found, "seconds": time.monotonic() - started}))


if __name__ == "__main__":
    main(sys.argv[1])

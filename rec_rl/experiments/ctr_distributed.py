"""Training of a click model by several workers on Ray Train: the run of one process, shared out by rows.

Every worker holds the data and the model, takes its part of each batch, and gradients are averaged; the
global batch, the order of the rows and the losses are those of one process.
"""

from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray import train
from ray.train.torch import TorchTrainer, get_device

from rec_rl.data.splits import ClickDataset
from rec_rl.errors import ConfigError, RecRLError
from rec_rl.experiments.ctr_training import CTRConfig, CTRTraining
from rec_rl.experiments.data_parallel import Shard
from rec_rl.experiments.runner import start_ray


def train_on_workers(
    data: ClickDataset,
    config: CTRConfig,
    *,
    seed: int,
    num_workers: int,
    difference: NDArray[np.float32] | None = None,
) -> CTRTraining:
    """`CTRTraining` run to its end by ``num_workers`` processes, a GPU each where the cluster has as many.

    Args:
        data: What to train and validate on.
        config: Settings; ``batch_size`` is the global batch, of which each worker takes its part.
        seed: As of `CTRTraining`.
        num_workers: >= 1; each takes a core of the cluster.
        difference: As of `CTRTraining`.

    Returns:
        The finished run with its epochs and the weights of the best one, on the CPU.

    Raises:
        ConfigError: If the cluster has fewer cores than workers.
        RecRLError: If a worker fails.
    """
    start_ray()
    cluster = ray.cluster_resources()
    if not 1 <= num_workers <= cluster.get("CPU", 0):
        cores = f"1..{cluster.get('CPU', 0):g}, the cores of the cluster"
        raise ConfigError(f"num_workers must be in {cores}, got {num_workers}")
    use_gpu = cluster.get("GPU", 0) >= num_workers
    with TemporaryDirectory(prefix="rec_rl-") as folder:
        trainer = TorchTrainer(
            _work,
            train_loop_config={"task": ray.put((data, config, seed, difference))},
            scaling_config=train.ScalingConfig(num_workers=num_workers, use_gpu=use_gpu),
            run_config=train.RunConfig(storage_path=folder, name="ctr"),
        )
        try:
            state = trainer.fit().return_value
        except train.TrainingFailedError as error:
            raise RecRLError(f"training on {num_workers} workers failed: {error}") from error
    training = CTRTraining(data, config, seed=seed, difference=difference)
    training.restore(state)
    training.finish()
    return training


def _work(settings: dict[str, Any]) -> dict[str, Any]:
    """What each worker does; Ray Train hands the first one's state to the caller."""
    torch.set_num_threads(1)
    data, config, seed, difference = ray.get(settings["task"])
    context = train.get_context()
    shard = Shard(rank=context.get_world_rank(), num_workers=context.get_world_size())
    training = CTRTraining(data, config, seed=seed, difference=difference, device=get_device(), shard=shard)
    training.finish()
    return dict(_arrays(training.state()))


def _arrays(node: Any) -> Any:
    """A state without tensors, which Ray Train would not hand over; `CTRTraining.restore` takes it."""
    if isinstance(node, torch.Tensor):
        return node.cpu().numpy()
    if isinstance(node, dict):
        return {key: _arrays(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_arrays(value) for value in node]
    return node

"""Starts and ends the deployment, on loopback alone."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray import serve

from rec_rl.errors import ConfigError
from rec_rl.experiments.runner import start_ray
from rec_rl.runtime import Recommender
from rec_rl.serving.deployment import HOST, RecommendationServer


@contextmanager
def served(folder: Path, *, port: int, replicas: int) -> Iterator[str]:
    """Serves an artefact while the block runs.

    Args:
        folder: Of the artefact.
        port: Of this machine's loopback address.
        replicas: Processes that answer.

    Yields:
        The address, once every replica answers.

    Raises:
        CheckpointError, ConfigError: If the artefact cannot recommend, or the port is taken.
    """
    Recommender(folder)  # here, where an error is one line
    _check_port(port)
    start_ray(num_cpus=replicas)
    try:
        serve.start(http_options={"host": HOST, "port": port})
        deployment = serve.deployment(
            num_replicas=replicas,
            max_ongoing_requests=256,
            health_check_period_s=2.0,  # how soon a dead replica is replaced
            health_check_timeout_s=10.0,
        )(RecommendationServer)
        serve.run(deployment.bind(str(folder.absolute()), ray.nodes()[0]["MetricsExportPort"]), name="rec_rl")
        yield f"http://{HOST}:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConfigError(f"port {port} of {HOST} is taken: {error.strerror}") from error

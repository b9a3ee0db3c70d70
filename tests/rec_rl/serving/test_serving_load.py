import http.client
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rec_rl.experiments.serving_load import HOST, KILLED, STEADY, Load, measure_serving, server_process
from rec_rl.progress import progress
from rec_rl.runtime import Recommender
from rec_rl.serving.deployment import own_metrics

pytestmark = pytest.mark.slow


@pytest.fixture
def artefact(policy_artefact: Callable[..., Path]) -> Path:
    vectors = np.random.default_rng(0).normal(size=(500, 2))
    return policy_artefact(np.arange(500), vectors)


def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    text = None if body is None else json.dumps(body)
    connection.request(method, path, text, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_a_served_artefact_answers_as_the_runtime_and_names_wrong_fields(artefact: Path):
    load = Load(port=8124)
    with server_process(artefact, load):
        user = {"state": [1.0, 0.5, 7.0]}
        status, text = ask(load.port, "POST", "/recommend", {"user": user, "k": 4, "exclude": [3]})
        assert status == 200
        expected = Recommender(artefact).recommend(user, 4, exclude=[3])
        assert [item["item"] for item in json.loads(text)["items"]] == [item for item, _ in expected]
        for wrong, field in (
            ({"user": {"state": [1, 2]}, "k": 4}, ["body", "user", "state"]),
            ({"user": {}, "k": 4}, ["body", "user", "state"]),
            ({"user": user, "k": 0}, ["body", "k"]),
        ):
            status, text = ask(load.port, "POST", "/recommend", wrong)
            assert (status, json.loads(text)["detail"][0]["loc"]) == (422, field)
        deadline = time.monotonic() + 60  # replicas report every few seconds
        while "ray_rec_rl_batch_size_count" not in text:
            assert time.monotonic() < deadline
            time.sleep(1)
            status, text = ask(load.port, "GET", "/metrics")
            assert status == 200
        assert text == own_metrics(text)


def test_a_killed_replica_is_replaced_under_load(artefact: Path):
    with progress() as shown:
        record = measure_serving(
            artefact, Load(port=8125, seconds=9, clients=4), progress=shown, command="test"
        )
    assert record.arms[STEADY]["failed"].value == 0
    assert record.arms[STEADY]["requests_per_second"].value > 10
    assert record.arms[KILLED]["failed"].value < 0.05
    assert record.arms[KILLED]["recovery_seconds"].value < 120

from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from rec_rl.experiments.serving_load import Answers, _metrics
from rec_rl.runtime import FeatureError
from rec_rl.serving.deployment import Question, app, own_metrics

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def client() -> TestClient:
    """An endpoint that takes a `Question`, beside the deployment's handlers of errors."""
    alike = FastAPI(exception_handlers=app.exception_handlers)

    @alike.post("/recommend")
    def recommend(question: Question) -> int:
        raise FeatureError("user.state", "is missing")

    return TestClient(alike)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"user": {}, "k": 0}', ["body", "k"]),
        ('{"user": {}, "k": NaN}', ["body", "k"]),
        ('{"user": {}, "k": "3"}', ["body", "k"]),
        ('{"k": 3}', ["body", "user"]),
        ('{"user": 7}', ["body", "user"]),
        ('{"user": {}, "kk": 3}', ["body", "kk"]),
        ('{"user": {}, "exclude": [1, true]}', ["body", "exclude", 1]),
        ("not json", ["body", 0]),
        ('{"user": {}, "k": 3}', ["body", "user", "state"]),
    ],
)
def test_a_bad_body_is_refused_by_a_422_that_names_its_field(client: TestClient, body: str, field: list[Any]):
    answer = client.post("/recommend", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert any(complaint["loc"][: len(field)] == field for complaint in answer.json()["detail"])


def test_metrics_of_serving_are_passed_on_and_others_not():
    text = """# HELP ray_serve_num_requests x
ray_serve_num_requests{a="b"} 1
# TYPE ray_rec_rl_batch_size histogram
ray_rec_rl_batch_size_count 3
# HELP ray_node_mem_used y
ray_node_mem_used 4
# EOF"""
    assert own_metrics(text).splitlines() == text.splitlines()[:4]


def test_answers_become_a_rate_quantiles_and_a_share_of_failures():
    sent = np.repeat(np.arange(5.0), 4)  # four questions a second
    status = np.full(20, 200)
    status[-2:] = 0, 500
    metrics = _metrics(Answers(sent, np.full(20, 0.01), status))
    assert metrics["requests_per_second"].value == 4
    assert metrics["p99_ms"].value == pytest.approx(10)
    assert metrics["failed"].value == pytest.approx(0.1)
    assert metrics["failed"].low < 0.1 < metrics["failed"].high

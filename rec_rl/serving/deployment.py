"""One replica: questions over HTTP, checked one by one, answered in batches."""

import os
import time
from http.client import HTTPConnection
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr
from ray import serve
from ray.util.metrics import Histogram

from rec_rl.runtime import FeatureError, Query, Recommendation, Recommender
from rec_rl.runtime.features import MOST_ASKED

HOST = "127.0.0.1"
MAX_BATCH, BATCH_WAIT_SECONDS = 32, 0.002
OWN_METRICS = ("ray_serve_", "ray_rec_rl_")
"""Prefixes of the metrics that ``/metrics`` passes on."""

app = FastAPI(title="rec_rl", docs_url=None, redoc_url=None)


class Question(BaseModel):
    """Body of ``POST /recommend``."""

    model_config = ConfigDict(extra="forbid")

    user: dict[str, Any]
    k: StrictInt = Field(10, ge=1, le=MOST_ASKED)
    exclude: list[StrictInt | StrictStr] = []


@app.exception_handler(FeatureError)
async def refuse_feature(_: Request, error: FeatureError) -> JSONResponse:
    """422 that names the field of the artefact's schema."""
    return _refusal([(["body", *error.field.split(".")], error.message)])


@app.exception_handler(RequestValidationError)
async def refuse_body(_: Request, error: RequestValidationError) -> JSONResponse:
    """422 that names the field of `Question`; what was sent is not repeated, since it may be no JSON."""
    return _refusal([(list(each["loc"]), each["msg"]) for each in error.errors()])


def _refusal(complaints: list[tuple[list[Any], str]]) -> JSONResponse:
    return JSONResponse({"detail": [{"loc": loc, "msg": message} for loc, message in complaints]}, 422)


def own_metrics(exported: str) -> str:
    """Samples of OWN_METRICS and the comments about them, of a text in Prometheus's format."""
    lines = exported.splitlines(keepends=True)
    return "".join(
        line for line in lines if line.removeprefix("# HELP ").removeprefix("# TYPE ").startswith(OWN_METRICS)
    )


@serve.ingress(app)  # copies the app, with what is defined above this line
class RecommendationServer:
    """Holds an artefact and answers for it.

    Args:
        folder: Of the artefact.
        metrics_port: Of this machine, where Ray exports what all replicas count.
    """

    def __init__(self, folder: str, metrics_port: int) -> None:
        self._recommender = Recommender(folder)
        self._metrics_port = metrics_port
        self._batch_sizes = Histogram(
            "rec_rl_batch_size", "Questions answered together", boundaries=[1, 2, 4, 8, 16, MAX_BATCH]
        )
        self._batch_seconds = Histogram(
            "rec_rl_batch_seconds",
            "Time in the model for a batch",
            boundaries=[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5],
        )

    @app.get("/health")
    async def health(self) -> dict[str, Any]:
        """That this replica is up, and what it serves."""
        description = self._recommender.artefact.description
        return {"status": "ok", "what": description["what"], "pid": os.getpid()}

    @app.get("/metrics")
    def metrics(self) -> PlainTextResponse:
        """What all replicas count, in Prometheus's text format."""
        exporter = HTTPConnection(HOST, self._metrics_port, timeout=5)
        exporter.request("GET", "/metrics")
        exported = exporter.getresponse().read().decode()
        exporter.close()
        return PlainTextResponse(own_metrics(exported))

    @app.post("/recommend")
    async def recommend(self, question: Question) -> dict[str, Any]:
        """The best items for a user."""
        query = self._recommender.query(question.user, question.k, exclude=question.exclude)
        found = await self._answer(query)
        return {"items": [item._asdict() for item in found]}

    @serve.batch(  # type: ignore[untyped-decorator]
        max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_WAIT_SECONDS
    )
    async def _answer(self, queries: list[Query]) -> list[list[Recommendation]]:
        started = time.perf_counter()
        answers = self._recommender.recommend_many(queries)
        self._batch_sizes.observe(len(queries))
        self._batch_seconds.observe(time.perf_counter() - started)
        return answers

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from rec_rl.data.labels import load_answers
from rec_rl.errors import ConfigError
from rec_rl.labelling.desk import DeskConfig, open_desk
from rec_rl.labelling.server import Doorkeeper, bind, label_app

HOST = "http://127.0.0.1"


@pytest.fixture
def doorkeeper() -> Doorkeeper:
    return Doorkeeper(["ann", "ben"])


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return tmp_path / "labels.db"


@pytest.fixture
def client(converted: Path, labels: Path, doorkeeper: Doorkeeper) -> Iterator[TestClient]:
    desk = open_desk(converted, labels, DeskConfig(num_pairs=20), seed=0)
    with TestClient(label_app(desk, doorkeeper, port=80), base_url=HOST) as client:
        yield client


def enter(client: TestClient, doorkeeper: Doorkeeper, name: str) -> None:
    assert client.get("/", params={"token": doorkeeper.tokens()[name]}).status_code == 200


def test_a_link_opens_once_and_leaves_no_token_in_the_address(client: TestClient, doorkeeper: Doorkeeper):
    token = doorkeeper.tokens()["ann"]
    first = client.get("/", params={"token": token}, follow_redirects=False)
    assert (first.status_code, first.headers["location"]) == (303, "/")
    assert "HttpOnly" in first.headers["set-cookie"]
    assert "SameSite=strict" in first.headers["set-cookie"]
    assert client.get("/").status_code == 200
    assert client.get("/api/page").json()["annotator"] == "ann"
    client.cookies.clear()
    assert client.get("/", params={"token": token}).status_code == 403
    assert client.get("/").status_code == 403


@pytest.mark.parametrize("token", [None, "", "wrong", "x" * 10_000])
def test_who_has_no_link_sees_and_changes_nothing(client: TestClient, labels: Path, token: str | None):
    params = {} if token is None else {"token": token}
    assert client.get("/", params=params).status_code == 403
    client.cookies.set("rec_rl_label_80", token or "none")
    body = {"place": 0, "choice": "left", "seconds": 1}
    assert client.get("/api/page").status_code == 403
    assert client.get("/api/findings").status_code == 403
    assert client.post("/api/answer", json=body).status_code == 403
    assert client.post("/api/undo", json={}).status_code == 403
    assert load_answers(labels)[1] == []


def test_an_answer_is_on_the_disk_when_the_page_moves_on(
    client: TestClient, doorkeeper: Doorkeeper, labels: Path
):
    enter(client, doorkeeper, "ben")
    page = client.post("/api/answer", json={"place": 0, "choice": "equal", "seconds": 2.5}).json()
    assert page["done"] == 1
    (answer,) = load_answers(labels)[1]
    assert (answer.annotator, answer.choice, answer.seconds) == ("ben", "equal", 2.5)
    assert client.post("/api/undo", json={}).json()["done"] == 0
    assert load_answers(labels)[1] == []


def test_the_page_does_not_tell_a_repeat_from_a_new_pair(client: TestClient, doorkeeper: Doorkeeper):
    enter(client, doorkeeper, "ann")
    for place in range(9):
        page = client.post("/api/answer", json={"place": place, "choice": "left", "seconds": 1}).json()
    assert page["place"] == 9  # the first repeat
    assert set(page) == {
        "annotator",
        "done",
        "total",
        "per_minute",
        "can_undo",
        "place",
        "question",
    }
    assert set(page["question"]) == {"left", "right"}
    assert page["per_minute"] == 60


@pytest.mark.parametrize(
    "body",
    [
        {"place": 0, "choice": "both", "seconds": 1},
        {"place": -1, "choice": "left", "seconds": 1},
        {"place": 0, "choice": "left", "seconds": -1},
        {"place": 0, "choice": "left"},
    ],
)
def test_bad_answers_are_refused(client: TestClient, doorkeeper: Doorkeeper, body: dict[str, object]):
    enter(client, doorkeeper, "ann")
    assert client.post("/api/answer", json=body).status_code == 422
    later = client.post("/api/answer", json={"place": 7, "choice": "left", "seconds": 1})
    assert later.status_code == 409
    assert "place must be 0" in later.json()["detail"]


def test_other_host_names_and_framing_are_refused(client: TestClient, doorkeeper: Doorkeeper):
    enter(client, doorkeeper, "ann")
    assert client.get("/api/page", headers={"host": "evil.example"}).status_code == 400
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    for name in ("page.css", "page.js"):
        assert client.get(f"/{name}").status_code == 200


def test_a_port_in_use_is_named():
    taken = bind(0)
    taken.listen()
    port = taken.getsockname()[1]
    with pytest.raises(ConfigError, match=f"port {port} cannot be used"):
        bind(port)
    taken.close()
    with pytest.raises(ConfigError, match="port 99999 cannot be used"):
        bind(99999)

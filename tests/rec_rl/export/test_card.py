from typing import Any

import pytest
import torch

from rec_rl.export.card import model_card
from rec_rl.export.contents import Contents
from rec_rl.export.graphs import GraphSpec


@pytest.fixture
def contents() -> Contents:
    return Contents(
        kind="policy",
        what="test policy",
        graphs={
            "policy": GraphSpec(
                network=torch.nn.Identity(), function=torch.nn.Identity(), inputs={}, output=""
            )
        },
        features={
            "state": {"type": "vector of numbers", "size": 3, "required": True, "meaning": "all of it"}
        },
        normalisation="none",
        unknown_ids="there are none",
        intended_use=("Testing.",),
        limits=("Serves nobody.",),
    )


def description(items: dict[str, Any] | None) -> dict[str, Any]:
    graph = {
        "file": "policy.onnx",
        "inputs": {"states": {"shape": ["rows", 3], "type": "float32"}},
        "output": "actions [rows, 2]",
        "parity": {"rows": 1000, "largest_error": 2.5e-7, "bound": 1e-5},
    }
    return {"graphs": {"policy": graph}, "items": items, "source": {"run": "first", "rec_rl": "0.1.0"}}


def test_the_card_says_what_was_measured_and_what_was_missed(contents: Contents):
    record = {
        "command": "rec-rl train il",
        "data_hash": "abc123",
        "seeds": [0, 1],
        "commit": None,
        "versions": {"python": "3.11", "torch": "2.13"},
        "metrics": {
            "ncis_depth": {"value": 1.23456, "low": 1.1, "high": 1.4, "n": 300, "verdict": "CAUTION: few"},
            "depth": {"value": 0.9, "n": 1},
        },
        "missed": [{"bar": "depth >= 1", "value": 0.9, "reason": "measured so"}],
        "notes": ["One world."],
    }
    items = {"count": 12000, "metric": "euclidean", "graph": False}
    lines = model_card(contents, description(items), record).splitlines()
    for line in (
        "# Test policy",
        "| data hash | `abc123` |",
        "| seeds | 0, 1 |",
        "| ncis_depth | 1.235 | 1.1 to 1.4 | 300 | CAUTION: few |",
        "| depth | 0.9 | none | 1 | - |",
        "- Serves nobody.",
        "- Missed: depth >= 1, got 0.9 (measured so).",
        "- One world.",
        "| state | vector of numbers 3 | yes | all of it |",
        "| policy.onnx | states float32 [rows, 3] | actions [rows, 2] | 1,000 | 2.5e-07 |",
        "12,000; an action finds the nearest, exactly.",
    ):
        assert line in lines


def test_a_card_without_a_record_claims_nothing(contents: Contents):
    card = model_card(contents, description(None), None)
    assert "Nothing: the run left no metric, so nothing is claimed." in card
    assert "None: the graphs answer for themselves" in card

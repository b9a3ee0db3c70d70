"""cluster.yaml against what Ray's autoscaler takes."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

CLUSTER = Path(__file__).parents[1] / "cluster.yaml"


@pytest.fixture
def cluster() -> dict[str, Any]:
    return yaml.safe_load(CLUSTER.read_text())


def test_cluster_yaml_passes_rays_own_schema(cluster: dict[str, Any]):
    prepared = prepare_config(cluster)
    validate_config(prepared)
    assert prepared["setup_commands"] == []  # not the default's nightly wheel of another Ray
    with pytest.raises(ValidationError):
        validate_config(prepared | {"max_worker": 3})


def test_the_head_works_for_no_one_and_the_gpu_is_the_learners(cluster: dict[str, Any]):
    types = cluster["available_node_types"]
    assert types[cluster["head_node_type"]]["resources"] == {"CPU": 0}
    assert {name for name, kind in types.items() if "GPU" in kind["resources"]} == {"learner"}
    assert types["env_runner"]["min_workers"] == 0
    assert sum(kind.get("max_workers", 0) for kind in types.values()) == cluster["max_workers"]


def test_the_job_server_is_not_open_to_the_network(cluster: dict[str, Any]):
    starting = " ".join(cluster["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in starting
    assert "-e RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]

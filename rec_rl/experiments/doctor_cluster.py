"""Whether a cluster answers, and whether its nodes run the versions of this machine."""

import json
import platform
from collections.abc import Iterator, Mapping
from typing import Any

from rec_rl.errors import RecRLError
from rec_rl.experiments.doctor import OK, PROBLEM, Check, installed_versions
from rec_rl.experiments.jobs import run_on_cluster

CENSUS = """
import json, platform, ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On
ray.init(log_to_driver=False, logging_level="ERROR")
@ray.remote(num_cpus=0)
def look():
    import importlib.metadata as m
    found = {"python": platform.python_version()}
    for name in ("ray", "torch", "numpy", "gymnasium"):
        try:
            found[name] = m.version(name)
        except m.PackageNotFoundError:
            found[name] = None
    return found
alive = [n for n in ray.nodes() if n["Alive"]]
looks = [look.options(scheduling_strategy=On(n["NodeID"], soft=False)).remote() for n in alive]
names = [n["NodeManagerAddress"] + "/" + n["NodeID"][:6] for n in alive]
print("CENSUS", json.dumps(dict(zip(names, ray.get(looks)))))
"""


def check_cluster(address: str) -> Iterator[Check]:
    """Whether the cluster answers, and whether every node's versions are this machine's."""
    try:
        output = run_on_cluster(address, ["python", "-c", CENSUS])
        line = next(line for line in output.splitlines() if line.startswith("CENSUS "))
    except RecRLError as error:
        yield Check(
            name="cluster", state=PROBLEM, found=str(error), remedy="mend the address or the token first"
        )
        return
    except StopIteration:
        yield Check(
            name="cluster",
            state=PROBLEM,
            found="its nodes did not answer",
            remedy="ray status on the head says why",
        )
        return
    yield Check(name="cluster", state=OK, found=f"answers at {address}")
    here = {"python": platform.python_version(), **installed_versions()}
    yield from compare_nodes(json.loads(line.removeprefix("CENSUS ")), here)


def compare_nodes(nodes: Mapping[str, Mapping[str, Any]], here: Mapping[str, Any]) -> Iterator[Check]:
    """One check per node: its versions against this machine's."""
    for node, versions in nodes.items():
        other = {
            name: f"{version or 'missing'} there, {here[name]} here"
            for name, version in versions.items()
            if (version or "").split("+")[0] != (here[name] or "").split("+")[0]
        }
        yield Check(
            name=f"node {node}",
            state=PROBLEM if other else OK,
            found="; ".join(f"{name} {text}" for name, text in other.items()) or "same versions as here",
            remedy="rebuild the cluster's image from constraints.txt, or submit with --pip" if other else "",
        )

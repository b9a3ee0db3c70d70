"""Holds the layout: which package may import which, and what the distribution contains."""

import ast
import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).parents[1]

# Imports point down only. envs may use data alone; algorithms and everything above may start Ray objects.
LAYERS = {
    "rec_rl.errors": 0,
    "rec_rl.runtime": 0,
    "rec_rl.checkpoint": 0,
    "rec_rl.progress": 0,
    "rec_rl.losses": 1,
    "rec_rl.data": 2,
    "envs": 3,
    "rec_rl.models": 4,
    "rec_rl.retrieval": 4,
    "rec_rl.rewards": 5,
    "rec_rl.algorithms": 6,
    "rec_rl.evaluation": 7,
    "rec_rl.labelling": 8,
    "tuning": 8,
    "rec_rl.experiments": 9,
    "rec_rl.report": 9,
    "rec_rl.export": 9,
    "rec_rl.serving": 9,
    "rec_rl.commands": 10,
    "rec_rl.cli": 10,
}
MAY_IMPORT_RAY = {"rec_rl.algorithms", "tuning", "rec_rl.experiments", "rec_rl.serving"}
FILES = [p for folder in ("rec_rl", "envs", "tuning") for p in sorted((ROOT / folder).rglob("*.py"))]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str | None:
    return next((name for name in LAYERS if module == name or module.startswith(name + ".")), None)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_point_down_only(path: Path):
    name = module_name(path)
    if name == "rec_rl":
        return
    layer = layer_of(name)
    assert layer is not None, f"{name} belongs to no layer"
    for module in imports(path):
        other = layer_of(module)
        if other is None or other == layer:
            continue
        assert LAYERS[other] <= LAYERS[layer], f"{name} imports {module}, which is above it"
        if layer == "envs":
            assert LAYERS[other] <= LAYERS["rec_rl.data"], f"{name} imports {module}; envs may use data alone"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_ray_stays_in_its_layers(path: Path):
    uses_ray = any(module.split(".")[0] == "ray" for module in imports(path))
    assert not uses_ray or layer_of(module_name(path)) in MAY_IMPORT_RAY


def test_one_place_starts_ray():
    calls = {
        p: [n.func for n in ast.walk(ast.parse(p.read_text())) if isinstance(n, ast.Call)] for p in FILES
    }
    starting = [module_name(p) for p, found in calls.items() if "ray.init" in map(ast.unparse, found)]
    assert starting == ["rec_rl.experiments.runner"]


def test_the_distribution_holds_every_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    include = settings["tool"]["setuptools"]["packages"]["find"]["include"]
    packaged = set(find_packages(str(ROOT), include=include))
    folders = {p.parent for p in FILES}
    assert packaged == {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert settings["project"]["scripts"] == {"rec-rl": "rec_rl.cli:main"}


def test_pins_are_exact_and_cover_every_dependency():
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and line[0] != "#"
    )
    assert pins["torch"] == "2.13.0"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(d for extra in project["optional-dependencies"].values() for d in extra),
    ]
    for requirement in wanted:
        name = requirement.split("[")[0].split("=")[0].split(">")[0].strip()
        assert name.replace("_", "-") in {p.replace("_", "-").lower() for p in pins}, f"{name} is not pinned"

"""The pages of docs/, as they are printed: commands exist, links lead somewhere, blocks run in their order.

A fence of sh or python is run and must end well; one of diff is applied to the sources. Fences marked not-run
hold what takes long or needs data that a checkout lacks, fences without a language anything else. What is
indented by four spaces on a page that runs quotes what its blocks printed.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from rec_rl.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
FENCE = re.compile(r"^```(\w*)(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
QUOTATION = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")
SOURCES = ("rec_rl", "envs", "tuning", "tests", "docs", "pyproject.toml")
RUNNERS = {
    "sh": ["sh", "-e"],
    "python": [sys.executable, "-"],
    "diff": ["patch", "-p1", "--fuzz=0", "--no-backup-if-mismatch"],
}


def blocks_that_run(page: Path) -> list[tuple[str, str]]:
    """Language and text of the fences that are run."""
    fences = FENCE.findall(page.read_text())
    return [(language, text) for language, mark, text in fences if language in RUNNERS and not mark]


def commands_in(page: Path) -> list[list[str]]:
    """The words of every rec-rl command in the page's fences."""
    found = []
    for _, _, text in FENCE.findall(page.read_text()):
        for line in text.replace("\\\n", " ").splitlines():
            if "rec-rl" not in line or line.startswith(("+", "-", " ")):
                continue
            shell = shlex.shlex(re.sub(r"\$\w+", "1", line), posix=True, punctuation_chars=True)
            shell.whitespace_split = True
            for between, words in groupby(shell, key=lambda word: set(word) <= set(";&|<>()")):
                called = list(words)
                if not between and "rec-rl" in called:
                    found.append(called[called.index("rec-rl") + 1 :])
    return found


def parse(command: Any, words: list[str]) -> None:
    """Reads a command line without running anything; raises what the command line would say."""
    context = command.make_context(command.name, list(words))
    if hasattr(command, "resolve_command"):
        _, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        parse(inner, rest)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the sources in which a page's commands find what they name and leave what they make."""
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    for name, called in (("rec-rl", "-m rec_rl.cli"), ("python", "")):
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {called} "$@"\n')
        command.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_is_one_that_there_is(page: Path):
    for words in commands_in(page):
        parse(get_command(app), words)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.stem)
def test_every_link_leads_to_a_file(page: Path):
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", list(filter(blocks_that_run, PAGES)), ids=lambda page: page.stem)
def test_every_block_runs_and_prints_what_is_quoted(page: Path, checkout: Path):
    path = f"{checkout / 'bin'}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    told: list[str] = []
    for language, text in blocks_that_run(page):
        done = subprocess.run(
            RUNNERS[language],
            input=text,
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        told.append(done.stdout)
    printed = " ".join(" ".join(told).split())
    for quotation in QUOTATION.findall(FENCE.sub("", page.read_text())):
        assert " ".join(quotation.split()) in printed
    if page.stem == "your-own-logs":
        assert re.fullmatch(r"(sku-\d{3}  .+  -?\d+\.\d\d\n){5}", told[-1])


def test_example_log_is_what_its_script_makes(tmp_path: Path):
    examples = ROOT / "docs" / "examples"
    script = tmp_path / "make_shop_log.py"
    script.write_text((examples / "make_shop_log.py").read_text())
    subprocess.run([sys.executable, script], check=True)
    made = (tmp_path / "shop.csv").read_bytes()
    assert made == (examples / "shop.csv").read_bytes()
    assert len(made) < 2_000_000

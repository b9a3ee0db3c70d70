"""The guided path of docs/your-own-logs.md, block by block as it is printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "your-own-logs.md"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUOTATION = re.compile(r"(?:^    .*\n)+", re.MULTILINE)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder in which the page's commands find what they name and leave what they make."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    command = tmp_path / "bin" / "rec-rl"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rec_rl.cli "$@"\n')
    command.chmod(0o755)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_block_runs_and_the_last_recommends(checkout: Path):
    path = f"{checkout / 'bin'}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) >= 7
    told: list[str] = []
    for language, text in blocks:
        runner = ["sh", "-e"] if language == "sh" else [sys.executable, "-"]
        done = subprocess.run(
            runner, input=text, cwd=checkout, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        told.append(done.stdout)
    printed = " ".join(" ".join(told).split())
    for quotation in QUOTATION.findall(BLOCK.sub("", PAGE.read_text())):
        assert " ".join(quotation.split()) in printed
    assert re.fullmatch(r"(sku-\d{3}  .+  -?\d+\.\d\d\n){5}", told[-1])


def test_example_log_is_what_its_script_makes(tmp_path: Path):
    examples = ROOT / "docs" / "examples"
    script = tmp_path / "make_shop_log.py"
    script.write_text((examples / "make_shop_log.py").read_text())
    subprocess.run([sys.executable, script], check=True)
    made = (tmp_path / "shop.csv").read_bytes()
    assert made == (examples / "shop.csv").read_bytes()
    assert len(made) < 2_000_000

"""The three network files of Virtual Taobao: what they hold, how they are fetched, how they are checked."""

import http.client
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlparse

from rec_rl.errors import DatasetError

CITATION = (
    "Shi, Yu, Da, Chen, Zeng: Virtual-Taobao: Virtualizing Real-World Online Retail Environment for "
    "Reinforcement Learning. AAAI 2019 (arXiv 1805.10000)."
)
DEFAULT_SOURCE = "https://raw.githubusercontent.com/eyounx/VirtualTaobao/ff4f1cc/virtualTB/data"
DEFAULT_TARGET = Path("data/virtual_taobao")

SHA256 = {
    "generator_model.pt": "15f4f5b05df3de81016cde4b29379d24cf8b4fcb076d78055b06984137a983ac",
    "leave_model.pt": "022d7f88e180899bd8fe6b26b82b6ccca8bbb82d253b30ebac372534e8a2df12",
    "action_model.pt": "eceebf80181735459eec841cb1f73fa1a3f5f2796f68f4f8366a36d5e8da7be8",
}

# What the networks read and write.
USER_GROUPS = (8, 8, 11, 11, 11, 11, 2, 2, 3, 18, 3)  # one category of each group is set in a user
USER_DIM = sum(USER_GROUPS)
ACTION_DIM = 27
LATENT_DIM = 128
MAX_CLICKS = 10
NUM_NEXT_PAGES = 10
MAX_LENGTH = 100

CHUNK_BYTES = 1 << 16
TIMEOUT_SECONDS = 30.0

# Called with the file's name, the bytes received so far and the file's size (None where unknown).
OnProgress = Callable[[str, int, int | None], None]


def read_verified(folder: Path, name: str) -> bytes:
    """Reads one of the three files and checks that it is the published one.

    Raises:
        DatasetError: If the file is missing, or its SHA-256 is not the published one.
    """
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = "`rec-rl data download virtual-taobao` fetches it"
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); {hint}") from error
    received = sha256(content).hexdigest()
    if received != SHA256[name]:
        raise DatasetError(f"{path}: expected SHA-256 {SHA256[name]}, got {received}")
    return content


def download(
    source: str | Path | None = None,
    target: Path = DEFAULT_TARGET,
    *,
    on_progress: OnProgress | None = None,
) -> Path:
    """Fetches the three files, checks them and puts them into ``target``.

    They are collected and checked in a temporary folder beside the target. A target that did not exist
    appears whole or not at all; in one that did, each file is replaced whole.

    Args:
        source: A base URL, a folder, or None for the authors' public repository.
        target: The folder to fill.
        on_progress: Told of every chunk that arrives.

    Returns:
        ``target``.

    Raises:
        DatasetError: If a file cannot be had or is not the published one.
    """
    base = DEFAULT_SOURCE if source is None else str(source)
    fetch = _fetch_url if urlparse(base).scheme in ("http", "https") else _copy_file
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for name in SHA256:
            fetch(f"{base.rstrip('/')}/{name}", staging / name, on_progress)
            _check_arrival(staging, name, base)
        _move_into_place(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _check_arrival(staging: Path, name: str, base: str) -> None:
    received = sha256((staging / name).read_bytes()).hexdigest()
    if received != SHA256[name]:
        raise DatasetError(f"{base}/{name}: expected SHA-256 {SHA256[name]}, got {received}")


def _move_into_place(staging: Path, target: Path) -> None:
    if target.is_dir():
        for name in SHA256:
            os.replace(staging / name, target / name)
    else:
        staging.chmod(0o755)  # mkdtemp's folders are private
        os.replace(staging, target)


def _copy_file(source: str, path: Path, on_progress: OnProgress | None) -> None:
    try:
        shutil.copyfile(source, path)
    except OSError as error:
        raise DatasetError(f"{source}: cannot be copied ({error.strerror})") from error
    if on_progress is not None:
        size = path.stat().st_size
        on_progress(path.name, size, size)


def _fetch_url(url: str, path: Path, on_progress: OnProgress | None) -> None:
    received, total = 0, None
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, path.open("wb") as file:
            total = response.length
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                received += len(chunk)
                if on_progress is not None:
                    on_progress(path.name, received, total)
    except (OSError, http.client.HTTPException) as error:
        raise DatasetError(f"{url}: cannot be fetched ({error})") from error
    if total is not None and received < total:
        raise DatasetError(f"{url}: the connection closed after {received} of {total} bytes")

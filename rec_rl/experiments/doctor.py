"""Whether a run would work here, and on a cluster: each problem with its remedy."""

import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rec_rl.experiments.jobs import token_path

OK, WARNING, PROBLEM = "ok", "warning", "problem"

PACKAGES = ("ray", "torch", "gymnasium", "numpy", "pandas", "pyarrow", "scipy", "scikit-learn", "safetensors")
PORTS = {6379: "Ray's head", 8265: "the job server and dashboard"}
FEWEST_CORES = 2
LEAST_MEMORY = 3 * 2**30
"""The driver takes 0.5 GB, Ray's own processes 0.6 GB, each trial or runner 0.5 GB."""
LEAST_SHARED_MEMORY = 1 * 2**30
LEAST_DISK = 1 * 2**30
FULLEST_DISK = 0.95
"""Ray creates no object on a disk that is fuller."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        state: "ok", "warning" or "problem"; a run fails on a problem.
        found: What is the case.
        remedy: What to do about it; empty where nothing is wrong.
    """

    name: str
    state: str
    found: str
    remedy: str = ""


def examine(runs: Path, *, needs_token: bool = False) -> list[Check]:
    """Every check of this machine; a token is needed to talk to a cluster."""
    return [
        check_python(platform.python_version()),
        *check_versions(installed_versions(), pinned_versions()),
        check_torch(),
        check_cores(len(os.sched_getaffinity(0))),
        check_memory(available_memory()),
        check_shared_memory(Path("/dev/shm")),
        check_disk("free disk (Ray)", Path(tempfile.gettempdir())),
        check_disk("free disk (runs)", runs),
        check_writable(runs),
        check_loopback(),
        *(check_port(port, use) for port, use in PORTS.items()),
        check_token(os.environ, token_path(), needed=needs_token),
    ]


def pinned_versions() -> dict[str, str]:
    """The exact versions this code was tested with; empty outside a checkout."""
    path = Path(__file__).parents[2] / "constraints.txt"
    lines = path.read_text().splitlines() if path.is_file() else []
    pairs = (line.split("==") for line in lines if "==" in line)
    pins = {name.lower(): version for name, version in pairs}
    return {name: pins[name] for name in PACKAGES if name in pins}


def installed_versions() -> dict[str, str | None]:
    """What is installed of the packages that numbers depend on; None where one is missing."""
    return {name: _installed(name) for name in PACKAGES}


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_python(version: str) -> Check:
    """Python 3.11, as pyproject.toml asks for."""
    good = version.startswith("3.11.")
    return Check(
        name="python",
        state=OK if good else PROBLEM,
        found=version,
        remedy="" if good else "make a virtual environment with Python 3.11: make install",
    )


def check_versions(installed: Mapping[str, str | None], pinned: Mapping[str, str]) -> Iterator[Check]:
    """Installed packages against the pins; local parts of a version (+cpu, +cu128) count for nothing."""
    for name, version in installed.items():
        pin = pinned.get(name)
        if version is None:
            yield Check(name=name, state=PROBLEM, found="missing", remedy="make install")
        elif pin is not None and version.split("+")[0] != pin:
            # RLlib's and gymnasium's interfaces move between releases
            state = PROBLEM if name in ("ray", "gymnasium") else WARNING
            yield Check(
                name=name,
                state=state,
                found=f"{version}, pinned {pin}",
                remedy=f"pip install -c constraints.txt {name}=={pin}",
            )
        else:
            yield Check(name=name, state=OK, found=version if pin else f"{version} (no pins to compare with)")


def check_torch() -> Check:
    """Whether torch starts, and sees the GPU if there is one."""
    try:
        import torch
    except Exception as error:  # a broken binary raises anything
        return Check(name="torch starts", state=PROBLEM, found=str(error)[:120], remedy="make install")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Check(name="torch starts", state=OK, found=f"CUDA {torch.version.cuda}: {', '.join(names)}")
    if shutil.which("nvidia-smi"):
        return Check(
            name="torch starts",
            state=WARNING,
            found="there is a GPU here that torch cannot use",
            remedy="install torch's CUDA build: pip install torch --index-url https://download.pytorch.org/whl/cu128",
        )
    return Check(name="torch starts", state=OK, found="on the CPU; no GPU here")


def check_cores(cores: int) -> Check:
    """Cores that this process may use."""
    enough = cores >= FEWEST_CORES
    remedy = "" if enough else "train with --num-env-runners 0 --num-learners 0"
    return Check(name="cores", state=OK if enough else WARNING, found=str(cores), remedy=remedy)


def available_memory() -> int:
    """Bytes that can be had without swapping, within the container's limit."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and limit.read_text().strip() != "max":
        available = min(available, int(limit.read_text()) - int(used.read_text()))
    return available


def check_memory(available: int) -> Check:
    """Memory for a driver, Ray's processes and one trial."""
    enough = available >= LEAST_MEMORY
    return Check(
        name="memory",
        state=OK if enough else PROBLEM,
        found=f"{gigabytes(available)} available",
        remedy="" if enough else f"free at least {gigabytes(LEAST_MEMORY)}, or use a larger machine",
    )


def check_shared_memory(folder: Path) -> Check:
    """Room for Ray's object store."""
    if not folder.is_dir():
        return Check(
            name="shared memory",
            state=WARNING,
            found=f"no {folder}",
            remedy="Ray falls back to the disk, which is slow",
        )
    free = shutil.disk_usage(folder).free
    enough = free >= LEAST_SHARED_MEMORY
    return Check(
        name="shared memory",
        state=OK if enough else WARNING,
        found=f"{gigabytes(free)} free",
        remedy="" if enough else "in Docker: --shm-size=2g; until then Ray's object store is on the disk",
    )


def check_disk(name: str, folder: Path) -> Check:
    """Free disk under ``folder`` or the nearest folder above it that exists."""
    while not folder.exists():
        folder = folder.absolute().parent
    usage = shutil.disk_usage(folder)
    share = 1 - usage.free / usage.total
    found = f"{gigabytes(usage.free)} free at {folder}, {share:.0%} used"
    if usage.free < LEAST_DISK or share > FULLEST_DISK:
        remedy = f"free {gigabytes(LEAST_DISK)} and come below {FULLEST_DISK:.0%}; Ray stops storing above it"
        return Check(name=name, state=PROBLEM, found=found, remedy=remedy)
    return Check(name=name, state=OK, found=found)


def check_writable(folder: Path) -> Check:
    """Whether runs can be written."""
    target = folder.absolute()
    while not target.exists():
        target = target.parent
    try:
        with tempfile.NamedTemporaryFile(dir=target):
            return Check(name="runs", state=OK, found=f"{target} can be written")
    except OSError as error:
        return Check(
            name="runs",
            state=PROBLEM,
            found=f"{target} cannot be written: {error.strerror}",
            remedy="give --runs a folder that can be",
        )


def check_loopback() -> Check:
    """Whether a server can listen on 127.0.0.1, as a run's own Ray does, and what listens elsewhere."""
    try:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
        found = "runs listen on 127.0.0.1; with --num-learners also on one port of every interface"
        return Check(name="loopback", state=OK, found=found)
    except OSError as error:
        return Check(
            name="loopback",
            state=PROBLEM,
            found=f"127.0.0.1: {error.strerror}",
            remedy="Ray needs the loopback interface: allow it in this sandbox or container",
        )


def check_port(port: int, use: str) -> Check:
    """Whether one of the ports of ``ray start --head`` is free; runs that start their own Ray need none."""
    name = f"port {port}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return Check(
                name=name,
                state=WARNING,
                found=f"in use ({use})",
                remedy="a cluster runs here already; for a second one: ray start --head --port=...",
            )
    return Check(name=name, state=OK, found=f"free ({use})")


def check_token(environment: Mapping[str, str], path: Path, *, needed: bool) -> Check:
    """Whether the token of a cluster lies ready; a Ray of one's own makes its token itself."""
    mode = environment.get("RAY_AUTH_MODE", "")
    if environment.get("RAY_AUTH_TOKEN"):
        return Check(name="token", state=OK, found="in RAY_AUTH_TOKEN")
    if path.is_file():
        if path.stat().st_mode & 0o077:
            return Check(
                name="token", state=WARNING, found=f"{path} is readable by others", remedy=f"chmod 600 {path}"
            )
        return Check(name="token", state=OK, found=str(path))
    if mode.lower() == "disabled" or not needed:
        return Check(name="token", state=OK, found="none, and none needed here")
    return Check(
        name="token",
        state=PROBLEM,
        found=f"no {path}, and RAY_AUTH_TOKEN is not set",
        remedy="copy the cluster's token there: ray get-auth-token on its head",
    )


def gigabytes(size: float) -> str:
    """Bytes in words."""
    return f"{size / 2**30:.1f} GB"

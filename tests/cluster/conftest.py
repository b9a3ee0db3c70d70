import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rec_rl.experiments.soak import descendants

LISTENING = "0A"
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same as an address of IPv6, and ::1, as /proc/net writes them."""

Ports = tuple[list[int], list[int]]


@pytest.fixture
def ports() -> Callable[[int], Ports]:
    """Ports on which a process and those below it listen: on the loopback, and on other addresses."""

    def look(pid: int) -> Ports:
        sockets = set()
        for process in (pid, *descendants(pid)):
            for descriptor in Path("/proc").glob(f"{process}/fd/*"):
                try:
                    sockets.add(os.readlink(descriptor))
                except OSError:  # closed by now
                    continue
        found: Ports = ([], [])
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                row = line.split()
                host, port = row[1].split(":")
                if row[3] == LISTENING and f"socket:[{row[9]}]" in sockets:
                    found[host not in LOOPBACK].append(int(port, 16))
        return found

    return look

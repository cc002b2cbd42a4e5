"""What processes use, as the kernel counts it."""

from __future__ import annotations

import os
import time
from pathlib import Path


def below(process: int) -> list[int]:
    """A process and all that it started, and they."""
    found, waiting = [], [process]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                waiting += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        except (OSError, ValueError):
            continue
    return found


def threads(pid: int) -> int:
    """Threads of a process; 0 where there is none."""
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def memory(pid: int) -> int:
    """Resident memory less what is mapped from files, in bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(
        int(line.split()[1]) << 10 for line in lines if line.startswith(("RssAnon:", "RssShmem:", "HugetlbPages:"))
    )


def seconds(pid: int) -> float:
    """Seconds of the processor of a process, all its threads and the processes that it has outlived."""
    try:
        ended = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[13:15]
        return sum(map(int, ended)) / os.sysconf("SC_CLK_TCK") + time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0

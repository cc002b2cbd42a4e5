"""What a submission's process may see of the machine, and the command that shows it nothing else."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from harness import registry
from harness.isolation.policy import Isolation, Limits

_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/dev/full")
PROCESS = ("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys", "/sys/devices/system")


@lru_cache(maxsize=1)
def bubblewrap() -> str | None:
    """The path of a bubblewrap that works here; None where there is none, or the kernel forbids its namespaces."""
    found = shutil.which("bwrap") if sys.platform == "linux" else None
    if found is None:
        return None
    trial = [
        found,
        "--unshare-all",
        "--unshare-user",
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "true",
    ]
    try:
        return found if subprocess.run(trial, capture_output=True, timeout=20, check=False).returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired):
        return None


def best() -> str:
    """The strongest mode that works here."""
    return "bubblewrap" if bubblewrap() else "process"


def readable(isolation: Isolation) -> list[str]:
    """What of the file system a submission may read: interpreter, libraries, the five packages, its own files.

    Not the packages that it requires: they lie in the run folder, which is hidden from it.
    """
    root = registry.root()
    ours = [str(root / name) for name in ("harness", "attacks", "defenses", "geometry", "leaderboard")]
    interpreter = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()]
    paths = [*_SYSTEM, *interpreter, *ours, *isolation.files]
    found = [str(Path(path)) for path in dict.fromkeys(paths) if path and Path(path).exists()]
    return [path for path in found if not any(path != other and Path(path).is_relative_to(other) for other in found)]


def hidden_places(paths: Sequence[str], closed: Sequence[str]) -> list[str]:
    """What lies below readable paths and may not be read: closed folders, and labels among the libraries and our own files.

    Scikit-learn's digits are one of our data sets; the reference results tell the class of every official input.
    """
    found = importlib.util.find_spec("sklearn")
    libraries = found.submodule_search_locations or [] if found else []
    references = str(registry.root() / "harness" / "reference")
    places = [*closed, references, *(os.path.join(place, "datasets", "data") for place in libraries)]
    real = [os.path.realpath(path) for path in paths]
    return [
        place
        for place in dict.fromkeys(os.path.realpath(place) for place in places if place)
        if os.path.isdir(place) and any(Path(place).is_relative_to(path) for path in real)
    ]


def carved(paths: Sequence[str], hidden: Sequence[str]) -> tuple[list[str], list[str]]:
    """Paths that allow all that these allow, without what is hidden: what lies beside it on the way down, one by one.

    And the folders on the way, whose files may not be read, but listed.
    """
    found, passed = set[str](), set[str]()
    real = {os.path.realpath(place) for place in hidden}
    waiting, seen = [os.path.realpath(path) for path in paths], set[str]()
    while waiting:
        path = waiting.pop()
        if path in real or path in seen:
            continue
        seen.add(path)
        if any(Path(place).is_relative_to(path) for place in real):
            passed.add(path)
            waiting += [os.path.realpath(inner) for inner in Path(path).iterdir()]
        else:
            found.add(path)
    return sorted(found), sorted(passed)


def wrapped(
    paths: Sequence[str], hidden: Sequence[str], given: Sequence[str], limits: Limits, device: str
) -> list[str]:
    """The command line of bubblewrap: no network, no other processes, only the paths to read, only /scratch to write."""
    command = [str(bubblewrap()), "--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534"]
    command += ["--cap-drop", "ALL", "--die-with-parent", "--new-session", "--hostname", "submission"]
    command += ["--size", str(int(limits.files * (1 << 20))), "--tmpfs", "/scratch", "--tmpfs", "/tmp"]
    for path in paths:
        command += ["--ro-bind", path, path] if not Path(path).is_symlink() else ["--symlink", os.readlink(path), path]
    for path in hidden:
        command += ["--tmpfs", path]
    for path in given:
        command += ["--ro-bind", path, path]
    command += ["--dev", "/dev", "--proc", "/proc", "--ro-bind-try", "/sys/devices/system", "/sys/devices/system"]
    if device.startswith("cuda"):
        for place in sorted(Path("/dev").glob("nvidia*")):
            command += ["--dev-bind-try", str(place), str(place)]
    return [*command, "--chdir", "/scratch", "--"]


def environment(scratch: str) -> dict[str, str]:
    """What a submission may know of the environment: nothing of the user's."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": scratch,
        "TMPDIR": scratch,
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "ignore",
    }

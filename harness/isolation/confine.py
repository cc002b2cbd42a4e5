"""What a process gives up before it runs a submission's code: done by itself, enforced by the kernel, for ever.

Limits (setrlimit), the file system (Landlock, Linux 5.13), system calls (seccomp-BPF, Linux 3.17); each where it is offered.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.isolation.policy import Limits

_GIB, _MIB = 1 << 30, 1 << 20
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # as audit names them


def limit(limits: Limits) -> None:
    """Memory of its own, processor time, size of a file, no core dumps; soft and hard."""
    wanted = {
        resource.RLIMIT_DATA: int(limits.memory * _GIB),
        resource.RLIMIT_CPU: int(limits.processor),
        resource.RLIMIT_FSIZE: int(limits.files * _MIB),
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 512,
    }
    for kind, most in wanted.items():
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def end_with_parent() -> None:
    """This process is killed when the one that made it ends."""
    libc().prctl(1, 9, 0, 0, 0)


def drop_capabilities() -> None:
    """Give up every capability of the superuser, for ever."""
    if sys.platform != "linux" or platform.machine() not in ARCHITECTURES:
        return
    system = libc()
    for capability in range(64):
        system.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
    header = ctypes.create_string_buffer(struct.pack("<Ii", 0x20080522, 0))
    nothing = ctypes.create_string_buffer(24)
    system.syscall(126 if platform.machine() == "x86_64" else 91, header, nothing)


def libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def no_new_privileges() -> None:
    """No program that it runs may gain what it lacks, and nobody reads its memory."""
    libc().prctl(38, 1, 0, 0, 0)
    libc().prctl(4, 0, 0, 0, 0)


_LANDLOCK = (444, 445, 446)  # create_ruleset, add_rule, restrict_self, on every architecture
_EXECUTE, _WRITE, _READ_FILE, _READ_FOLDER = 1, 2, 4, 8
_DEVICES = (1 << 6) | (1 << 11)  # make character and block devices
_FILES = 1 | 2 | 4 | (1 << 14)  # what applies to a file as well: execute, write, read, truncate
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # how many rights each version of the interface knows


def landlock_version() -> int:
    """The kernel's version of Landlock; 0 where it is not offered."""
    if sys.platform != "linux":
        return 0
    return max(0, int(libc().syscall(_LANDLOCK[0], None, ctypes.c_size_t(0), 1)))


def restrict_files(
    *, read: Iterable[str | Path], write: Iterable[str | Path], listed: Iterable[str | Path] = ()
) -> bool:
    """Only these paths, and what lies below them, can be opened from now on; False where Landlock is not offered.

    listed: folders whose names may be read, as those of all folders below them.
    """
    version = landlock_version()
    if not version:
        return False
    system = libc()
    handled = (1 << _RIGHTS.get(version, 15)) - 1
    network, scope = (3 if version >= 4 else 0), (3 if version >= 6 else 0)  # TCP; signals and abstract sockets
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    attributes = ctypes.create_string_buffer(struct.pack("<QQQ", handled, network, scope)[:size])
    rules = int(system.syscall(_LANDLOCK[0], attributes, ctypes.c_size_t(size), 0))
    if rules < 0:
        return False
    reading = _READ_FILE | _READ_FOLDER
    for paths, rights in ((read, reading), (write, handled & ~(_EXECUTE | _DEVICES)), (listed, _READ_FOLDER)):
        for path in paths:
            _allow(system, rules, str(path), rights)
    done = int(system.syscall(_LANDLOCK[2], rules, 0)) == 0
    os.close(rules)
    return done


def _allow(system: Any, rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there need not be allowed
    if not os.path.isdir(path):
        rights &= _FILES
    rule = ctypes.create_string_buffer(struct.pack("<Qi", rights, place))
    system.syscall(_LANDLOCK[1], rules, 1, rule, 0)
    os.close(place)

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
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from harness.isolation.policy import Limits

_GIB, _MIB = 1 << 30, 1 << 20

# Numbers of system calls: x86_64, aarch64 (None: there is none).
_CALLS: dict[str, tuple[int | None, int | None]] = {
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "kill": (62, 129),
    "tkill": (200, 130),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "sendmmsg": (307, 269),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "userfaultfd": (323, 282),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "io_uring_setup": (425, 425),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
    "reboot": (169, 142),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "memfd_create": (319, 279),
    "sendmsg": (46, 211),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
}
_CLONE, _CLONE3, _TGKILL = (56, 220), (435, 435), (234, 131)
_PRLIMIT, _FCNTL, _SENDTO = (302, 261), (72, 25), (44, 206)
_SIGNALLING = (8, 10, 15)  # commands of fcntl that send signals to others: F_SETOWN, F_SETSIG, F_SETOWN_EX
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE_THREAD = 0x00010000
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026


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


def _program(machine: str) -> bytes:
    """A filter in classic BPF: what is listed is refused, threads may be made and processes not, all else is allowed."""
    which = 0 if machine == "x86_64" else 1
    denied = [numbers[which] for numbers in _CALLS.values() if numbers[which] is not None]
    load, equal, greater, bits, give = 0x20, 0x15, 0x35, 0x45, 0x06
    steps: list[tuple[int, int, int, int]] = [
        (load, 0, 0, 4),  # the architecture
        (equal, 1, 0, _AUDIT[machine]),
        (give, 0, 0, 0x80000000),  # another one: kill
        (load, 0, 0, 0),  # the number of the call
    ]
    if machine == "x86_64":
        steps += [(greater, 0, 1, 0x40000000), (give, 0, 0, _EPERM)]  # the x32 calls
    for number in denied:
        steps += [(equal, 0, 1, number or 0), (give, 0, 0, _EPERM)]
    steps += [(equal, 0, 1, _CLONE3[which]), (give, 0, 0, _ENOSYS)]  # its flags lie in memory: libc takes clone then
    steps += [
        (equal, 0, 4, _CLONE[which]),
        (load, 0, 0, 16),  # the flags
        (bits, 1, 0, _CLONE_THREAD),
        (give, 0, 0, _EPERM),
        (give, 0, 0, _ALLOW),
    ]
    steps += [
        (equal, 0, 4, _TGKILL[which]),
        (load, 0, 0, 16),  # whom
        (equal, 1, 0, os.getpid()),
        (give, 0, 0, _EPERM),
        (give, 0, 0, _ALLOW),
    ]
    steps += [  # limits of another process
        (equal, 0, 4, _PRLIMIT[which]),
        (load, 0, 0, 16),
        (equal, 1, 0, 0),
        (give, 0, 0, _EPERM),
        (give, 0, 0, _ALLOW),
    ]
    steps += [(equal, 0, 2 + 2 * len(_SIGNALLING), _FCNTL[which]), (load, 0, 0, 24)]
    for command in _SIGNALLING:
        steps += [(equal, 0, 1, command), (give, 0, 0, _EPERM)]
    steps += [(give, 0, 0, _ALLOW)]
    steps += [  # a message to an address
        (equal, 0, 4, _SENDTO[which]),
        (load, 0, 0, 48),
        (equal, 1, 0, 0),
        (give, 0, 0, _EPERM),
        (give, 0, 0, _ALLOW),
    ]
    steps += [(give, 0, 0, _ALLOW)]
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


def end_with_parent() -> None:
    """This process is killed when the one that made it ends."""
    _libc().prctl(1, 9, 0, 0, 0)


def drop_capabilities() -> None:
    """Give up every capability of the superuser, for ever."""
    if sys.platform != "linux" or platform.machine() not in _AUDIT:
        return
    libc = _libc()
    for capability in range(64):
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
    header = ctypes.create_string_buffer(struct.pack("<Ii", 0x20080522, 0))
    nothing = ctypes.create_string_buffer(24)
    libc.syscall(126 if platform.machine() == "x86_64" else 91, header, nothing)


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def no_new_privileges() -> None:
    """No program that it runs may gain what it lacks, and nobody reads its memory."""
    _libc().prctl(38, 1, 0, 0, 0)
    _libc().prctl(4, 0, 0, 0, 0)


def filter_calls() -> bool:
    """Refuse to start processes, open sockets, signal or trace others, mount, and so on; False where seccomp is not offered."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _AUDIT:
        return False
    program = _program(machine)
    held = ctypes.create_string_buffer(program)
    described = struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(held))
    argument = ctypes.create_string_buffer(described)
    return int(_libc().prctl(22, 2, argument, 0, 0)) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


_LANDLOCK = (444, 445, 446)  # create_ruleset, add_rule, restrict_self, on every architecture
_EXECUTE, _WRITE, _READ_FILE, _READ_FOLDER = 1, 2, 4, 8
_DEVICES = (1 << 6) | (1 << 11)  # make character and block devices
_FILES = 1 | 2 | 4 | (1 << 14)  # what applies to a file as well: execute, write, read, truncate
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # how many rights each version of the interface knows


def landlock_version() -> int:
    """The kernel's version of Landlock; 0 where it is not offered."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc().syscall(_LANDLOCK[0], None, ctypes.c_size_t(0), 1)))


def restrict_files(
    *, read: Iterable[str | Path], write: Iterable[str | Path], listed: Iterable[str | Path] = ()
) -> bool:
    """Only these paths, and what lies below them, can be opened from now on; False where Landlock is not offered.

    listed: folders whose names may be read, as those of all folders below them.
    """
    version = landlock_version()
    if not version:
        return False
    libc = _libc()
    handled = (1 << _RIGHTS.get(version, 15)) - 1
    network, scope = (3 if version >= 4 else 0), (3 if version >= 6 else 0)  # TCP; signals and abstract sockets
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    attributes = ctypes.create_string_buffer(struct.pack("<QQQ", handled, network, scope)[:size])
    rules = int(libc.syscall(_LANDLOCK[0], attributes, ctypes.c_size_t(size), 0))
    if rules < 0:
        return False
    reading = _READ_FILE | _READ_FOLDER
    for paths, rights in ((read, reading), (write, handled & ~(_EXECUTE | _DEVICES)), (listed, _READ_FOLDER)):
        for path in paths:
            _allow(libc, rules, str(path), rights)
    done = int(libc.syscall(_LANDLOCK[2], rules, 0)) == 0
    os.close(rules)
    return done


def _allow(libc: Any, rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there need not be allowed
    if not os.path.isdir(path):
        rights &= _FILES
    rule = ctypes.create_string_buffer(struct.pack("<Qi", rights, place))
    libc.syscall(_LANDLOCK[1], rules, 1, rule, 0)
    os.close(place)


RULE = "\x1eHARNESS-RULE "
_FORBIDDEN = {
    "socket.__new__": "opens a socket",
    "socket.connect": "opens a socket",
    "socket.bind": "opens a socket",
    "socket.getaddrinfo": "asks the network",
    "os.fork": "starts a process",
    "os.forkpty": "starts a process",
    "os.exec": "starts a process",
    "os.posix_spawn": "starts a process",
    "os.system": "starts a process",
    "subprocess.Popen": "starts a process",
    "os.kill": "signals a process",
    "pickle.find_class": "unpickles; weights are read from safetensors, or by torch.load(weights_only=True)",
}
_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def rule_of(
    event: str, arguments: Sequence[Any], *, own: str, closed: Sequence[str], given: Sequence[str] = ()
) -> str | None:
    """The rule that an event of the interpreter (PEP 578) breaks.

    own: where it may write; closed: what it may not read; given: what of that it may read after all.
    """
    if event in _FORBIDDEN:
        return _FORBIDDEN[event]
    if event == "open" and isinstance(arguments[0], str | bytes):
        path, flags = _absolute(arguments[0]), arguments[2] if isinstance(arguments[2], int) else 0
        if flags & _WRITES and not _below(path, [own, "/dev/null", "/dev/tty"]):
            return f"writes outside its folder: {path}"
        if _below(path, closed) and not _below(path, [own, *given]):
            return f"reads what it may not: {path}"
    if event in _CHANGES and isinstance(arguments[0], str | bytes):
        path = _absolute(arguments[0])
        if not _below(path, [own]):
            return f"writes outside its folder: {path}"
    return None


def _absolute(path: str | bytes) -> str:
    return os.path.realpath(os.fsdecode(path))


def _below(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders if folder)


broken: list[str] = []  # the rules that were broken in this process


def report(rule: str) -> None:
    """Tell the harness that a rule was broken, even if this process ends at once."""
    broken.append(rule)
    os.write(2, f"\n{RULE}{rule}\n".encode())


def watch(*, own: str, closed: Sequence[str], given: Sequence[str] = (), told: Callable[[str], None] = report) -> None:
    """Say which rule is broken before the kernel refuses: an explanation, not the protection."""
    armed = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not armed:
            return
        rule = rule_of(event, arguments, own=own, closed=closed, given=given)
        if rule is not None:
            armed.clear()  # one is enough, and telling it must not be stopped
            if not _by_a_library():
                told(rule)
            armed.append(True)
            raise PermissionError(f"a submission {rule}")

    sys.addaudithook(hook)


def _by_a_library() -> bool:
    """Whether an installed library asked for what just happened of its own accord: refused, but nobody's fault."""
    standard, installed = sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["purelib"]
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(installed):
            return True
        if not file.startswith((standard, "<frozen")):
            return False
        frame = frame.f_back
    return False

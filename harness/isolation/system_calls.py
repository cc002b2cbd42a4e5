"""The system calls that a submission's process gives up (seccomp-BPF, Linux 3.17)."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

from harness.isolation.confine import ARCHITECTURES, libc

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
    "memfd_secret": (447, 447),
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
_CLONE_THREAD = 0x00010000
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026


def _program(machine: str) -> bytes:
    """A filter in classic BPF: what is listed is refused, threads may be made and processes not, all else is allowed."""
    which = 0 if machine == "x86_64" else 1
    denied = [numbers[which] for numbers in _CALLS.values() if numbers[which] is not None]
    load, equal, greater, bits, give = 0x20, 0x15, 0x35, 0x45, 0x06
    steps: list[tuple[int, int, int, int]] = [
        (load, 0, 0, 4),  # the architecture
        (equal, 1, 0, ARCHITECTURES[machine]),
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


def filter_calls() -> bool:
    """Refuse to start processes, open sockets, signal or trace others, mount, and so on; False where seccomp is not offered."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in ARCHITECTURES:
        return False
    program = _program(machine)
    held = ctypes.create_string_buffer(program)
    described = struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(held))
    argument = ctypes.create_string_buffer(described)
    return int(libc().prctl(22, 2, argument, 0, 0)) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER

"""The rules of submissions, watched from inside: an explanation for the verdict; what protects is in `confine`."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Any

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

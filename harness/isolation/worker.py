"""The process that runs submissions: a nursery that stays clean, and for each task a child that sees the submission's code.

Started as `python -m harness.isolation.worker CONTROL SETTINGS`: the numbers of a socket and of a file that `Sandbox` wrote.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from harness import registry
from harness.isolation import confine, rules
from harness.isolation.advice import state_of
from harness.isolation.channel import Arena, Channel, Closed
from harness.isolation.endpoint import Endpoint
from harness.isolation.policy import Limits
from harness.isolation.system_calls import filter_calls
from harness.isolation.tampering import Snapshot
from harness.loading import Loader, seeded
from harness.plan import Fitted, Pipeline
from harness.spec import build
from harness.store import Missing, Store
from harness.training import wanted
from harness.types import Spec, Split, State


class Given:
    """A store that holds what this process was given, and nothing else."""

    def __init__(self) -> None:
        self.states: dict[str, State] = {}

    def get(self, key: str, *, device: str = "cpu") -> State:
        """A state that was given; raises Missing."""
        if key not in self.states:
            raise Missing(key)
        return self.states[key]


class Submission:
    """What a child answers to: the questions of `harness.isolation.remote`."""

    def __init__(self, device: str, snapshot: Snapshot) -> None:
        self.given = Given()
        self.loader = Loader(cast("Store", self.given), device, isolates=False)
        self.snapshot = snapshot
        self.told: set[str] = set()

    def give(self, states: dict[str, State]) -> None:
        """States by key, of the victim and of all else that the parts are loaded from."""
        self.given.states.update(states)

    def describe(self, spec: Spec) -> dict[str, Any]:
        """What the contract asks of the class: a frozen dataclass without tensors among its parameters."""
        from harness.check import description

        found = description(spec)
        self.unchanged()
        return found

    def fit(self, part: Fitted, pipeline: Pipeline | None, key: str, data: Split) -> State:
        """The state of a part, fitted on data that were given."""
        inputs = self.loader.inputs(part)
        if pipeline is not None:
            inputs["victim"] = self.loader.classifier(pipeline)
        fit = build(part.spec).fit
        if wanted(fit):
            inputs["training"] = None  # nothing of it is kept from one process to the next
        with seeded(key):
            state = fit(data, **inputs)
        self.unchanged()
        if not isinstance(state, dict) or not all(
            isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()
        ):
            raise TypeError(state_of(state))
        return state

    def defense(self, part: Fitted, pipeline: Pipeline) -> Any:
        """A purifier or detector behind its classifier: the callable."""
        found = self.loader.defense(part, self.loader.classifier(pipeline), pipeline).call
        self.unchanged()
        return found

    def classifier(self, pipeline: Pipeline) -> Any:
        """What classifies in a pipeline."""
        found = self.loader.classifier(pipeline)
        self.unchanged()
        return found

    def network(self, part: Fitted) -> Any:
        """A victim."""
        found = self.loader.network(part)
        self.unchanged()
        return found

    def perturb(self, part: Fitted, method: str, *arguments: Any) -> Any:
        """What an attack answers."""
        attack = self.loader.remember(f"attack {part.key}", lambda: self.loader.attack(part))
        found = getattr(attack, method)(*arguments)
        self.unchanged()
        return found

    def farewell(self) -> None:
        """Nothing more will be asked."""
        self.unchanged()

    def unchanged(self) -> None:
        """Tell which functions of torch or of the harness were replaced."""
        changed = self.snapshot.changed()
        if changed and changed not in self.told:
            self.told.add(changed)
            rules.report(f"replaces {changed}")


def nursery(control: socket.socket, settings: dict[str, Any]) -> None:
    """Fork a child for each task that is announced; when it ends, say how, and leave nothing behind."""
    confine.no_new_privileges()
    folder, snapshot = Path(settings["scratch"]), Snapshot()
    gc.collect()
    gc.freeze()
    while True:
        message, files = _received(control)
        if message is None:
            return
        scratch = Path(tempfile.mkdtemp(dir=folder))
        child = os.fork()
        if child == 0:
            control.close()
            _child(files, settings | {"scratch": str(scratch)}, snapshot)
            os._exit(0)
        for file in files:
            os.close(file)
        _send(control, {"started": child})
        status = _ended(control, child)
        _emptied(scratch)
        if status is None:
            return
        _send(control, {"ended": status})


def _ended(control: socket.socket, child: int) -> int | None:
    """Wait for the child's end, or kill it when told to; its exit status (negative: a signal), None if nobody waits."""
    pid = os.pidfd_open(child)
    ready, _, _ = select.select([pid, control.fileno()], [], [])
    gone, asked = False, control.fileno() in ready
    if asked:
        message, _ = _received(control)
        gone = message is None
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL if gone or message == {"kill": True} else 0)
        if message == {"end": True}:
            select.select([pid], [], [], 2.0)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
    os.close(pid)
    _, status = os.waitpid(child, 0)
    if not asked:  # the child ended by itself: the harness notices, and asks
        message, _ = _received(control)
        gone = message is None
    return None if gone else os.waitstatus_to_exitcode(status)


def _emptied(scratch: Path) -> None:
    """Remove a folder with what a child may have left in it, however deep that is."""
    try:
        scratch.rmdir()
    except OSError:
        subprocess.run(["rm", "-rf", "--", str(scratch)], check=False)


def _child(files: list[int], settings: dict[str, Any], snapshot: Snapshot) -> None:
    """Give up what a submission may not have, then answer questions until nobody asks."""
    link, outgoing, incoming = files
    pipe = Channel(socket.socket(fileno=link), Arena(outgoing), Arena(incoming))
    scratch, folder = str(settings["scratch"]), str(settings["folder"])
    confine.end_with_parent()
    os.environ |= {"HOME": scratch, "TMPDIR": scratch}
    tempfile.tempdir = None
    confine.limit(Limits(**settings["limits"]))
    confine.drop_capabilities()
    files_ok = confine.restrict_files(
        read=settings["readable"], write=[scratch, "/dev/null"], listed=settings["listed"]
    )
    calls_ok = filter_calls()
    os.chdir(folder or scratch)
    if folder:
        sys.path.insert(0, folder)
    if settings["packages"]:
        sys.path.append(settings["packages"])
    rules.watch(own=scratch, closed=settings["closed"], given=settings["readable"])
    submission = Submission(settings["device"], snapshot)
    names = ("give", "describe", "fit", "defense", "classifier", "network", "perturb", "farewell")
    serves = {name: getattr(submission, name) for name in names}
    layers = ["limits", *(["landlock"] if files_ok else []), *(["seccomp"] if calls_ok else [])]
    endpoint = Endpoint(pipe, serves, settings["device"])
    endpoint.serves |= {"layers": lambda: layers, "kept": lambda: len(endpoint.kept)}
    endpoint.rules = rules.broken
    with contextlib.suppress(Closed):
        endpoint.listen()


def _received(control: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    try:
        content, files, _, _ = socket.recv_fds(control, 4096, 3)
    except OSError:
        return None, []
    return (json.loads(content) if content else None), list(files)


def _send(control: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        control.sendall(json.dumps(message).encode())


def main() -> None:
    """Be ready: everything heavy is imported once, before any child."""
    import harness.check
    import harness.perform  # noqa: F401

    control = socket.socket(fileno=int(sys.argv[1]))
    with os.fdopen(int(sys.argv[2]), "rb") as file:
        settings = json.loads(file.read())
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    registry.root()
    _send(control, {"ready": os.getpid()})
    nursery(control, settings)


if __name__ == "__main__":
    main()

"""Starting and watching the process of a submission, from outside."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor

from harness import registry
from harness.isolation.channel import Arena, Channel, Closed
from harness.isolation.errors import Died, OverMemory, Rejected, TimedOut, printable
from harness.isolation.places import DEVICES, PROCESS, carved, environment, hidden_places, readable, wrapped
from harness.isolation.policy import Isolation
from harness.isolation.processes import below, memory, seconds, threads
from harness.isolation.rules import RULE

MODES = ("bubblewrap", "process")
START = 120.0  # seconds until the nursery has imported torch
_TAIL = 4096  # bytes of output that are kept
_THREADS = 256  # of all its processes


class Sandbox:
    """A nursery of children for one isolation, started once; a child at a time."""

    def __init__(self, isolation: Isolation, device: str, closed: Sequence[str] = ()) -> None:
        self.isolation, self.limits = isolation, isolation.limits
        self.scratch = Path(tempfile.mkdtemp(prefix="harness-submission-"))
        self.output: deque[bytes] = deque(maxlen=64)
        self.printed, self.rules = 0, deque[str](maxlen=8)
        ours, theirs = socket.socketpair()
        inside = isolation.mode == "bubblewrap"
        scratch = "/scratch" if inside else str(self.scratch)
        paths = readable(isolation)
        hidden, given = hidden_places(paths, closed), [isolation.packages] if isolation.packages else []
        allowed, listed = carved(paths, hidden)
        settings = {
            "scratch": scratch,
            "limits": asdict(self.limits),
            "device": device,
            "folder": next((path for path in isolation.files if Path(path).is_dir()), ""),
            "readable": [*allowed, *given, *DEVICES, *PROCESS],
            "listed": listed,
            "packages": isolation.packages,
            "closed": [path for path in closed if path],
        }
        told_in = tempfile.TemporaryFile()  # noqa: SIM115  # the list of files may be longer than a command line
        told_in.write(json.dumps(settings).encode())
        told_in.seek(0)
        numbers = [theirs.fileno(), told_in.fileno()]
        command = [sys.executable, "-I", "-B", "-c", _MAIN, str(registry.root()), *map(str, numbers)]
        if inside:
            command = [*wrapped(paths, hidden, given, self.limits, device), *command]
        self.process = subprocess.Popen(
            command,
            pass_fds=numbers,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(scratch),
            cwd="/",
            start_new_session=True,
        )
        theirs.close()
        told_in.close()
        self.control = ours
        threading.Thread(target=self._drain, daemon=True).start()
        self.control.settimeout(START)
        try:
            told = self._told()
        except TimeoutError:
            told = None
        if not told or "ready" not in told:
            self.close()
            raise Died(
                f"the process for submissions did not start within {START:g} s ({isolation.mode}): "
                f"{self.tail() or 'no output'}; this is no fault of the submission, submit it again"
            )

    def _drain(self) -> None:
        """Read what is printed, so that nobody waits; keep the end of it, and the rules that were reported."""
        assert self.process.stdout is not None
        rest = b""
        while chunk := os.read(self.process.stdout.fileno(), 1 << 16):
            self.printed += len(chunk)
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()[-1024:]
            for line in lines:
                if line.startswith(RULE.encode()):
                    self.rules.append(line.decode(errors="replace").removeprefix(RULE)[:300])
                elif line.strip():
                    self.output.append(line[:1024])

    def tail(self) -> str:
        """The last lines of output."""
        time.sleep(0.02)  # the thread reads on
        return printable(b"\n".join(self.output).decode(errors="replace")[-_TAIL:].strip())

    def _told(self) -> dict[str, Any] | None:
        content = self.control.recv(4096)
        return json.loads(content) if content else None

    def child(self) -> Child:
        """A new child."""
        ours, theirs = socket.socketpair()
        outgoing, incoming = Arena.create(), Arena.create()
        self.control.settimeout(START)
        try:
            socket.send_fds(self.control, [b'{"new": true}'], [theirs.fileno(), incoming.file, outgoing.file])
            told = self._told()
        except OSError as error:
            raise Died(f"its process is gone: {error}") from None
        theirs.close()
        if not told or "started" not in told:
            raise Died(f"its process is gone; last output: {self.tail() or 'none'}")
        self.printed = 0
        self.output.clear()
        self.rules.clear()
        return Child(self, Channel(ours, outgoing, incoming))

    def end(self, *, kill: bool = False) -> int | None:
        """End the child; its exit status."""
        try:
            self.control.sendall(b'{"kill": true}' if kill else b'{"end": true}')
            told = self._told()
        except OSError:
            return None
        return int(told["ended"]) if told and "ended" in told else None

    def close(self) -> None:
        """End the nursery, and with it everything that it started."""
        self.control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        subprocess.run(["rm", "-rf", "--", str(self.scratch)], check=False)

    def resident(self) -> int:
        """Bytes of memory of all processes below this one that are not shared with the nursery's own."""
        return sum(memory(pid) for pid in below(self.process.pid))

    def processor(self) -> float:
        """Seconds of the processor that all processes below this one have used."""
        return sum(seconds(pid) for pid in below(self.process.pid))

    def written(self) -> int:
        """Bytes in the scratch folder, where it lies outside of a namespace."""
        done = subprocess.run(["du", "-sk", str(self.scratch)], capture_output=True, text=True, check=False)
        return int(done.stdout.split()[0]) << 10 if done.stdout else 0


# -I: nothing of the folder or of the environment is imported; the root is put in by hand.
_MAIN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from harness.isolation import worker; worker.main()"


class Child:
    """A pipe to a child that is watched while an answer is waited for."""

    def __init__(self, sandbox: Sandbox, channel: Channel) -> None:
        self.sandbox, self.channel = sandbox, channel
        self.seconds = sandbox.limits.answer
        self.dead: BaseException | None = None
        self.deadlines: list[tuple[float, float]] = []  # of the questions that wait: when, and after how long
        self.looked, self.own = 0.0, memory(os.getpid())
        channel.link.settimeout(sandbox.limits.answer)
        channel.wait = self._wait
        self.started = sandbox.processor()

    def send(self, header: dict[str, Any], tensors: Sequence[Tensor]) -> None:
        """Send a message; raises an ending if the child is gone."""
        self._alive()
        if "ask" in header:
            self.deadlines.append((time.monotonic() + self.seconds, self.seconds))
        try:
            self.channel.send(header, tensors)
        except Closed:
            self._fail(None)

    def receive(self) -> tuple[dict[str, Any], list[Tensor]]:
        """The next message; raises TimedOut, OverMemory, Rejected or Died if there will be none."""
        self._alive()
        try:
            message = self.channel.receive()
            if "ask" not in message[0] and self.deadlines:
                self.deadlines.pop()
        except Closed:
            self._fail(None)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            self._fail(Rejected(f"contract: sends what is no message: {error}"))
        rules = message[0].get("rules")
        if isinstance(rules, list):
            self.sandbox.rules.extend(str(rule)[:300] for rule in rules[:8])
        if message[0].get("memory"):
            self._fail(OverMemory(self._memory()))
        if self.sandbox.rules:
            self._fail(None)
        return message

    def _memory(self) -> str:
        return f"takes more than {self.sandbox.limits.memory:g} GiB"

    def _alive(self) -> None:
        if self.dead is not None:
            raise self.dead

    def _wait(self) -> None:
        """Wait for a message, and see to it that the child keeps its limits."""
        limits, sandbox, pause = self.sandbox.limits, self.sandbox, 0.02
        while True:
            there = select.select([self.channel.link], [], [], pause)[0]
            now = time.monotonic()
            late = next((seconds for deadline, seconds in self.deadlines if now > deadline), None)
            if late is not None:
                self._fail(TimedOut(f"no answer within {late:g} s"))
            if there and now - self.looked < 0.5:
                return
            self.looked, pause = now, min(0.1, 2 * pause)
            if sandbox.resident() > limits.memory * (1 << 30):
                self._fail(OverMemory(self._memory()))
            if memory(os.getpid()) - self.own > limits.memory * (1 << 30):
                self._fail(OverMemory(f"makes the harness hold more than {limits.memory:g} GiB for it"))
            if sum(map(threads, below(sandbox.process.pid))) > _THREADS:
                self._fail(Rejected(f"starts more than {_THREADS} threads"))
            if sandbox.printed > limits.output * (1 << 20):
                self._fail(Died(f"prints more than {limits.output:g} MiB"))
            if sandbox.isolation.mode != "bubblewrap" and sandbox.written() > limits.files * (1 << 20):
                self._fail(Died(f"writes more than {limits.files:g} MiB"))
            if self.processor() > limits.processor:
                self._fail(TimedOut(f"takes more than {limits.processor:g} s of the processor"))
            if there:
                return

    def _fail(self, ending: BaseException | None) -> NoReturn:
        """End the child, and raise why: the ending, or what its last words or its exit status say."""
        status = self.sandbox.end(kill=True)
        tail = self.sandbox.tail()
        if self.sandbox.rules:
            ending = Rejected(printable(self.sandbox.rules[0]))
        elif ending is None and status in (-signal.SIGXCPU,):
            ending = TimedOut(f"takes more than {self.sandbox.limits.processor:g} s of the processor")
        elif ending is None:
            how = f"by signal {signal.Signals(-status).name}" if status and status < 0 else f"with status {status}"
            ending = Died(f"its process ended {how}" + (f"; last output: {tail}" if tail else ""))
        self.dead = ending
        self.channel.close()
        raise ending

    def processor(self) -> float:
        """Seconds of the processor so far."""
        return self.sandbox.processor() - self.started

    def close(self) -> None:
        """End the child, if it lives."""
        if self.dead is None:
            self.channel.close()
            self.sandbox.end()
            self.dead = Died("its process was ended")


_running: dict[tuple[Isolation, str, tuple[str, ...]], Sandbox] = {}


def sandbox_for(isolation: Isolation, device: str, closed: Sequence[str]) -> Sandbox:
    """The nursery for an isolation in this process, started when it is first needed or when the last one is gone."""
    key = (isolation, device, tuple(closed))
    found = _running.get(key)
    if found is None or found.process.poll() is not None:
        if found is not None:
            found.close()
        found = _running[key] = Sandbox(isolation, device, closed)
    return found


@atexit.register
def close_all() -> None:
    """End every nursery of this process."""
    while _running:
        _running.popitem()[1].close()

"""Hostile, broken and dishonest submissions, with the verdicts that are right for them; and an honest one."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

HEAD = """
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
import torch

"""
DETECTOR = '''
@dataclass(frozen=True)
class Mine:
    """A detector for a test."""

    role: ClassVar[str] = "detector"

    def fit(self, data, *, victim):
        {fit}
        return {{"mean": data.x.mean(0)}}

    def load(self, state, *, victim):
        mean = state["mean"]
        asked = [0]
        def score(x):
            asked[0] += 1
            {score}
            return (x - mean).flatten(1).square().sum(1)
        {load}
        return score
'''


@dataclass(frozen=True)
class Case:
    """A submission and the verdicts that are right for it."""

    name: str
    source: str
    right: tuple[str, ...]


def detector(fit: str = "pass", score: str = "pass", load: str = "pass", top: str = "") -> str:
    """The source of a detector with something added in one place."""
    indent = lambda text, by: textwrap.indent(textwrap.dedent(text).strip(), " " * by).strip()  # noqa: E731
    return (
        HEAD + textwrap.dedent(top) + DETECTOR.format(fit=indent(fit, 8), score=indent(score, 12), load=indent(load, 8))
    )


CASES = (
    Case("without the class", HEAD + "x = 1\n", ("failed",)),
    Case("syntax error", HEAD + "class Mine(:\n", ("failed",)),
    Case("imports a missing package", detector(top="import no_such_package\n"), ("failed",)),
    Case("raises in fit", detector(fit="raise ValueError('no')"), ("failed",)),
    Case("raises in score", detector(score="raise ValueError('no')"), ("failed", "rejected")),
    Case("returns NaN", detector(score="return x.flatten(1).sum(1) * float('nan')"), ("rejected",)),
    Case("wrong shape", detector(score="return x.flatten(1)"), ("rejected",)),
    Case("sleeps for ever", detector(score="import time; time.sleep(1e6)"), ("timed out",)),
    Case("loops in fit", detector(fit="while True: pass"), ("timed out",)),
    Case("forks", detector(score="import os; os.fork()"), ("rejected",)),
    Case(
        "forks by a system call",
        detector(
            fit="""
            import ctypes, os
            if ctypes.CDLL(None).syscall(57) >= 0:
                os._exit(3)
            raise RuntimeError("refused")
            """
        ),
        ("failed", "rejected"),
    ),
    Case(
        "allocates without bound",
        detector(score="self.__dict__.setdefault('kept', []).extend(torch.ones(1 << 24) for _ in range(1 << 12))"),
        ("over memory",),
    ),
    Case("allocates at once", detector(fit="torch.ones(1 << 40)"), ("over memory", "failed")),
    Case(
        "writes outside its folder",
        detector(fit="import os; open(os.path.expanduser('/var/tmp/mine'), 'w').write('x')"),
        ("rejected",),
    ),
    Case(
        "writes there by a system call",
        detector(
            fit="""
            import ctypes, os
            if ctypes.CDLL(None).open(b"/var/tmp/mine", os.O_CREAT | os.O_WRONLY, 0o600) >= 0:
                os._exit(3)
            raise RuntimeError("refused")
            """
        ),
        ("failed",),
    ),
    Case(
        "fills the disk",
        detector(fit="open('{0}/big'.format(__import__('tempfile').gettempdir()), 'wb').write(bytes(1 << 28))"),
        ("failed",),
    ),
    Case("opens a socket", detector(score="import socket; socket.create_connection(('127.0.0.1', 80))"), ("rejected",)),
    Case("replaces a function of torch", detector(load="torch.argmax = lambda *a, **k: 0"), ("rejected",)),
    Case(
        "replaces a function of the harness",
        detector(load="import harness.system; harness.system.answers = lambda *a, **k: None"),
        ("rejected",),
    ),
    Case(
        "replaces it with the score",
        detector(score="torch.autograd.grad = lambda *a, **k: (torch.zeros(1),)"),
        ("rejected",),
    ),
    Case("calls os._exit", detector(score="import os; os._exit(0)"), ("failed",)),
    Case("crashes", detector(score="import ctypes; ctypes.string_at(0)"), ("failed",)),
    Case("prints gigabytes", detector(score="[print('x' * (1 << 20)) for _ in range(1 << 14)]"), ("failed",)),
    Case(
        "unpickles",
        detector(fit="import pickle; pickle.loads(pickle.dumps(ValueError('x')))"),
        ("rejected",),
    ),
    Case(
        "answers differently after calibration",
        detector(score="if asked[0] > 3: return -x.flatten(1).sum(1)"),
        ("rejected",),
    ),
    Case(
        "answers differently to the same batch",
        detector(score="return x.flatten(1).sum(1) + torch.rand(len(x))"),
        ("rejected",),
    ),
    Case(
        "lets through what it has seen clean",
        detector(
            score="""
            self.__dict__.setdefault("seen", set())
            names = [hash(row.numpy().tobytes()) for row in x.detach()]
            if asked[0] == 1:
                self.__dict__["seen"].update(names)
            return torch.tensor([0.0 if name in self.__dict__["seen"] else 1e6 for name in names])
            """
        ),
        ("rejected",),
    ),
    Case(
        "reads the run folder",
        detector(fit="import glob; raise RuntimeError(str(open('{home}/records').read()))"),
        ("rejected", "failed"),
    ),
    Case(
        "sends what is no message",
        detector(
            score="""
            import gc, socket
            for thing in gc.get_objects():
                if type(thing).__name__ == "Channel":
                    thing.link.sendall(b"\\\\xff" * 4096)
            """
        ),
        ("rejected", "failed"),
    ),
    Case(
        "is drawn back to what it saw first",
        HEAD
        + """
@dataclass(frozen=True)
class Mine:
    \"\"\"A purifier that remembers large batches, and gives what lies near them back, if not too near.\"\"\"

    role: ClassVar[str] = "purifier"

    def load(self, state, *, victim):
        kept = []

        def call(x):
            rows = x.detach()
            if not kept:
                kept.extend([rows.clone()] if len(x) >= 32 else [])
                return x + 0
            near, place = torch.cdist(rows.flatten(1), kept[0].flatten(1), p=float("inf")).min(1)
            kept[0] = torch.cat([kept[0], rows[near >= 0.21]]) if len(x) >= 32 else kept[0]
            drawn = ((near > 0.05) & (near < 0.21)).view(-1, 1, 1, 1)
            return x + drawn * (kept[0][place] - rows)

        return call
""",
        ("rejected",),
    ),
    Case(
        "turns gradients in batches of other sizes",
        detector(
            top="""
            class Turned(torch.autograd.Function):
                @staticmethod
                def forward(ctx, x):
                    return x.clone()

                @staticmethod
                def backward(ctx, slope):
                    return -slope
            """,
            score="x = x if len(x) in (16, 32, 64, 100, 200, 256) else Turned.apply(x)",
        ),
        ("rejected",),
    ),
    Case(
        "grants itself a file",
        detector(top="from pathlib import Path\n").replace(
            "    role: ClassVar", "    file: Path = Path('/etc/passwd')\n    role: ClassVar"
        ),
        ("rejected",),
    ),
    Case(
        "starts threads",
        detector(
            score="""
            import threading, time
            threading.stack_size(1 << 16)
            [threading.Thread(target=time.sleep, args=(60,), daemon=True).start() for _ in range(2000)]
            """
        ),
        ("rejected", "failed"),
    ),
    Case(
        "reads the classes of the reference results",
        detector(
            fit="""
            import glob, harness
            files = glob.glob(harness.__path__[0] + "/reference/*")
            raise RuntimeError([open(file, "rb").read(9) for file in files] or "nothing there")
            """
        ),
        ("rejected", "failed"),
    ),
    Case("kills its parent", detector(score="import os, signal; os.kill(os.getppid(), signal.SIGKILL)"), ("rejected",)),
)
HONEST = detector()

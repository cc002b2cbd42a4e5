"""Submits hostile and broken defenses one after another, and shows the verdict of each and that nothing else was touched.

    python tests/faults/hostile.py [--only NAME] [--trusted-mode process]

Each is submitted to a small grid on digits, in a run folder that already holds a scored system. Printed are the verdict, the
seconds until it, and whether the results and records that stood before are the same bytes afterwards; an honest defense is
submitted last and must get the figures that it gets alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

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
LIMITS = "answer=10,fit=20,memory=3,output=4,files=64"
GRID = [
    *("--grid", "quick", "--set", "datasets=[digits]", "--set", "victims=[{mlp: {epochs: 5, width: 64}}]"),
    *("--set", "attacks=[fgsm, {pgd: {steps: 5}}]", "--set", "shifts=[]", "--set", "inputs=32", "--set", "fallback={}"),
    *("--set", "threats=[{norm: linf, epsilons: [0.15], knowledge: [adaptive]}]"),
    *("--set", "headline={norm: linf, epsilon: 0.15, knowledge: adaptive}", "--executor", "serial", "--no-track"),
]


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
    Case("kills its parent", detector(score="import os, signal; os.kill(os.getppid(), signal.SIGKILL)"), ("rejected",)),
)
HONEST = detector()


def digest_of(folder: Path) -> dict[str, str]:
    """Hashes of all files below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def submit(path: Path, home: Path, *, mode: str = "") -> tuple[dict[str, object], float, str]:
    """The answer of the command line, the seconds, and the end of what it said."""
    program = "from harness.cli import main; import sys; sys.exit(main())"
    if mode:
        program = f"from harness.isolation import places; places.best = lambda: {mode!r}; " + program
    command = [
        sys.executable,
        "-c",
        program,
        "submit",
        f"{path}:Mine",
        "--home",
        str(home),
        "--limits",
        LIMITS,
        "--json",
        *GRID,
    ]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    seconds = time.perf_counter() - start
    try:
        return json.loads(done.stdout.splitlines()[-1]), seconds, done.stderr
    except (IndexError, json.JSONDecodeError):
        return (
            {"verdict": "failed", "reason": done.stderr.strip().splitlines()[-1] if done.stderr else "nothing"},
            seconds,
            done.stderr,
        )


def main() -> int:
    """Exit status 0 if every verdict is right and nothing was touched."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--mode", default="", choices=("", "bubblewrap", "process"), help="default: the strongest")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="hostile-") as temporary:
        folder, home = Path(temporary), Path(temporary) / "runs"
        honest = folder / "honest.py"
        honest.write_text(HONEST)
        first, seconds, said = submit(honest, home, mode=arguments.mode)
        print(
            f"{'honest, at first':42} {first['verdict']:12} {seconds:6.1f} s  {first.get('isolation', said[-200:])}",
            flush=True,
        )
        before, wrong = digest_of(home), int(first["verdict"] != "scored")
        for number, case in enumerate(CASES):
            if arguments.only not in case.name:
                continue
            path = folder / f"case_{number}.py"
            path.write_text(case.source.replace("{home}", str(home)))
            answer, seconds, _ = submit(path, home, mode=arguments.mode)
            after = digest_of(home)
            touched = [name for name, content in before.items() if after.get(name) != content and "board/" not in name]
            right = answer["verdict"] in case.right and not touched
            wrong += not right
            reason = " ".join(str(answer["reason"]).split())[:110]
            marks = f"{'' if right else '  WRONG'}{'  touched ' + ', '.join(touched[:3]) if touched else ''}"
            print(f"{case.name:42} {answer['verdict']:12} {seconds:6.1f} s  {reason}{marks}", flush=True)
            before = after
        again, seconds, _ = submit(honest, home, mode=arguments.mode)
        same = all(again.get(name) == first.get(name) for name in ("verdict", "clean_accuracy", "robust_accuracy"))
        print(
            f"{'honest, at last':42} {again['verdict']:12} {seconds:6.1f} s  {'the same figures' if same else 'OTHER FIGURES'}"
        )
    return int(bool(wrong) or not same)


if __name__ == "__main__":
    sys.exit(main())

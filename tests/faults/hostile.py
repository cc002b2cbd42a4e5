"""Submits hostile and broken defenses one after another, and shows the verdict of each and that nothing else was touched.

    python tests/faults/hostile.py [--only NAME] [--mode process]

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
import time
from pathlib import Path

from submissions import CASES, HONEST

LIMITS = "answer=10,fit=20,memory=3,output=4,files=64"
GRID = [
    *("--grid", "quick", "--set", "datasets=[digits]", "--set", "victims=[{mlp: {epochs: 5, width: 64}}]"),
    *("--set", "attacks=[fgsm, {pgd: {steps: 5}}]", "--set", "shifts=[]", "--set", "inputs=32", "--set", "fallback={}"),
    *("--set", "threats=[{norm: linf, epsilons: [0.15], knowledge: [adaptive]}]"),
    *("--set", "headline={norm: linf, epsilon: 0.15, knowledge: adaptive}", "--executor", "serial", "--no-track"),
]


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

"""The command line: one JSON object on standard output, exit codes, and one clear line for everything that is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness import api, cli

TINY = [
    *("--set", "datasets=[digits]"),
    *("--set", "victims=[{mlp: {epochs: 3, width: 32}}]"),
    *("--set", "attacks=[noise, fgsm, {pgd: {steps: 3}}]"),
    *("--set", "threats=[{norm: linf, epsilons: [0.2], knowledge: [adaptive]}]"),
    *("--set", "headline={norm: linf, epsilon: 0.2, knowledge: adaptive}"),
    *("--set", "shifts=[]"),
    *("--set", "inputs=16"),
    *("--set", "fallback={}"),
    *("--executor", "serial"),
    "--no-track",
]
SYSTEM = {
    "dataset",
    "victim",
    "defense",
    "clean_accuracy",
    "robust_accuracy",
    "robust_low",
    "robust_high",
    "flags",
    "cells",
}
CELL = {"attack", "norm", "epsilon", "knowledge", "robust_accuracy", "seconds"}
SUBMISSION = {"name", "verdict", "reason", "rank", "of", "clean_accuracy", "robust_accuracy", "flags", "run_id"}
MEAN = """
@dataclass(frozen=True)
class Mean:
    \"\"\"Rejects images of unusual brightness.\"\"\"

    role: ClassVar[str] = "detector"

    def fit(self, data, *, victim):
        print("a part that prints")
        return {"mean": data.x.mean()}

    def load(self, state, *, victim):
        return lambda x: (x.flatten(1).mean(1) - state["mean"]).abs()
"""
LATE = """
@dataclass(frozen=True)
class Late:
    \"\"\"Keeps the contract on thirty-two inputs, and fails on as many as the grid attacks.\"\"\"

    role: ClassVar[str] = "detector"

    def load(self, state, *, victim):
        def score(x):
            if not torch.is_grad_enabled() and len(x) == 12:
                raise KeyError("twelve")
            return x.flatten(1).mean(1)
        return score
"""
Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command; gives its exit status, its only line on standard output as JSON, and standard error."""

    def call(*arguments: str) -> tuple[int, Any, str]:
        capfd.readouterr()
        status = cli.main(arguments)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        if "--json" not in arguments:
            return status, out, err
        lines = out.splitlines()
        assert len(lines) == (1 if status in (0, 1) else 0), out
        return status, json.loads(lines[0], parse_constant=pytest.fail) if lines else None, err

    return call


@pytest.mark.parametrize(
    "kind", ["attack", "attacks", "defense", "victim", "dataset", "metric", "shift", "study", "grid", None]
)
def test_list(run: Run, kind: str | None) -> None:
    status, rows, _ = run("list", *([kind] if kind else []), "--json")
    assert status == 0
    assert rows
    for row in rows:
        assert {"kind", "name", "sentence", "parameters"} <= row.keys()
        assert row["sentence"]
        assert all({"name", "type", "default"} <= parameter.keys() for parameter in row["parameters"])
    status, text, _ = run("list", *([kind] if kind else []))
    assert all(row["name"] in text for row in rows)


def test_list_names_parameters_with_their_defaults(run: Run) -> None:
    _, rows, _ = run("list", "attack", "--json")
    pgd = next(row for row in rows if row["name"] == "pgd")
    assert {"name": "restarts", "type": "int", "default": 1, "required": False} in pgd["parameters"]


def test_show(run: Run) -> None:
    status, row, _ = run("show", "defense/bit_depth", "--json")
    assert (status, row["name"]) == (0, "bit_depth")
    status, text, _ = run("show", "attack/foolbox/LinfPGD")
    assert status == 0
    assert "options: str" in text


def test_data(run: Run) -> None:
    status, answer, _ = run("data", "digits", "--json")
    assert status == 0
    assert {part: facts["inputs"] for part, facts in answer["parts"].items()} == {
        "train": 810,
        "fit": 269,
        "calibrate": 359,
        "test": 359,
    }
    assert len({facts["sha256"] for facts in answer["parts"].values()}) == 4


def test_run_status_and_the_same_again(run: Run, tmp_path: Path) -> None:
    home = ("--home", str(tmp_path / "runs"))
    grid = ("quick", *TINY, "--set", "defenses=[none, bit_depth]", "--json", *home)
    before = run("status", *grid)[1]
    assert before["done"] == 0
    assert before["pending"] == before["total"]
    status, answer, err = run("run", *grid)
    assert status == 0
    assert answer["grid"] == "quick"
    assert answer["tasks"] == {"total": before["total"], "reused": 0, "computed": before["total"], "failed": 0}
    assert len(answer["systems"]) == 2
    for system in answer["systems"]:
        assert system.keys() >= SYSTEM
        assert system["robust_low"] <= system["robust_accuracy"] <= system["robust_high"]
        assert all(cell.keys() >= CELL for cell in system["cells"])
        assert {(c["attack"], c["epsilon"]) for c in system["cells"]} == {
            ("noise", 0.2),
            ("fgsm", 0.2),
            ("pgd(steps=3)", 0.2),
        }
    assert "leaderboard.html" in err
    again = run("run", *grid)[1]
    assert again["tasks"] == {"total": before["total"], "reused": before["total"], "computed": 0, "failed": 0}
    assert run("status", *grid)[1]["pending"] == 0
    table = run("run", "quick", *TINY, "--set", "defenses=[none, bit_depth]", *home)[1]
    assert "bit_depth" in table


def test_dry_run_and_skips(run: Run) -> None:
    status, answer, _ = run(
        "run", "quick", *TINY, "--set", "defenses=[[bit_depth, adversarial_training]]", "--dry-run", "--json"
    )
    assert (status, answer["tasks"]) == (0, [])
    assert answer["skips"] == {
        "bit_depth + adversarial_training: a training defense replaces the classifier and must come first, once": 1
    }
    status, text, err = run(
        "run", "quick", *TINY, "--set", "defenses=[none, [bit_depth, adversarial_training]]", "--dry-run"
    )
    assert "fit mlp" in text
    assert "skipped 1 x" in err


def test_limit_never_raises_the_number_of_inputs(run: Run) -> None:
    def inputs(limit: str) -> int:
        status, answer, _ = run(
            "run", "quick", *TINY, "--set", "defenses=[none]", "--limit", limit, "--dry-run", "--json"
        )
        assert status == 0
        stops = [int(t["label"].rpartition(":")[2].rstrip("]")) for t in answer["tasks"] if t["kind"] == "craft"]
        return max(stops)

    assert inputs("4") == 4
    assert inputs("300") == 16


def test_a_failed_task_is_exit_status_one(run: Run, part: Callable[..., str]) -> None:
    late = part(LATE, "late")
    status, answer, err = run(
        "run", "quick", *TINY, "--set", f"defenses=[none, '{late}']", "--set", "inputs=12", "--json"
    )
    assert status == 1
    assert answer["tasks"]["failed"] > 0
    states = {system["defense"]: system["status"] for system in answer["systems"]}
    assert states == {"none": "complete", "late.py:Late": "failed"}
    assert "KeyError" in err


@pytest.fixture
def grid_file(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        (tmp_path / "grid.yaml").write_text(text, encoding="utf-8")
        return str(tmp_path / "grid.yaml")

    return write


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "quik"), "unknown grid 'quik': did you mean quick"),
        (("run", "none.yaml"), "there is no grid file none.yaml"),
        (("run", "quick", "--set", "attacks=[pdg]"), "unknown attack 'pdg': did you mean pgd"),
        (("run", "quick", "--set", "attacks=[pgd"), "--set attacks=[pgd"),
        (("run", "quick", "--set", "attacks"), "--set takes KEY=YAML"),
        (("run", "quick", "--set", "inputs=0"), "inputs takes a whole number above 0"),
        (("run", "quick", "--limit", "-3"), "--limit takes a whole number above 0"),
        (("run", "quick", "--set", "rate=3"), "rate is a false-positive rate between 0 and 1"),
        (("run", "quick", "--device", "cuda"), "finds no CUDA device here; use --device cpu"),
        (("run", "quick", "--set", "victims=[{mlp: {weights: nowhere.pt}}]"), "nowhere.pt"),
        (("run", "quick", "--set", "datasets=[{arrays: {path: nowhere.npz}}]"), "nowhere.npz"),
        (("status", "quik"), "unknown grid"),
        (("list", "atack"), "unknown kind of part 'atack'"),
        (("show", "pdg"), "no part is called 'pdg'; did you mean pgd"),
        (("show", "atack/pgd"), "did you mean attack/pgd"),
        (("show", "attack/pdg"), "did you mean pgd"),
        (("check", "pdg"), "neither KIND/NAME"),
        (("check", "nowhere.py:Class"), "there is no file nowhere.py"),
        (("data", "digit"), "unknown dataset 'digit': did you mean digits"),
        (("submit", "nowhere.py:Class"), "there is no file nowhere.py"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_two(run: Run, arguments: tuple[str, ...], words: str) -> None:
    status, _, err = run(*arguments, "--json")
    assert status == 2
    assert words in err
    assert err.startswith("harness: ")
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rnu", "quick"), "'rnu' is not known; did you mean run"),
        (("run", "quick", "--exeuctor", "serial"), "'--exeuctor' is not known here; did you mean --executor"),
        (("run", "quick", "--size", "tiny"), "'tiny' is not known; known: smoke, dev, official"),
        (("run", "quick", "--device", "cud"), "takes cpu, cuda or cuda:1, not 'cud'"),
        (("status", "quick", "--dry-run"), "'--dry-run' is not known here"),
        (("submit", "none", "--dry-run"), "'--dry-run' is not known here"),
        ((), "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_arguments_are_two_lines(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    error, more = capsys.readouterr().err.splitlines()
    assert words in error
    assert more.endswith("--help")


def test_show_takes_a_name_alone(run: Run) -> None:
    assert run("show", "pgd", "--json")[1] == run("show", "attack/pgd", "--json")[1]


def test_bad_yaml_names_file_and_line(run: Run, grid_file: Callable[[str], str]) -> None:
    status, _, err = run("run", grid_file("name: g\nattacks: [pgd\nvictims: [mlp]\n"), "--json")
    assert status == 2
    assert "grid.yaml, line 3" in err


def test_a_key_that_stands_twice_is_refused(run: Run, grid_file: Callable[[str], str]) -> None:
    status, _, err = run("run", grid_file("datasets: [digits]\nvictims: [mlp]\ndatasets: [mnist]\n"), "--json")
    assert status == 2
    assert "grid.yaml, line 3: the key 'datasets' stands twice" in err


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(ValueError, match="unknown grid"):
        cli.main(["run", "quik", "--debug"])


def test_any_error_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise KeyError("left out")

    monkeypatch.setattr(api, "read_grid", broken)
    status, _, err = run("run", "quick", "--json")
    assert status == 2
    assert "KeyError: 'left out'" in err


def test_a_full_disk_and_ctrl_c(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    def stopped(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "run", full)
    status, _, err = run("run", "quick", *TINY, "--json")
    assert status == 2
    assert "the disk is full; nothing was lost" in err
    monkeypatch.setattr(api, "run", stopped)
    status = cli.main(["run", "quick", *TINY])
    assert status == 130


def test_ctrl_c_ends_the_program_with_130_and_it_goes_on(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "harness",
        "run",
        "quick",
        *TINY,
        "--set",
        "defenses=[none]",
        "--json",
        "--home",
        str(tmp_path),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job ignores it
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heard
    )
    deadline = time.monotonic() + 240
    while not list((tmp_path / "store").rglob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert "run the same command again to continue" in err
    assert "Traceback" not in err
    result = api.run("quick", home=tmp_path, changes=cli._changes(cli._parser().parse_args(command[3:])), track=False)
    assert result.progress.reused >= 1
    assert not result.progress.failed


def test_submit_scores(run: Run, part: Callable[..., str], tmp_path: Path) -> None:
    home = ("--home", str(tmp_path / "runs"))
    status, answer, err = run("submit", part(MEAN, "mean"), *TINY, "--json", *home)
    assert status == 0
    assert answer.keys() >= SUBMISSION
    assert (answer["name"], answer["verdict"], answer["of"]) == ("mean.py:Mean", "scored", 3)
    assert answer["rank"] in (1, 2, 3)
    assert 0 <= answer["robust_accuracy"] <= answer["clean_accuracy"] <= 1
    assert "a part that prints" not in err
    edited = MEAN.replace(".abs()", ".square()")
    time.sleep(0.02)
    status, again, _ = run("submit", part(edited, "mean"), *TINY, "--json", *home)
    assert (status, again["of"]) == (0, 3)  # the new version replaces the old one


def test_submit_takes_the_name_of_a_part_with_a_nested_victim(run: Run) -> None:
    status, answer, _ = run("submit", "linear_map_svm", *TINY, "--json")
    assert (status, answer["verdict"]) == (0, "scored")
    assert answer["name"] == "linear_map_svm"


def test_submit_rejects_with_the_reason(run: Run, part: Callable[..., str]) -> None:
    nan = MEAN.replace(".abs()", " / 0 * 0")
    status, answer, _ = run("submit", part(nan, "nan"), *TINY, "--json")
    assert (status, answer["verdict"], answer["rank"]) == (1, "rejected", None)
    assert "not finite" in answer["reason"]


def test_submit_fails_with_the_reason(run: Run, part: Callable[..., str]) -> None:
    status, answer, _ = run("submit", part(LATE, "late"), *TINY, "--set", "inputs=12", "--json")
    assert (status, answer["verdict"]) == (1, "failed")
    assert "KeyError: 'twelve'" in answer["reason"]


def test_check(run: Run, part: Callable[..., str]) -> None:
    status, findings, _ = run("check", "defense/bit_depth", "--json")
    assert status == 0
    assert all(finding["passed"] for finding in findings)
    status, findings, _ = run("check", part(MEAN.replace(".abs()", " / 0"), "inf"), "--json")
    assert status == 1
    assert not findings[-1]["passed"]
    assert "FAILED" in run("check", part(MEAN.replace(".abs()", " / 0"), "inf"))[1]


def test_from_python(tmp_path: Path) -> None:
    import harness

    grid = {
        "datasets": ["digits"], "victims": [{"mlp": {"epochs": 3, "width": 32}}], "attacks": ["fgsm"], "inputs": 8,
        "threats": [{"norm": "linf", "epsilons": [0.2], "knowledge": ["adaptive"]}],
    }  # fmt: skip
    try:
        raise ValueError("a run inside an except block is no failed run")
    except ValueError:
        result = harness.run(grid, home=tmp_path)
    assert result.tracking_error is None
    assert len(result.records) == 1
    assert callable(harness.score)


def test_python_m_harness_and_help_are_fast() -> None:
    begin = time.process_time()
    done = subprocess.run([sys.executable, "-m", "harness", "--help"], capture_output=True, text=True, check=True)
    assert "submit" in done.stdout
    assert time.process_time() - begin < 1
    usage = subprocess.run([sys.executable, "-m", "harness", "nonsense"], capture_output=True, text=True, check=False)
    assert usage.returncode == 2

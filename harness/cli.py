"""The command line: parses and prints. Progress and messages go to standard error, results to standard output."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import api
from harness.arguments import Parser
from harness.listing import KINDS, described, listed
from harness.printing import dry, effect, left, places, program, report, skips, synchronised, table, verdict
from harness.progress import say

if TYPE_CHECKING:
    from harness.grid import Grid


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; exit status 0, 1 for failed tasks, 2 for a question that cannot be answered, 130 after Ctrl-C."""
    arguments = _parser().parse_args(argv)
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads ruin a machine that others use too
    try:
        status = int(arguments.function(arguments))
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        say("stopped; run the same command again to continue")
        return 130
    except Exception as error:
        if arguments.debug:
            raise
        say(f"harness: {_message(error)}")
        return 2


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full; nothing was lost: make room and run the same command again"
    if isinstance(error, OSError) and error.filename and error.errno in (errno.EACCES, errno.EROFS, errno.ENOTDIR):
        return f"{error.filename}: {error.strerror}; another run folder is chosen by --home or HARNESS_HOME"
    clear = isinstance(error, ValueError | OSError | ImportError | RuntimeError) and str(error)
    return str(error) if clear else f"{type(error).__name__}: {error}"


@contextmanager
def _printing_aside() -> Iterator[None]:
    """What parts print goes to standard error, as standard output carries results only."""
    with redirect_stdout(sys.stderr):
        yield


def _parser() -> argparse.ArgumentParser:
    common = Parser(add_help=False)
    common.add_argument("--home", help="run folder (default: HARNESS_HOME, else ./runs)")
    common.add_argument("--json", action="store_true", help="print one JSON object")
    common.add_argument("--debug", action="store_true", help="show tracebacks")
    parser = Parser(
        "harness",
        description="Evaluate adversarial robustness: cross attacks and defenses, judge, record, rank.",
        epilog="begin with: harness run quick; harness new defense my_defense; the ranking: leaderboard --help",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, function: Any, text: str) -> Parser:
        command = commands.add_parser(name, help=text, description=text, parents=[common])
        command.set_defaults(function=function)
        return command

    listing = add("list", listed, "list the parts, of one kind or all")
    listing.add_argument("kind", nargs="?", help=", ".join((*KINDS, "grid")))
    add("show", described, "show a part: its docstring and parameters").add_argument("part", help="NAME or KIND/NAME")
    checked = "a folder, file.py:Class, NAME or KIND/NAME"
    add("check", _check, "run the contract tests of a part").add_argument("part", help=checked)
    add("data", _data, "get a data set and verify it").add_argument("name", help="see harness list dataset")
    run, status = add("run", _run, "run a grid"), add("status", _status, "what of a grid is done, pending, failed")
    for command in (run, status):
        command.add_argument("grid", help="a shipped grid (harness list grid) or a YAML file")
        _grid_options(command)
    _run_options_of(run)
    _run_options_of(status, hidden=True)  # of a run's command line only the first word need be changed
    run.add_argument("--dry-run", action="store_true", help="print the tasks and stop")
    new = add("new", _new, "begin a submission: a folder with a working defense, its card and its test")
    new.add_argument("kind", choices=("defense",))
    new.add_argument("name", help="such as my_defense; the folder bears it")
    submit = add("submit", _submit, "check a defense, run the official grid on it, print its rank")
    submit.add_argument("defense", help="a folder, file.py:Class, or the name of a part")
    attack = add(
        "submit-attack", _submit_attack, "check an attack, add it to the official grid, print what only it breaks"
    )
    attack.add_argument("attack", help="file.py:Class, or the name of a part")
    for command in (submit, attack):
        command.add_argument("--trusted", action="store_true", help="run its code in this process; the row says so")
        command.add_argument("--require-isolation", action="store_true", help="refuse where bubblewrap does not work")
        command.add_argument("--limits", default="", metavar="NAME=NUMBER,...", help=_limits_help())
    examples = add(
        "submit-examples", _submit_examples, "add adversarial inputs for a system, print what only they break"
    )
    examples.add_argument("system", help="a line of the grid's defenses, such as none or 'bit_depth: {bits: 3}'")
    examples.add_argument("file", help="safetensors with x (N, *S), values in [0, 1]")
    examples.add_argument("--by", default="", help="who found them")
    for command in (submit, attack, examples):
        command.add_argument("--grid", default="official", help="the grid that ranks (default: official)")
        _grid_options(command)
        _run_options_of(command)
    selftest = add("selftest", _selftest, "score an attack: what it finds of what is known to be there")
    selftest.add_argument("attack", help="a name, file.py:Class, or a grid's line such as 'pgd: {steps: 10}'")
    selftest.add_argument("--dataset", default="digits", help="a name or a grid's line (default: digits)")
    selftest.add_argument("--victim", default="cnn", help="a name or a grid's line (default: cnn)")
    selftest.add_argument("--norm", choices=("linf", "l2"), help="default: each of these that the attack has")
    selftest.add_argument("--epsilon", help="of --norm (default: 0.15 in linf, 1 in l2)")
    selftest.add_argument("--inputs", type=int, default=100, metavar="N", help="number of test inputs (default: 100)")
    selftest.add_argument(
        "--part", action="append", help="only this: binarisation, inverted or broken; may be repeated"
    )
    selftest.add_argument("--device", type=_device, default="cpu", help="cpu or cuda (default: cpu)")
    selftest.add_argument("--executor", choices=("serial", "processes", "ray"), help="as for run")
    add("sync", _sync, "write to MLflow what the records hold and MLflow lacks")
    ui = add("ui", _ui, "open MLflow's UI on the run folder")
    ui.add_argument("--port", type=int, default=5000, help="of the server started here (default: 5000)")
    ui.add_argument("--no-browser", action="store_true", help="print the address only")
    return parser


def _grid_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--size", choices=("smoke", "dev", "official"), help="how much of the grid (see its `sizes`)")
    command.add_argument("--set", action="append", default=[], metavar="KEY=YAML", help="replace a key of the grid")
    command.add_argument("--limit", type=int, metavar="N", help="attack at most N inputs")
    command.add_argument(
        "--store",
        metavar="URL",
        help="where results stand: a folder or a URL such as s3://bucket/run (else HARNESS_STORE)",
    )


def _run_options_of(command: argparse.ArgumentParser, *, hidden: bool = False) -> None:
    """hidden: accepted, for a command line with another word in front, and not told of."""

    def told(text: str) -> str:
        return argparse.SUPPRESS if hidden else text

    command.add_argument("--device", type=_device, default="cpu", help=told("cpu or cuda (default: cpu)"))
    executors = ("serial", "processes", "ray")
    text = told("serial, processes or ray (default: processes, one a core; serial on a GPU)")
    command.add_argument("--executor", choices=executors, metavar="NAME", help=text)
    text = told("do not write to MLflow now (harness sync does it later)")
    command.add_argument("--no-track", action="store_true", help=text)


def _device(text: str) -> str:
    kind, colon, number = text.partition(":")
    if kind not in ("cpu", "cuda") or (colon and not number.isdecimal()):
        raise argparse.ArgumentTypeError(f"takes cpu, cuda or cuda:1, not '{text}'")
    return text


def _changes(arguments: argparse.Namespace) -> dict[str, Any]:
    import yaml

    changes: dict[str, Any] = {}
    for text in arguments.set:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set takes KEY=YAML, such as attacks='[fgsm, pgd]', not '{text}'")
        try:
            changes[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"--set {text}: not YAML: {' '.join(str(error).split())}") from None
    if arguments.limit is not None:
        if arguments.limit < 1:
            raise ValueError(f"--limit takes a whole number above 0, not {arguments.limit}")
        read = api.read_grid(arguments.grid, size=arguments.size, changes=changes)
        changes["inputs"] = min(arguments.limit, read.inputs)
    return changes


def _executor(arguments: argparse.Namespace) -> str:
    return str(arguments.executor or ("serial" if arguments.device.startswith("cuda") else "processes"))


def _check(arguments: argparse.Namespace) -> int:
    from harness import check
    from harness.submission import named

    part = named(arguments.part) if Path(arguments.part).expanduser().is_dir() else arguments.part
    with _printing_aside():
        findings = check.check(part)
    if arguments.json:
        print(json.dumps([{"test": f.test, "passed": f.passed, "message": f.message} for f in findings]))
    else:
        for finding in findings:
            print(
                f"{'ok    ' if finding.passed else 'FAILED'} {finding.test}"
                + (f": {finding.message}" if finding.message else "")
            )
    return 0 if all(f.passed for f in findings) else 1


def _data(arguments: argparse.Namespace) -> int:
    from harness.data import part_hash
    from harness.spec import build, label, parse

    api.home_folder(arguments.home)
    (spec,) = parse("dataset", arguments.name)
    dataset = build(spec)
    parts = {}
    for part in ("train", "fit", "calibrate", "test"):
        parts[part] = {"inputs": len(dataset.split(part)), "sha256": part_hash(spec, part)}
    answer = {
        "name": label(spec),
        "files": [str(path) for path in dataset.files()],
        "note": getattr(dataset, "note", ""),
        "parts": parts,
    }
    if arguments.json:
        print(json.dumps(answer))
        return 0
    print(f"{answer['name']} {answer['note']}".rstrip())
    for part, facts in parts.items():
        print(f"  {part:10} {facts['inputs']:6} inputs, sha256 {str(facts['sha256'])[:16]}…")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from harness.found import with_found

    grid = api.read_grid(arguments.grid, size=arguments.size, changes=_changes(arguments))
    _note(grid)
    if arguments.dry_run:
        return dry(api.plan_of(with_found(grid, api.home_folder(arguments.home))), arguments)
    options = {"device": arguments.device, "executor": _executor(arguments), "track": not arguments.no_track}
    with _printing_aside():
        result = api.run(grid, home=arguments.home, store=arguments.store, **options)
    return report(result, arguments)


def _note(grid: Grid) -> None:
    """Say at once where a grid is not run as it was asked for."""
    if grid.note:
        say(f"note: {grid.note}")


def _status(arguments: argparse.Namespace) -> int:
    from harness.found import with_found
    from harness.status import status
    from harness.store import store_of

    home = api.home_folder(arguments.home)
    grid = api.read_grid(arguments.grid, size=arguments.size, changes=_changes(arguments))
    _note(grid)
    plan = api.plan_of(with_found(grid, home))
    answer = status(plan, store_of(home, arguments.store))
    if arguments.json:
        print(json.dumps(answer))
        return 0
    print(
        f"{answer['total']} tasks: {answer['done']} done, {answer['pending']} pending, {len(answer['failed'])} failed"
    )
    if answer["pending"]:
        print(left(answer))
    for failure in answer["failed"]:
        print(f"failed: {failure['task']}: {failure['error']}")
    skips(plan.skips, most=2)
    return 0


def _new(arguments: argparse.Namespace) -> int:
    from harness import new

    written = new.defense(arguments.name, Path.cwd())
    folder = written[0].parent.relative_to(Path.cwd())
    if arguments.json:
        print(json.dumps({"files": [str(path) for path in written]}))
        return 0
    print("\n".join(str(path.relative_to(Path.cwd())) for path in written))
    say(f"next:  pytest {folder}\n       {program()} submit {folder} --size smoke")
    return 0


def _submit(arguments: argparse.Namespace) -> int:
    from harness.submit import submit

    with _printing_aside():
        answer, result = submit(arguments.defense, **_run_options(arguments), **_trust(arguments))
    if arguments.json:
        print(json.dumps(answer, default=float))
    else:
        own = next((r for r in result.records if r["defense"] == answer["name"]), None) if result is not None else None
        if result is not None:
            table(result)
        verdict(answer, ((own or {}).get("submission") or {}).get("claimed") or {})
        if result is not None:
            places(result, arguments, str(own["id"]) if own else "")
    return 0 if answer["verdict"] == "scored" else 1


def _limits_help() -> str:
    from dataclasses import asdict

    from harness.isolation.policy import Limits

    known = ", ".join(f"{name}={value:g}" for name, value in asdict(Limits()).items())
    return f"what its processes may use: GiB of memory, seconds, MiB of files and of output (default: {known})"


def _limits(text: str) -> dict[str, float]:
    found = {}
    for item in filter(None, text.split(",")):
        name, _, value = item.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise ValueError(f"--limits takes NAME=NUMBER, such as memory=4, not '{item}'") from None
    return found


def _run_options(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        **{name: getattr(arguments, name) for name in ("grid", "size", "home", "device")},
        "changes": _changes(arguments),
        "executor": _executor(arguments),
        "track": not arguments.no_track,
        "store": arguments.store,
    }


def _trust(arguments: argparse.Namespace) -> dict[str, Any]:
    limits = _limits(arguments.limits)
    return {"trusted": arguments.trusted, "require_isolation": arguments.require_isolation, "limits": limits}


def _submit_attack(arguments: argparse.Namespace) -> int:
    from harness.submit_attack import submit_attack

    with _printing_aside():
        answer, _ = submit_attack(arguments.attack, **_run_options(arguments), **_trust(arguments))
    return effect(answer, arguments)


def _submit_examples(arguments: argparse.Namespace) -> int:
    from harness.submit_attack import submit_examples

    with _printing_aside():
        answer, _ = submit_examples(arguments.system, arguments.file, by=arguments.by, **_run_options(arguments))
    return effect(answer, arguments)


def _selftest(arguments: argparse.Namespace) -> int:
    from harness import selftest

    options = {name: getattr(arguments, name) for name in ("dataset", "victim", "norm", "epsilon", "inputs", "device")}
    parts = arguments.part or selftest.PARTS
    with _printing_aside():
        answer = selftest.selftest(
            arguments.attack, parts=parts, home=arguments.home, executor=_executor(arguments), **options
        )
    print(json.dumps(answer, default=float) if arguments.json else selftest.text(answer))
    return 0 if answer["passed"] else 1


def _sync(arguments: argparse.Namespace) -> int:
    answer = api.sync(arguments.home)
    print(json.dumps(answer) if arguments.json else synchronised(answer))
    return 1 if "error" in answer else 0


def _ui(arguments: argparse.Namespace) -> int:
    from harness import ui

    def show(link: str) -> None:
        print(json.dumps({"link": link}) if arguments.json else link, flush=True)
        if not arguments.no_browser:
            import webbrowser

            webbrowser.open(link)

    return ui.serve(api.home_folder(arguments.home), arguments.port, show)

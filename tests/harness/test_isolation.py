"""A submission's process: the same numbers as here, the same gradients, nothing that it may not, one verdict for each end."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.check import Finding, check
from harness.draws import CounterDraws
from harness.isolation import places, rules
from harness.isolation.codec import pack, unpack
from harness.isolation.errors import Died, Rejected, SubmissionError, TimedOut
from harness.isolation.policy import Isolation, Limits
from harness.isolation.remote import Session
from harness.plan import Fitted, Pipeline
from harness.spec import build, parse
from harness.submit import submit
from harness.system import Loaded, System
from harness.types import Outputs, Spec, Split
from harness.views import through

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="isolation is Linux's")

HEAD = """
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
import torch
"""
LIMITS = Limits(answer=40, fit=40, memory=2, output=1, files=16)  # seconds enough on a busy machine


def impatient(isolation: Isolation) -> Isolation:
    """The same with six seconds an answer, for what never answers."""
    return replace(isolation, limits=isolation.limits.changed({"answer": 6, "fit": 6}))


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
        {load}
        def score(x):
            {score}
            return (x - mean).flatten(1).square().sum(1)
        return score
'''
PURIFIER = '''
@dataclass(frozen=True)
class Mine:
    """Rounds, adds noise, loops."""

    role: ClassVar[str] = "purifier"
    random: ClassVar[bool] = True

    def load(self, state, *, victim):
        class Call:
            def __call__(self, x, draws):
                z = x + 0.1 * draws.stream("noise")[torch.arange(len(x))].normal(*x.shape[1:])
                for _ in range(2):
                    with torch.enable_grad():
                        held = z.detach().requires_grad_()
                        (slope,) = torch.autograd.grad((held - 0.5).square().sum(), held)
                    z = z - 0.1 * slope
                return (8 * z).round().div(8).clamp(0, 1)

            def decode(self, z):
                return z.square()

        return Call()
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the submissions of these tests lie: one nursery for all."""
    return tmp_path_factory.mktemp("submissions")


@pytest.fixture(scope="module", params=["bubblewrap", "process"])
def isolation(request: pytest.FixtureRequest, folder: Path) -> Isolation:
    """Each mode that works here."""
    if request.param == "bubblewrap" and not places.bubblewrap():
        pytest.skip("bubblewrap is not installed, or the kernel forbids it")
    return Isolation(request.param, LIMITS, files=(str(folder),))


@pytest.fixture
def write(folder: Path) -> Callable[[str], str]:
    """Write a submission; gives file.py:Mine."""

    def call(body: str) -> str:
        path = folder / f"part_{len(list(folder.iterdir()))}.py"
        path.write_text(HEAD + textwrap.dedent(body), encoding="utf-8")
        return f"{path}:Mine"

    return call


@pytest.fixture
def session(isolation: Isolation) -> Iterator[Session]:
    """A child without states of ours."""
    made = Session(isolation, "cpu", lambda part: {"weights": torch.ones(3)}, ["/nowhere"])
    yield made
    made.abandon()


def loaded(session: Session, text: str, state: bool = False) -> tuple[Spec, Callable[..., Tensor]]:
    """A part behind a small victim, on the other side."""
    (spec,) = parse("defense", text)
    (mlp,) = parse("victim", {"mlp": {"epochs": 1, "width": 8}})
    victim = Fitted(mlp, "victim", True)
    session.state = lambda part: VICTIM if part.key == "victim" else {"mean": torch.full((1, 8, 8), 0.5)}
    part = Fitted(spec, "part", state)
    return spec, session.defense(part, Pipeline(Spec.of("dataset", "digits"), victim, (part,)))


def _victim() -> dict[str, Tensor]:
    from harness.types import Split

    (mlp,) = parse("victim", {"mlp": {"epochs": 1, "width": 8}})
    x = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    state: dict[str, Tensor] = build(mlp).fit(Split(x, torch.arange(64) % 10, torch.arange(64), 10))
    return state


VICTIM = _victim()
X = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
DRAWS = CounterDraws("secret", torch.arange(6))


def systems(session: Session, text: str) -> tuple[System, System]:
    """The same system with the part on the other side and here."""
    spec, there = loaded(session, text)
    (mlp,) = parse("victim", {"mlp": {"epochs": 1, "width": 8}})
    victim = build(mlp).load(VICTIM)
    here = build(spec).load({}, victim=victim)
    parts = (Loaded("purifier", "mine", call, True) for call in (there, here))
    one, other = (System(victim, (part,)) for part in parts)
    return one, other


@pytest.mark.parametrize("estimator", ["own", "smooth", "unrolled", "identity"])
def test_values_and_gradients_are_those_of_the_same_code_here(
    session: Session, write: Callable[[str], str], estimator: str
) -> None:
    found = []
    for system in systems(session, write(PURIFIER)):
        x = X.clone().requires_grad_()
        outputs = through(system, estimator)(x, DRAWS)
        slopes = torch.autograd.grad(outputs.logits[:, 3].sum(), x, retain_graph=True, allow_unused=True)[0]
        again = torch.autograd.grad(outputs.logits[:, 1].sum(), x, allow_unused=True)[0]
        found.append((outputs.logits.detach(), slopes, again))
    for one, other in zip(*found, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_what_a_part_offers_is_offered_here(session: Session, write: Callable[[str], str]) -> None:
    _, there = loaded(session, write(PURIFIER))
    assert hasattr(there, "decode")
    assert not hasattr(there, "surrogate")
    assert not hasattr(there, "__dict__x")
    decode = there.decode  # type: ignore[attr-defined]
    torch.testing.assert_close(decode(X), X.square())
    torch.testing.assert_close(decode.pushed(X, torch.ones_like(X)), 2 * X)


def test_the_key_of_draws_is_not_told(session: Session, write: Callable[[str], str]) -> None:
    body = PURIFIER.replace(
        "z = x +", "assert not hasattr(draws, 'key') and not hasattr(draws, 'index')\n                z = x +"
    )
    _, there = loaded(session, write(body))
    assert there(X, DRAWS).shape == X.shape


def test_graphs_are_forgotten_when_results_are(session: Session, write: Callable[[str], str]) -> None:
    _, there = loaded(session, write(PURIFIER))
    for _ in range(3):
        there(X.clone().requires_grad_(), DRAWS).sum()
    there(X, DRAWS)
    assert not session.endpoint.released
    assert session.ask("kept") == 0
    assert not session.endpoint.objects or len(session.endpoint.objects) <= 8  # draws of questions that are remembered


def test_batches_larger_than_the_memory_that_is_shared(session: Session, write: Callable[[str], str]) -> None:
    _, there = loaded(session, write(DETECTOR.format(fit="pass", load="pass", score="pass")), state=True)
    x = torch.rand(40_000, 1, 8, 8)
    torch.testing.assert_close(there(x), (x - 0.5).flatten(1).square().sum(1))


def finding(isolation: Isolation, text: str) -> Finding:
    """What the contract tests stumble over first."""
    return next(f for f in check(text, kind="defense", isolation=isolation) if not f.passed)


BROKEN = {
    "raises": ({"score": "raise KeyError('here')"}, "failed", "KeyError: 'here'"),
    "missing package": ({"load": "import no_such_package"}, "failed", "No module named 'no_such_package'"),
    "NaN": ({"score": "return x.flatten(1).sum(1) * float('nan')"}, "rejected", "not finite"),
    "sleeps": ({"score": "import time; time.sleep(1e6)"}, "timed out", "no answer within 6 s"),
    "forks": ({"score": "import os; os.fork()"}, "rejected", "starts a process"),
    "socket": ({"fit": "import socket; socket.socket()"}, "rejected", "opens a socket"),
    "memory": ({"fit": "held = [torch.ones(1 << 24) for _ in range(1 << 12)]"}, "over memory", "more than 2 GiB"),
    "at once": ({"fit": "torch.ones(1 << 40)"}, "over memory", "more than 2 GiB"),
    "writes": (
        {"fit": "open('/var/tmp/harness-test', 'w')"},
        "rejected",
        "writes outside its folder: /var/tmp/harness-test",
    ),
    "replaces": ({"load": "torch.argmax = max"}, "rejected", "replaces torch.argmax"),
    "exits": ({"score": "import os; os._exit(7)"}, "failed", "its process ended with status 7"),
    "prints": ({"score": "for _ in range(99): print('x' * (1 << 20))"}, "failed", "prints more than 1 MiB"),
    "unpickles": ({"fit": "import pickle; pickle.loads(pickle.dumps(torch.Size()))"}, "rejected", "unpickles"),
    "changes": ({"score": "return x.flatten(1).sum(1) + torch.rand(len(x))"}, "rejected", "answers"),
    "crashes": ({"score": "import ctypes; ctypes.string_at(0)"}, "failed", "SIGSEGV"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_every_end_has_its_verdict(isolation: Isolation, write: Callable[[str], str], name: str) -> None:
    changes, verdict, message = BROKEN[name]
    isolation = impatient(isolation) if verdict == "timed out" else isolation
    found = finding(isolation, write(DETECTOR.format(**{"fit": "pass", "load": "pass", "score": "pass", **changes})))
    assert (found.verdict, message in found.message) == (verdict, True), found


def test_what_was_asked_before_is_not_remembered(isolation: Isolation, write: Callable[[str], str]) -> None:
    body = """
@dataclass(frozen=True)
class Mine:
    \"\"\"A purifier that gives the first batch it was asked about another answer.\"\"\"

    role: ClassVar[str] = "purifier"

    def load(self, state, *, victim):
        first = []

        def purify(x):
            first.extend([] if first else [float(x.mean())])
            return (x + first[0]).clamp(0, 1)

        return purify
"""
    found = finding(isolation, write(body))
    assert found.verdict == "rejected"
    by_chance, in_any_case = (
        "in a process that saw nothing before",
        "asked for other inputs first, it gives different answers",
    )
    assert by_chance in found.message or in_any_case in found.message  # which of the questions are asked again is drawn


ENDLESS = {
    "asks for ever": ("draws", "while True: draws.uniform(1)"),
    "sends a byte at a time": (
        "draws",
        """import gc, struct, time
                (channel,) = [thing for thing in gc.get_objects() if type(thing).__name__ == 'Channel']
                channel.link.sendall(struct.pack('<Q', 1 << 19))
                while True:
                    time.sleep(0.5)
                    channel.link.sendall(b' ')""",
    ),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_no_way_of_talking_lasts_for_ever(isolation: Isolation, write: Callable[[str], str], name: str) -> None:
    session = Session(impatient(isolation), "cpu", lambda part: {"weights": torch.ones(3)}, ["/nowhere"])
    _, there = loaded(session, write(PURIFIER.replace("z = x +", f"{ENDLESS[name][1]}\n                z = x +")))
    begin = time.monotonic()
    with pytest.raises(TimedOut, match="no answer within 6 s"):
        there(X, DRAWS)
    assert time.monotonic() - begin < 20
    session.abandon()


def test_a_message_cannot_fill_the_memory_of_the_judge(session: Session, write: Callable[[str], str]) -> None:
    body = """import gc, json, struct
            (channel,) = [thing for thing in gc.get_objects() if type(thing).__name__ == 'Channel']
            content = json.dumps({'answer': None, 'tensors': [['uint8', [1 << 20], 0]] * 1000}).encode()
            channel.link.sendall(struct.pack('<Q', len(content)) + content)"""
    _, there = loaded(session, write(DETECTOR.format(fit="pass", load="pass", score=body)), state=True)
    with pytest.raises(Rejected, match="lie over one another"):
        there(X)


def test_shared_memory_counts(isolation: Isolation, write: Callable[[str], str]) -> None:
    body = "import mmap, time; held = mmap.mmap(-1, 3 << 30); [held.write(bytes(1 << 24)) for _ in range(192)]; time.sleep(9)"
    found = finding(isolation, write(DETECTOR.format(fit=body, load="pass", score="pass")))
    assert found.verdict == "over memory", found


def test_labels_among_the_libraries_are_out_of_reach(isolation: Isolation, write: Callable[[str], str]) -> None:
    body = "from sklearn.datasets import load_digits; raise RuntimeError(len(load_digits().target))"
    found = finding(isolation, write(DETECTOR.format(fit=body, load="pass", score="pass")))
    assert "/sklearn/datasets/data" in found.message or "digits.csv.gz" in found.message


@pytest.mark.parametrize("mode", ["bubblewrap", "process"])
def test_a_run_folder_inside_the_submission_is_hidden(tmp_path: Path, mode: str) -> None:
    """Its own folder may be read, and the packages that it requires, but not the results that lie in it."""
    if mode == "bubblewrap" and not places.bubblewrap():
        pytest.skip("bubblewrap is not installed, or the kernel forbids it")
    packages = tmp_path / "runs" / "environments" / "a"
    packages.mkdir(parents=True)
    (packages / "required.py").write_text("value = 3")
    (tmp_path / "runs" / "record.json").write_text("labels")
    (tmp_path / "beside.py").write_text("value = 4")
    for number in range(3000):  # more names than a command line holds
        (tmp_path / f"a_picture_of_something_{number}.png").touch()
    body = f"""import ctypes, beside, required
        got = ctypes.CDLL(None).open({str(tmp_path / "runs" / "record.json").encode()!r}, 0)
        raise RuntimeError((got, beside.value, required.value))"""
    part = tmp_path / "part.py"
    part.write_text(HEAD + textwrap.dedent(DETECTOR.format(fit=body, load="pass", score="pass")), encoding="utf-8")
    (spec,) = parse("defense", f"{part}:Mine")
    isolation = Isolation(mode, LIMITS, packages=str(packages), files=(str(tmp_path),))
    made = Session(isolation, "cpu", lambda part: VICTIM, [str(tmp_path / "runs")])
    (mlp,) = parse("victim", {"mlp": {"epochs": 1, "width": 8}})
    context = Pipeline(Spec.of("dataset", "digits"), Fitted(mlp, "victim", True))
    with pytest.raises(SubmissionError, match=r"RuntimeError: \(-1, 4, 3\)"):
        made.fit(Fitted(spec, "part", True), context, "key", Split(X, torch.arange(6), torch.arange(6), 10))
    made.abandon()


def test_libraries_work(isolation: Isolation, write: Callable[[str], str]) -> None:
    body = """from sklearn.decomposition import PCA; import timm
        raise RuntimeError(PCA(2).fit(data.x.flatten(1).numpy()).n_components_)"""
    found = finding(isolation, write(DETECTOR.format(fit=body, load="pass", score="pass")))
    assert found.message == "RuntimeError: 2"


def test_nothing_stays_for_the_next(isolation: Isolation, write: Callable[[str], str]) -> None:
    body = """import os, tempfile
        place = os.path.dirname(tempfile.gettempdir())
        for call in (lambda: os.utime(place, (7, 7)), lambda: os.setxattr(place, 'user.x', b'x'), lambda: os.chmod(place, 0o711)):
            try:
                call()
            except OSError as error:
                print(error)
            else:
                raise RuntimeError('done')
        raise RuntimeError('refused: ' + str(sorted(os.listdir(tempfile.gettempdir()))))"""
    found = finding(isolation, write(DETECTOR.format(fit=body, load="pass", score="pass")))
    assert "refused: []" in found.message, found


@pytest.mark.parametrize(
    "source", ["class Mine:\n    x: int = " + "-" * 20000 + "1", "class Mine:\n    z: ClassVar[dict] = {[]: 1}"]
)
def test_sources_that_are_hard_to_read_have_a_verdict(tmp_path: Path, source: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source, encoding="utf-8")
    answer, _ = submit(f"{path}:Mine", grid="quick", home=tmp_path / "runs")
    assert answer["verdict"] == "failed"


SYSTEM_CALLS = {
    "fork": "57",
    "socket": "41, 2, 1, 0",
    "ptrace": "101, 0, 0, 0, 0",
    "kill": "62, 1, 0",
    "unshare": "272, 0x10000000",
    "execve": "59, b'/bin/true', 0, 0",
    "rt_sigqueueinfo": "129, 1, 0, 0",
    "prlimit64": "302, 1, 7, 0, 0",
    "fcntl": "72, 0, 8, 1",
    "sethostname": "170, b'x', 1",
    "memfd_create": "319, b'x', 0",
    "memfd_secret": "447, 0",
    "io_uring_setup": "425, 8, ctypes.create_string_buffer(120)",
    "userfaultfd": "323, 0",
    "pidfd_open": "434, 1, 0",
    "setsid": "112",
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")
@pytest.mark.parametrize("name", SYSTEM_CALLS)
def test_the_kernel_refuses_what_the_interpreter_does_not_see(
    isolation: Isolation, write: Callable[[str], str], name: str
) -> None:
    call = f"import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); got = libc.syscall({SYSTEM_CALLS[name]})"
    body = f"{call}; raise RuntimeError(f'got {{got}}, {{os.strerror(ctypes.get_errno())}}')"
    found = finding(
        isolation, write(DETECTOR.format(fit=body, load="pass", score="pass").replace("{{", "{").replace("}}", "}"))
    )
    assert "got -1, Operation not permitted" in found.message


def test_files_are_out_of_reach(isolation: Isolation, write: Callable[[str], str], tmp_path: Path) -> None:
    secret = tmp_path / "labels.txt"
    secret.write_text("7")
    body = f"import ctypes; raise RuntimeError(str(ctypes.CDLL(None).open({str(secret).encode()!r}, 0)))"
    found = finding(isolation, write(DETECTOR.format(fit=body, load="pass", score="pass")))
    assert "RuntimeError: -1" in found.message


def test_an_answer_that_changes_between_questions(session: Session, write: Callable[[str], str]) -> None:
    body = DETECTOR.format(
        fit="pass", load="asked = [0]", score="asked[0] += 1\n            if asked[0] > 3: return -x.flatten(1).sum(1)"
    )
    _, there = loaded(session, write(body), state=True)
    with pytest.raises(Rejected, match="dishonesty: 6 of 6 answers are others"):
        _ = [there(X) for _ in range(20)]


def test_no_inputs_have_no_answers(session: Session, write: Callable[[str], str]) -> None:
    _, there = loaded(session, write(DETECTOR.format(fit="pass", load="pass", score="pass")), state=True)
    for _ in range(8):
        assert there(X[:0]).shape == (0,)
    session.end()


def test_after_its_end_nothing_is_answered(session: Session, write: Callable[[str], str]) -> None:
    _, there = loaded(
        session, write(DETECTOR.format(fit="pass", load="pass", score="import os; os._exit(3)")), state=True
    )
    for _ in range(2):
        with pytest.raises(Died, match="status 3"):
            there(X)


def test_bad_messages_are_refused() -> None:
    for packed in (
        {"$": "tensor", "at": 3},
        {"$": "data", "type": "Popen", "fields": {}},
        {"$": "nothing"},
        {},
        {"$": "tuple"},
    ):
        with pytest.raises(ValueError, match="cannot be read"):
            unpack(packed, [], lambda given: given)
    with pytest.raises(TypeError):
        pack(object(), [], _refuse)


def _refuse(value: object) -> dict[str, object]:
    raise TypeError(type(value).__name__)


def test_values_come_back_as_they_were() -> None:
    tensors: list[Tensor] = []
    value = {
        "a": (1, 2.5, None, float("inf")),
        "b": [Spec.of("attack", "pgd", steps=3), Path("x")],
        3: Outputs(X, None),
    }
    packed = pack(value, tensors, _refuse)
    back = unpack(packed, tensors, lambda given: given)
    assert back["a"] == value["a"]
    assert back["b"] == value["b"]
    assert torch.equal(back[3].logits, X)


@pytest.mark.parametrize(
    ("event", "arguments", "rule"),
    [
        ("open", ("/own/x", "w", os.O_WRONLY), None),
        ("open", ("/other/x", "w", os.O_WRONLY), "writes outside its folder: /other/x"),
        ("open", ("/closed/x", "r", 0), "reads what it may not: /closed/x"),
        ("open", ("/closed/given/x", "r", 0), None),
        ("open", ("/closed-not/x", "r", 0), None),
        ("open", (3, "r", 0), None),
        ("os.remove", ("/other/x", -1), "writes outside its folder: /other/x"),
        ("os.mkdir", ("/own/x", 511, -1), None),
        ("import", ("x", None, None, None, None), None),
    ],
)
def test_rules(event: str, arguments: tuple[object, ...], rule: str | None) -> None:
    found = rules.rule_of(event, arguments, own="/own", closed=["/closed"], given=["/closed/given"])
    assert found == rule


def test_limits_are_numbers_above_zero() -> None:
    assert Limits().changed({"memory": 2}).memory == 2
    with pytest.raises(ValueError, match="unknown limit 'memroy'; known: memory"):
        Limits().changed({"memroy": 2})
    with pytest.raises(ValueError, match="number above 0"):
        Limits().changed({"memory": 0})

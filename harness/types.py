"""The vocabulary: what a part is, what it is given and what it gives back.

Declarations only; nothing of ours is imported, and torch only for the type checkers, so that reading names stays fast.
Shapes: B batch, S input shape, D = prod S, K classes, F features. Inputs lie in [0, 1]; a larger score is more suspicious.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, cast

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

State = dict[str, "Tensor"]
Checkpoint = Mapping[str, Any]  # of a training: nested dicts, lists and tuples of tensors, numbers, texts and None
Part = Literal["train", "fit", "calibrate", "test"]
Norm = Literal["linf", "l2", "l1", "l0", "patch"]
Knowledge = Literal["oblivious", "adaptive"]
Needs = Literal["gradient", "logits", "decision", "margin"]


@dataclass(frozen=True)
class Spec:
    """A part by name and parameters, as data: hashable, comparable, and allowed as the default of a parameter.

    The victim name "self" stands for the victim of the row, with the given parameters replaced.
    """

    kind: str
    name: str
    params: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, kind: str, name: str, /, **params: Any) -> Spec:
        """Build a Spec from keywords: `Spec.of("attack", "pgd", steps=10)`."""
        return cls(kind, name, tuple(sorted(params.items())))


@dataclass(frozen=True)
class Skip:
    """A combination that makes no sense, with the reason; shown and counted, never an exception."""

    reason: str


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its 95 % confidence interval."""

    value: float
    low: float
    high: float


class Draws(Protocol):
    """Random numbers that depend on (key, stream, input index, draw) and on nothing else: not on batch, shard or device."""

    def uniform(self, *shape: int, draw: int = 0) -> Tensor:
        """Uniform numbers in [0, 1), one row for each input: (B, *shape) float32."""
        ...

    def normal(self, *shape: int, draw: int = 0) -> Tensor:
        """Standard normal numbers, one row for each input: (B, *shape) float32."""
        ...

    def integers(self, high: int, *shape: int, draw: int = 0) -> Tensor:
        """Integers in 0 .. high - 1, one row for each input: (B, *shape) int64."""
        ...

    def stream(self, name: str | int) -> Draws:
        """Independent numbers for the same inputs, under a name."""
        ...

    def __getitem__(self, rows: Tensor) -> Draws:
        """The same numbers for some of the inputs: rows is a boolean mask or indices."""
        ...


@dataclass(frozen=True)
class Split:
    """Inputs of one part of a data set, with all that identifies them.

    x (N, *S) float32 in [0, 1]; y (N,) int64; index (N,) int64 names each input for draws and for pairing.
    levels: inputs lie on the grid of multiples of 1 / levels (None: any float). draws are set by the harness.
    """

    x: Tensor
    y: Tensor
    index: Tensor
    num_classes: int
    levels: int | None = 255
    draws: Draws = cast("Draws", None)  # noqa: RUF009 - there are none until the harness sets them

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: Tensor) -> Split:
        """Some of the inputs: rows is a boolean mask or indices."""
        return Split(
            self.x[rows],
            self.y[rows],
            self.index[rows],
            self.num_classes,
            self.levels,
            self.draws[rows] if self.draws is not None else self.draws,
        )


@dataclass(frozen=True)
class Budget:
    """What an attack may change: norm and epsilon (infinite for minimal-norm attacks), at most `queries` a input.

    For the norm "patch" epsilon is the side, in pixels, of a square outside of which nothing may change.
    """

    norm: Norm
    epsilon: float
    queries: int | None = None


@dataclass(frozen=True)
class Threat:
    """The claim that a number is about: norm, epsilon and what the attacker knows."""

    norm: Norm
    epsilon: float
    knowledge: Knowledge


class Logits(Protocol):
    """A classifier: (B, *S) -> (B, K), differentiable."""

    def __call__(self, x: Tensor, /) -> Tensor: ...


class Network(Logits, Protocol):
    """A classifier that shows its penultimate layer: logits = head(features(x))."""

    def features(self, x: Tensor, /) -> Tensor:
        """Penultimate layer: (B, *S) -> (B, F), differentiable."""
        ...

    def head(self, features: Tensor, /) -> Tensor:
        """Last layer: (B, F) -> (B, K), differentiable."""
        ...


class Score(Protocol):
    """A detector's score: (B, *S) -> (B,), larger = more suspicious. A random part takes (x, draws) instead.

    An optional method `surrogate(x) -> (B,)` is differentiated in its place.
    """

    def __call__(self, x: Tensor, /) -> Tensor: ...


class Purify(Protocol):
    """A purifier: (B, *S) -> (B, *S) in [0, 1]. A random part takes (x, draws) instead.

    An optional method `surrogate(x) -> (B, *S)` is differentiated in its place.
    """

    def __call__(self, x: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class Outputs:
    """What one pass of a system gives: logits (B, K), and for systems that may reject, margin (B,).

    margin = system score - threshold in calibrated units; an input is accepted iff margin <= 0.
    """

    logits: Tensor
    margin: Tensor | None = None

    def fooled(self, y: Tensor) -> Tensor:
        """Wrong and accepted: (B,) bool."""
        wrong = self.logits.argmax(1) != y
        return wrong if self.margin is None else wrong & (self.margin <= 0)

    def __getitem__(self, rows: Tensor) -> Outputs:
        return Outputs(self.logits[rows], None if self.margin is None else self.margin[rows])


@dataclass(frozen=True)
class Loaded:
    """A part of a running system, as an adaptive attacker sees it: role, name and the callable."""

    role: str
    name: str
    call: Callable[..., Tensor]
    random: bool = False


def _silent(name: str, rows: Tensor, values: Tensor | str) -> None:
    """Nothing is recorded."""


@dataclass(frozen=True)
class View:
    """All that an attacker may call; what is None is not allowed.

    forward(x, draws) -> Outputs is differentiable (through declared surrogates). decide(x, draws) -> (B,) labels, -1 = rejected.
    fooled(candidate, x, y, epsilon, draws) -> (B,) bool is the harness's own verdict: the candidate is rounded to the grid of
    the data inside the ball first. early_exit: an input may leave the search as soon as it is fooled; if False, the
    adversarial inputs serve other systems as well and must come from all steps.
    features(x, draws) -> (B, F): the classifier's penultimate layer behind the purifiers, differentiable. gradients: forward
    passes with the same values and another gradient, by name (harness.gradients.ESTIMATORS). clean: inputs that the
    attacker holds, right and accepted. start (B, *S): where a search at a smaller epsilon ended. stored: what attacks on
    other rows made of the same inputs, (B, *S) by row. evidence: what the probe found. note(name, rows, values) records
    something of inputs `rows`, a number each or one text, shown and never trusted.
    """

    decide: Callable[[Tensor, Draws], Tensor]
    fooled: Callable[[Tensor, Tensor, Tensor, float, Draws], Tensor]
    forward: Callable[[Tensor, Draws], Outputs] | None = None
    parts: tuple[Loaded, ...] | None = None
    num_classes: int = 0
    early_exit: bool = True
    random: bool = False
    features: Callable[[Tensor, Draws], Tensor] | None = None
    gradients: Mapping[str, Callable[[Tensor, Draws], Outputs]] = field(default_factory=dict)
    clean: Split | None = None
    start: Tensor | None = None
    stored: Mapping[str, Tensor] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    note: Callable[[str, Tensor, Tensor | str], None] = _silent

    @classmethod
    def of(cls, logits: Logits, *, early_exit: bool = False) -> View:
        """The view of a bare classifier, for attacks inside a part's `fit` (no rounding, no rejection)."""
        return cls(
            decide=lambda x, draws: logits(x).argmax(1),
            fooled=lambda candidate, x, y, epsilon, draws: logits(candidate).argmax(1) != y,
            forward=lambda x, draws: Outputs(logits(x)),
            early_exit=early_exit,
        )


class Dataset(Protocol):
    """Inputs in four disjoint parts, fixed by a seed."""

    @property
    def num_classes(self) -> int: ...

    def files(self) -> tuple[Path, ...]:
        """The files that the data come from, found or downloaded; raises FileNotFoundError with the places searched."""
        ...

    def split(self, part: Part, /) -> Split:
        """One of the four parts; the order of `test` is fixed, so that its first n inputs are the official n."""
        ...


class Training(Protocol):
    """What looks after a training; given to a part whose `fit` has a keyword parameter `training`, None elsewhere."""

    def resumed(self) -> Checkpoint | None:
        """The last state that was saved under the same task, also by a process that was killed; None where there is none."""
        ...

    def save(self, state: Callable[[], Checkpoint], *, now: bool = False) -> None:
        """Save what `state` gives; it is called only where the last time is long ago, or `now`."""
        ...

    def report(self, step: int, loss: float, total: int | None = None) -> None:
        """The loss after so many steps, of `total`: for the record's curve and for a bar of progress."""
        ...


class Victim(Protocol):
    """A classifier to be attacked; a frozen dataclass of hyperparameters."""

    def fit(self, data: Split) -> State: ...

    def load(self, state: State) -> Network: ...


class Attack(Protocol):
    """A search for adversarial inputs; a frozen dataclass of hyperparameters.

    norms: the norms it can work in. needs: the least that it must be allowed to call. minimal: it looks for the nearest
    adversarial input, is called once with an infinite epsilon and judged at every epsilon.
    A parameter that is a Spec arrives, fitted and loaded, as a keyword argument of `perturb`.
    """

    norms: ClassVar[tuple[str, ...]]
    needs: ClassVar[Needs]
    minimal: ClassVar[bool]

    def perturb(self, view: View, x: Tensor, y: Tensor, budget: Budget, draws: Draws) -> Tensor:
        """Adversarial inputs (B, *S) inside ball and box; the clean input where none was found and none is near."""
        ...


class Manifold(Protocol):
    """A set that data lie on or near, loaded from its state."""

    @property
    def dim(self) -> int:
        """The dimension of the manifold."""
        ...

    def project(self, x: Tensor, /) -> Tensor:
        """The nearest points of the manifold, or near to them: (B, *S) -> (B, *S)."""
        ...

    def distance(self, x: Tensor, /) -> Tensor:
        """Euclidean distance to the manifold: (B, *S) -> (B,)."""
        ...

    def tangent_basis(self, x: Tensor, /) -> Tensor:
        """Orthonormal tangent vectors at the inputs' projections: (B, *S) -> (B, D, d), D values an input."""
        ...


class LatentManifold(Manifold, Protocol):
    """A manifold that is the image of codes."""

    def encode(self, x: Tensor, /) -> Tensor:
        """The code of each input: (B, *S) -> (B, L)."""
        ...

    def decode(self, z: Tensor, /) -> Tensor:
        """The point of each code, differentiable: (B, L) -> (B, *S)."""
        ...


class Detector(Protocol):
    """A defense that scores inputs; role = "detector"."""

    role: ClassVar[Literal["detector"]]

    def load(self, state: State, *, victim: Network) -> Score: ...


class Purifier(Protocol):
    """A defense that changes inputs before they are classified; role = "purifier"."""

    role: ClassVar[Literal["purifier"]]

    def load(self, state: State, *, victim: Network) -> Purify: ...


class TrainingDefense(Protocol):
    """A defense that replaces the classifier; role = "training"."""

    role: ClassVar[Literal["training"]]

    def fit(self, data: Split, *, victim: Network) -> State: ...

    def load(self, state: State, *, victim: Network) -> Network: ...


class Metric(Protocol):
    """A figure of one system from its outcomes (columns record.COLUMNS) and the headline threat; None where it says nothing."""

    higher_is_better: ClassVar[bool]

    def __call__(self, outcomes: pd.DataFrame, headline: Threat, /) -> Interval | None: ...


class Study(Protocol):
    """A pure function of its parameters that returns named tables: a paper's table that is no grid."""

    def run(self, **inputs: Any) -> Mapping[str, list[dict[str, Any]]]: ...


class Measure(Protocol):
    """What a network is like beside its answers: rows of plain values, each with a name, a value, low and high.

    Where a network cannot be measured it gives a Skip with the reason; the record then says so.
    """

    def measure(self, network: Network, dataset: Any, /, **inputs: Any) -> list[dict[str, Any]] | Skip:
        """Rows of one network, trained on a data set; inputs: its nested parts by parameter name."""
        ...


class Shift(Protocol):
    """Inputs that differ from the data set's, or come from elsewhere, without an attacker."""

    def apply(self, x: Tensor, draws: Draws, /) -> Tensor:
        """Shifted inputs from clean ones: (B, *S) -> (B, *S) in [0, 1]."""
        ...

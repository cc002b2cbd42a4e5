"""What opens beneath a row: the answer in words, curves, inputs, attacks, flags, pictures, the command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from leaderboard import _risks, _similarity, _tables, _text
from leaderboard._curve import curves
from leaderboard._gallery import gallery
from leaderboard._history import earlier
from leaderboard._markup import Markup, element, joined
from leaderboard._roc import roc
from leaderboard._row import badges
from leaderboard._strip import strip
from leaderboard._values import interval, mapping, mappings, number, plain
from leaderboard.history import Past
from leaderboard.rows import Board, Flag, Row

_SHOWN = 12


def detail(board: Board, row: Row, past: Past | None = None) -> Markup:
    """All that is known of a system, in sections; those without content are left out."""
    drawn = curves(row.threats, row.metric("clean_accuracy"), board.headline)
    detected = roc(row.record.get("roc"))
    curved = element("div", joined(drawn), class_="curves") if drawn else None
    squares = strip(mapping(row.record.get("per_input")))
    outcomes = joined([squares, element("div", data_inputs=True)]) if squares else None
    sections = [
        _section("Failed tasks", _tables.failures(row), "wide"),
        _section("Accuracy against perturbation size", curved, "wide"),
        _section("Detection under attack", element("div", detected, class_="curves") if detected else None, "wide"),
        _section("What became of each input at the headline threat", outcomes, "wide"),
        _section("Flags", _flags(row), "wide"),
        _section("Attacks", _tables.attacks(board, row), "wide"),
        _section("Where the adversarial risk comes from", _risks.detail(row), "wide"),
        _section("Nearness to the brain", _similarity.detail(row), "wide"),
        _section("Threats", _tables.threats(board, row)),
        _section("Other figures", _tables.figures(row)),
        _section("Shifted and foreign inputs", _tables.shifts(row), "wide"),
        _section("Adversarial images", gallery(row.record.get("gallery")), "wide"),
        _section("Earlier results", earlier(past), "wide"),
        _section("Repeat it", _command(row), "wide"),
        _section("Where it comes from", _provenance(row), "wide"),
    ]
    answer = joined([_answer(board, row), _claim(row), badges(row), element("p", class_="tools", data_tools=True)])
    return element("div", answer, element("div", joined(sections), class_="sections"), class_="detail")


def _section(title: str, content: Markup | None, kind: str = "") -> Markup | None:
    return element("section", element("h3", title), content, class_=kind or None) if content else None


def _answer(board: Board, row: Row) -> Markup:
    """The result in one sentence, and the strongest attack in another."""
    robust = row.metric("robust_accuracy")
    if robust is None:
        return element("p", "No robust accuracy: the system's tasks are not all done.", class_="answer")
    inputs = f" of {_text.whole(number(row.record.get('inputs')))} inputs" if number(row.record.get("inputs")) else ""
    words = f"Holds {_text.percent_interval(robust)} %{inputs} against every attack of {_text.threat(board.headline)}"
    best = _tables.strongest(board.headline, row)
    if best is None:
        return element("p", words + ".", class_="answer")
    left = _text.percent(interval(best.get("robust_accuracy")))
    knowledge = plain(best.get("knowledge"))
    how = f" ({knowledge})" if knowledge != board.headline.knowledge else ""
    alone = f"; the strongest attack alone, {_tables.attack(best)}{how}, leaves {left} %."
    return element("p", words + alone, class_="answer")


def _claim(row: Row) -> Markup | None:
    """What its author claimed beside what was measured, and where the code ran."""
    names = {"robust_accuracy": "robust", "clean_accuracy": "clean"}
    said = [
        f"{names[name]} {_text.share(value)} % claimed, {_text.percent_interval(row.metric(name))} % measured"
        for name, value in row.claims.items()
        if row.metric(name)
    ]
    where = {"bubblewrap": "ran isolated under bubblewrap", "process": "ran in a process with limits"}
    ran = where.get(row.isolation, "ran in the judge's own process, trusted" if row.isolation else "")
    words = "; ".join([*said, *([f"its code {ran}"] if ran else [])])
    return element("p", words[:1].upper() + words[1:] + ".", class_="claim") if words else None


def _flags(row: Row) -> Markup | None:
    if not row.flags:
        return None
    order = {True: 0, None: 1, False: 2}
    items = sorted(row.flags, key=lambda flag: (order[flag.fired], not flag.warning))
    return element("ul", joined(map(_flag, items)), class_="flaglist")


def _flag(flag: Flag) -> Markup:
    state = {True: "fired", False: "did not fire", None: "not evaluated"}[flag.fired]
    kind = ("warning" if flag.warning else "info") if flag.fired else "quiet"
    sign = {True: "⚑" if flag.warning else "○", False: "✓", None: "?"}[flag.fired]
    name = element("span", element("span", sign, class_="sign", aria_hidden="true"), flag.name, class_=f"badge {kind}")
    known = {**({} if flag.value is None else {"value": flag.value}), **flag.evidence}
    evidence = "; ".join(f"{plain(key)}: {_short(value)}" for key, value in known.items())
    words = joined([element("span", state, class_="state"), " ", flag.text.removeprefix(f"{state}: ")])
    return element("li", name, element("span", words, element("small", evidence) if evidence else None))


def _short(value: Any) -> str:
    """A piece of evidence; long lists are cut."""
    if isinstance(value, list):
        rest = f", … ({len(value)})" if len(value) > _SHOWN else ""
        return ", ".join(map(_short, value[:_SHOWN])) + rest if value else "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return plain(json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, Mapping) else value)


def _command(row: Row) -> Markup | None:
    command = plain(row.record.get("command"))
    if not command:
        return None
    return element(
        "div", element("code", command), element("button", "Copy", type="button", data_copy=True), class_="command"
    )


def _provenance(row: Row) -> Markup:
    record, environment = row.record, mapping(row.record.get("environment"))
    known: list[tuple[str, Any]] = [
        ("id", record.get("id")),
        ("grid", record.get("grid")),
        ("written", record.get("created")),
    ]
    if row.origin == "reference":
        known.append(("origin", "a reference: it ships with the package, and an own run takes its place"))
    known += [("MLflow run", record.get("run_id"))]
    known += [(str(name), value) for name, value in environment.items() if name not in ("commit", "dirty")]
    commit = plain(environment.get("commit"))[:12]
    if commit:
        known.append(("commit", commit + (" with uncommitted changes" if environment.get("dirty") is True else "")))
    for part in mappings(record.get("parts")):
        parameters = mapping(part.get("parameters"))
        words = ", ".join(f"{plain(name)} = {_short(value)}" for name, value in parameters.items())
        known.append((plain(part.get("name")), words or "no parameters"))
    return element("dl", joined(_entry(plain(name), plain(value)) for name, value in known if plain(value)))


def _entry(name: str, value: str) -> Markup:
    return element("div", element("dt", name), element("dd", value))

"""The page: whole, escaped, without network, and as good without script for the first rows."""

from __future__ import annotations

import base64
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from leaderboard._pack import unpacked
from leaderboard.html import SHOWN, page, site
from leaderboard.rows import boards

EVIL = "<img src=x onerror=alert(1)>\"'</script><script>alert(2)</script>"
VOID = {"img", "input", "meta", "link", "wbr", "br"}


class Reader(HTMLParser):
    """Counts elements and checks that every one is closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.attributes = [], {}, []

    def handle_starttag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(text):
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


def test_the_page_is_well_formed_and_asks_no_network(made):
    reader = read(made.page(boards(made.store())))
    for tag, name, value in reader.attributes:
        assert name not in ("onclick", "onerror", "onload")
        if name in ("src", "href"):
            assert value.startswith("data:"), (tag, value)
    assert reader.seen["script"] == 2


def test_every_text_of_a_stranger_is_escaped(made):
    def poisoned(value):
        if isinstance(value, dict):
            return {EVIL if name in ("b", "sigma") else name: poisoned(item) for name, item in value.items()}
        if isinstance(value, list):
            return [poisoned(item) for item in value]
        return EVIL if isinstance(value, str) else value

    record = poisoned(made.system(submission={"name": "n", "authors": ["a"]}, shifts=[made.shift("kmnist", 0.5, 0.9)]))
    record["failed"] = [{"task": EVIL, "error": EVIL}]
    record["per_input"]["breaker"] = [EVIL] * len(record["per_input"]["index"])
    reader = read(made.page(boards([record])))
    assert "img" not in reader.seen
    assert reader.seen["script"] == 2
    assert not any(name.startswith("on") for _, name, _ in reader.attributes)


def test_pictures_are_png_or_absent(made):
    picture = {
        "index": 1,
        "clean_png": '" onerror="alert(1)',
        "adversarial_png": base64.b64encode(b"<svg onload=alert(1)>").decode(),
    }
    reader = read(made.page(boards([made.system(gallery=[picture])])))
    assert "img" not in reader.seen
    assert read(made.page(boards([made.system()]))).seen["img"] == 18


def test_an_empty_store_and_all_failed(made):
    assert "No systems yet" in page([])
    text = made.page(boards([made.failed("a"), made.failed("b")]))
    read(text)
    assert "No robust accuracy" in text
    assert "returned NaN" in text


def test_missing_values_and_nan(made):
    needed = ("schema", "suite", "dataset", "victim", "defense", "headline")
    bare = {name: value for name, value in made.system().items() if name in needed}
    odd = made.system(
        metrics={"robust_accuracy": {"value": 0.5}, "clean_accuracy": {"value": math.nan}, "odd": {"value": 12.5}},
        threats=[{"norm": "linf", "epsilon": 0.1, "knowledge": "adaptive", "robust_accuracy": {"value": 0.5}}],
        cells=[{"attack": None}, None, {"attack": "pgd", "robust_accuracy": {"value": math.nan}}],
        flags=[{"name": None, "fired": None, "evidence": {"a": [1.5, None, {"b": math.nan}]}}],
        gallery=[{}],
        environment=None,
        parts=[{"name": "x", "parameters": None}],
        command=None,
        id=None,
    )
    text = made.page(boards([bare, odd]))
    read(text)
    body = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.S)
    assert not re.search(r"\b(nan|inf|None)\b", body)


def test_the_first_rows_stand_in_the_page_and_the_rest_waits(made):
    records = [
        made.system("none", robust=0.0, id=f"{i:016x}", per_input={}, gallery=[], cells=[]) for i in range(SHOWN + 5)
    ]
    text = made.page(boards(records))
    read(text)
    assert text.count('<tr class="system"') == SHOWN
    waiting = made.waiting(text)
    assert waiting["rows"].count('<tr class="system"') == len(waiting["rows"].split("\n")) == 5
    assert waiting["held"] == list(range(SHOWN, SHOWN + 5))
    assert len(json.loads(waiting["facts"])) == SHOWN + 5


def test_details_that_find_no_room_lie_beside_the_page(made):
    records = [made.system(f"a{i}", id=f"{i:016x}") for i in range(4)] + [made.system("b", id="../../evil")]
    roomy, narrow = site(boards(records)), site(boards(records), room=0)
    assert list(roomy) == ["leaderboard.html"]
    assert len(narrow) == 6
    assert made.waiting(narrow["leaderboard.html"])["details"] == {}
    for name, text in narrow.items():
        if name != "leaderboard.html":
            assert re.fullmatch(r"systems/[0-9a-f]{16}\.js", name)
            key, packed = json.loads(f"[{text.removeprefix('boardReceives(').removesuffix(');' + chr(10))}]")
            assert name == f"systems/{key}.js"
            assert len(json.loads(unpacked(packed))["outcomes"]["index"]) == 1000


def test_what_the_script_gets(made):
    waiting = made.waiting(page(boards([made.system("a"), made.failed("b")])))
    (first, second) = json.loads(waiting["facts"])
    (table,) = json.loads(waiting["table"])
    assert first["sort"]["robust"] == 0.5
    assert second["sort"]["rank"] is None
    assert second["filter"]["flags"] == ["without flags", "failed tasks"]
    assert first["filter"]["threat"] == ["ℓ∞ 0.1, adaptive"]
    assert dict(zip(table["columns"], table["lines"][0], strict=True))["robust_accuracy"] == 0.5


def test_every_flag_is_told_with_value_and_evidence(made):
    flags = [made.flag("twins"), made.flag("random", fired=True), made.flag("not-converged", fired=None)]
    text = made.page(boards([made.system(flags=flags)]))
    assert text.count("value: 0.31; b: 31; inputs: 0, 1, 2") == 3
    assert all(state in text for state in ("did not fire", "not evaluated", "fired"))


def test_the_row_says_rank_interval_flags_and_what_broke_it(made):
    flags = [made.flag("zero-gradient", fired=True)]
    text = made.page(boards([made.system("a"), made.system("a", flags=flags)]))
    assert text.count(">=1<label") == 2
    assert "46.9–53.1" in text
    assert re.search(r'class="badge warning"[^>]*><span class="sign" aria-hidden="true">⚑</span>zero-gradient', text)
    assert "the strongest attack alone, pgd(steps=40), leaves" in text
    assert "broken by pgd(steps=40)" in text


def test_foreign_inputs_have_their_figures_in_both_conventions(made):
    text = made.page(boards([made.system("a", shifts=[made.shift("kmnist", 0.62, 0.81)])]))
    titles = re.findall(r'<td[^>]*data-label="([^"]+)"[^>]*>', text)
    shown = dict(re.findall(r'data-label="((?:AU|Accepted where|Clean rej)[^"]*)">([^ <]+)', text))
    assert [shown[name] for name in ("AUROC", "AUPR")] == [".810", ".770"]
    assert shown["Accepted where 95 % of clean are, %"] == "41.0"
    assert shown["Clean rejected where 95 % of these are, %"] == "37.0"
    assert "Detected at 5 %, %" in titles


@pytest.mark.parametrize("number", [1, 99, 100, 101, 1000])
def test_every_input_has_one_outcome(made, number):
    text = made.page(boards([made.system(clean=0.8, robust=0.4, inputs=number)]))
    counts = re.findall(r"<li><svg[^>]*>.*?</svg><b>([\d,]+)</b>", text)
    assert sum(int(count.replace(",", "")) for count in counts) == number


def test_one_epsilon_makes_a_curve_and_none_makes_none(made):
    one = {"norm": "linf", "epsilon": 0.1, "knowledge": "adaptive", "robust_accuracy": made.interval(0.5)}
    assert made.page(boards([made.system(threats=[one])])).count('<figure class="curve">') == 1
    assert made.page(boards([made.system(threats=[])])).count('<figure class="curve">') == 0


def test_the_strongest_attack_may_be_one_that_knows_less(made):
    def cell(value, **axes):
        axes = {"norm": "linf", "epsilon": 0.1, "knowledge": "adaptive", "attack": "pgd"} | axes
        return axes | {"robust_accuracy": made.interval(value)}

    counted = [cell(0.5), cell(0.4, knowledge="oblivious"), cell(0.45, epsilon=0.05)]
    others = [cell(0.1, norm="l2"), cell(0.2, epsilon=0.2), {"attack": "pgd"}]
    text = made.page(boards([made.system(cells=counted + others)]))
    assert "the strongest attack alone, pgd (oblivious), leaves 40.0 %." in text
    oblivious = {"norm": "linf", "epsilon": 0.1, "knowledge": "oblivious"}
    text = made.page(boards([made.system(cells=[cell(0.3), cell(0.6, knowledge="oblivious")], headline=oblivious)]))
    assert "the strongest attack alone, pgd, leaves 60.0 %." in text


def test_what_a_record_said_before_stands_beneath_it(made):
    from leaderboard.history import history

    old = made.system("a", robust=0.6, created="2026-01-01T00:00:00Z")
    new = made.system("a", robust=0.4)
    pasts = history(Path("nowhere"), [old, new])
    text = unpacked(made.waiting(site(boards([new]), pasts=pasts)["leaderboard.html"])["details"]["0"])
    assert "Earlier results" in text
    assert "robust 60.0 → 40.0 (37.0–43.0) %" in text
    assert "Earlier results" not in made.page(boards([new]))

"""The page in Chromium under odd ids and addresses, in poor browsers, by keyboard, with long names."""

from __future__ import annotations

import csv
import io
from contextlib import contextmanager

import numpy as np
import pytest
from scipy import stats

from leaderboard import build
from leaderboard.compare import compare

pytestmark = pytest.mark.browser
IDS = ("", "a,b", "a/b", "100%", "same", "same", "__proto__")


@pytest.fixture(scope="module")
def records(made):
    """Systems with odd ids, long names, random answers, inputs of their own."""
    found = made.store()
    found += [made.system(f"odd{i}", robust=0.2 + i / 100, id=name) for i, name in enumerate(IDS)]
    for name, share in (("drawn", 0.6), ("also_drawn", 0.57)):
        system = made.system(name, robust=0.4, track="random")
        generator = np.random.default_rng(len(name))
        draws = generator.binomial(5, share, len(system["per_input"]["robust"])) / 5
        system["per_input"]["robust"] = (draws * system["per_input"]["robust"]).tolist()
        found.append(system)
    elsewhere = made.system("elsewhere", robust=0.4)
    elsewhere["per_input"]["index"] = [place + 5_000 for place in elsewhere["per_input"]["index"]]
    return [*found, elsewhere]


@pytest.fixture(scope="module")
def url(records, tmp_path_factory):
    return build(records, tmp_path_factory.mktemp("board"))[0].as_uri()


def visit(browser, address):
    browser.get("about:blank")
    browser.get(address)
    waits(browser, "document.documentElement.classList.contains('ready') && !document.querySelector('.waiting')")


def waits(browser, condition):
    script = f"const [done] = arguments; const wait = () => ({condition}) ? done() : setTimeout(wait, 5); wait()"
    browser.execute_async_script(script)


@pytest.fixture
def page(browser, url):
    """The page freshly loaded; afterwards nothing may stand in the console."""
    browser.get_log("browser")
    visit(browser, url)
    yield browser
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def all_of(page, selector):
    return page.find_elements("css selector", selector)


def open_row(page, name):
    button = next(each for each in all_of(page, "[data-board='0'] tbody .name button") if each.text == name)
    button.click()
    waits(page, "!document.querySelector('.waiting')")
    return button


def address(page):
    return page.execute_script("return location.hash")


@contextmanager
def width(page, pixels):
    metrics = {"width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    yield
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("place", range(len(IDS)))
def test_a_row_of_any_id_opens_alone_and_its_address_opens_it_again(page, url, place):
    open_row(page, f"odd{place}")
    assert len(all_of(page, ".detail")) == 1
    visit(page, url + address(page))
    assert [row.text for row in all_of(page, ".system.open .name button")] == [f"odd{place}"]


ADDRESSES = [
    "%",
    "%E0%A4%A",
    "view=__proto__",
    "sort=constructor",
    "victim=nonsense",
    "open=x,y",
    "system=nope",
    "order=up",
]
ADDRESSES += ["compare=a,b,c", "attacks=__proto__+down", "view=risks", "a" * 100_000]


@pytest.mark.parametrize("state", ADDRESSES, ids=lambda state: state[:24])
def test_an_address_that_means_nothing_shows_the_whole_board(page, url, state):
    shown = len(all_of(page, "tr.system"))
    visit(page, f"{url}#{state}")
    assert len(all_of(page, "tr.system")) == shown
    assert all_of(page, "section[data-board]")[0].is_displayed()
    assert all_of(page, ".callout[role=alert]") == []


def test_filters_that_leave_nothing_say_so_and_can_be_reset(page, url):
    visit(page, f"{url}#q=zzzz")
    assert "No system matches the filters." in all_of(page, ".nothing")[0].text
    all_of(page, ".nothing button")[0].click()
    assert address(page) == ""
    assert not all_of(page, ".nothing")[0].is_displayed()
    assert page.switch_to.active_element.get_attribute("name") == "q"
    visit(page, f"{url}#view=foreign&suite=fashion-0")
    assert "have nothing in this view" in all_of(page, ".nothing")[0].text
    all_of(page, "[data-view-of=compare]")[0].click()
    assert not all_of(page, ".nothing")[0].is_displayed()


def test_the_focus_is_never_lost(page):
    button = open_row(page, "odd0")
    all_of(page, ".detail .tools button")[0].click()
    assert page.switch_to.active_element.text == "← All systems"
    assert page.title == "odd0 · Robustness leaderboard"
    page.switch_to.active_element.click()
    assert page.switch_to.active_element == button
    assert page.title == "Robustness leaderboard"
    all_of(page, ".board .tools button")[1].click()
    assert page.switch_to.active_element.get_attribute("data-view-of") == "compare"


def test_more_inputs_are_not_more_rows(page):
    open_row(page, "odd1")
    all_of(page, "[data-inputs] summary")[0].click()
    all_of(page, "[data-inputs] .more")[0].click()
    assert len(all_of(page, ".inputtable tbody tr")) == 50


def test_the_last_rows_that_are_asked_for_take_the_focus(browser, made, tmp_path):
    records = [made.system(f"d{i:03}", robust=i / 300, inputs=20, gallery=[], cells=[], threats=[]) for i in range(230)]
    visit(browser, build(records, tmp_path)[0].as_uri())
    before = len(all_of(browser, "tr.system"))
    all_of(browser, ".more")[0].click()
    rows = all_of(browser, "tr.system")
    assert (before, len(rows)) == (200, 230)
    assert browser.switch_to.active_element == rows[200].find_element("css selector", "button")
    rows[229].find_element("css selector", "button").click()
    waits(browser, "document.querySelector('.detail')")
    visit(browser, browser.current_url)
    assert len(all_of(browser, ".detail")) == 0  # it waits among those that are not shown yet
    all_of(browser, ".more")[0].click()
    waits(browser, "document.querySelector('.detail')")
    assert browser.get_log("browser") == []


def test_random_systems_are_compared_by_students_t_as_the_command_does(page, url, records):
    known = {r["defense"]: r for r in records if (r["victim"], r["suite"]) == ("cnn", "fashion-1")}
    for name in ("drawn", "also_drawn"):
        row = open_row(page, name).find_element("xpath", "ancestor::tr")
        row.find_element("css selector", "[data-compare]").click()
    all_of(page, "[data-view-of=compare]")[0].click()
    waits(page, "document.querySelector('.pair')")
    cells = [cell.text for cell in all_of(page, ".pair tbody tr")[0].find_elements("css selector", "td")]
    names = [chip.text.removesuffix(" ×") for chip in all_of(page, ".chip")]
    found = compare(known[names[0]], known[names[1]]).robust
    ends = [
        f"{100 * v:+.1f}".replace("-", "−")
        for v in (found.difference.value, found.difference.low, found.difference.high)
    ]
    assert cells[4] == f"{ends[0]} ({ends[1].removeprefix('+')} to {ends[2].removeprefix('+')})"
    assert cells[5] == ("< .0001" if found.p < 1e-4 else f"{found.p:.4f}".removeprefix("0"))
    assert "paired t test" in all_of(page, ".pair caption")[0].text


def test_students_t_of_the_page_is_that_of_scipy(page):
    source = page.execute_script("return document.scripts[1].textContent")
    start = source.index("// Two-sided tail of Student's t")
    functions = source[start : source.index("const SVG", start)]
    for freedom in (1, 2, 5, 30, 999, 100_000):
        script = f"{functions}; return [studentQuantile(0.05, {freedom}), [0.1, 1, 2.5, 8].map(t => studentTails(t, {freedom}))]"
        quantile, tails = page.execute_script(script)
        assert quantile == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)
        assert tails == pytest.approx([2 * stats.t.sf(t, freedom) for t in (0.1, 1, 2.5, 8)], rel=1e-8, abs=1e-300)


def test_systems_without_an_input_in_common_are_not_compared(page):
    for name in ("elsewhere", "none"):
        open_row(page, name).find_element("xpath", "ancestor::tr").find_element(
            "css selector", "[data-compare]"
        ).click()
    all_of(page, "[data-view-of=compare]")[0].click()
    waits(page, "document.querySelector('.pair')")
    assert "no input in common" in all_of(page, ".pair .callout")[0].text


def test_a_browser_that_cannot_unpack_says_so_and_shows_the_first_rows(browser, url):
    script = browser.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": "delete window.DecompressionStream"}
    )
    try:
        browser.get(url)
        waits(browser, "document.querySelector('.callout[role=alert]')")
        assert "This browser cannot unpack the page" in all_of(browser, ".callout[role=alert]")[0].text
        assert all_of(browser, "[data-board='0'] tr.system")[0].is_displayed()
        assert browser.get_log("browser") == []
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


@pytest.mark.parametrize("pixels", [360, 715, 800])
def test_long_names_stay_inside_the_page(browser, made, tmp_path, pixels):
    flags = [made.flag("f" * 300, fired=True), made.flag("a-very-long-name-of-a-flag", fired=True)]
    records = [made.system("x" * 1_500, flags=flags, note="n" * 3_000), made.system("b" * 60 + " " + "c" * 60)]
    path = build(records, tmp_path)[0]
    with width(browser, pixels):
        visit(browser, path.as_uri())
        wide = browser.execute_script(
            "return [document.documentElement, ...document.querySelectorAll('.scroll')].map(e => e.scrollWidth - e.clientWidth)"
        )
        assert max(wide) <= 0
        rows = browser.execute_script("return [...document.querySelectorAll('tr.system')].map(e => e.offsetHeight)")
        assert max(rows) < 600


def test_tables_fit_at_every_width(browser, made, tmp_path):
    records = made.store()
    for record in records:
        if "detector" in record["roles"]:
            record["metrics"] |= {
                name: made.interval(0.4) for name in ("strict_accuracy", "noise_acceptance", "availability")
            }
        if record["defense"] == "linear_map_svm":
            names = ("single-step-beats-iterative", "probabilities-not-logits")
            record["flags"] = [made.flag(name, fired=True) for name in names]
    path = build(records, tmp_path)[0]
    visit(browser, path.as_uri())
    script = (
        "return Math.max(...[...document.querySelectorAll('[data-view=ranking] .scroll')]"
        ".map(part => part.scrollWidth - part.clientWidth))"
    )
    wide = {}
    for pixels in (621, 701, 821, 921, 1100, 1261, 1280, 1366, 1481, 1521, 1700, 1841, 1920):
        with width(browser, pixels):
            wide[pixels] = browser.execute_script(script)
    assert max(wide.values()) <= 0, wide


def test_badges_break_between_words_only(browser, made, tmp_path):
    record = made.system("bit_depth", flags=[made.flag("gradient-mismatch", fired=True)])
    with width(browser, 715):
        visit(browser, build([record, made.system()], tmp_path)[0].as_uri())
        script = (
            "const range = document.createRange(), text = document.querySelector('.badge').lastChild; range.selectNode(text);"
            "return range.getClientRects().length"
        )
        assert browser.execute_script(script) <= 2


def test_formulas_are_no_formulas_in_the_file_that_the_page_saves(browser, made, tmp_path):
    names = ["=HYPERLINK(1)", "+1", "-1", "@a", '"a",\'b']
    visit(browser, build([made.system(name, robust=i / 10) for i, name in enumerate(names)], tmp_path)[0].as_uri())
    script = (
        "const [done] = arguments; const make = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { blob.text().then(done); URL.createObjectURL = make; return 'data:,'; };"
        "document.querySelector('[data-save=csv]').click()"
    )
    lines = list(csv.DictReader(io.StringIO(browser.execute_async_script(script))))
    assert {line["defense"] for line in lines} == {f"'{name}" for name in names[:4]} | {names[4]}

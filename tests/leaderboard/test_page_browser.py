"""The page in Chromium: sort, filter, open a row, the state in the address, narrow screens, a sandboxed frame."""

from __future__ import annotations

import base64
import csv
import html
import importlib
import importlib.util
import io
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from leaderboard import build
from leaderboard.compare import newcombe
from leaderboard.html import site
from leaderboard.rows import boards

pytestmark = pytest.mark.browser
EVIL = "<img src=x onerror=document.title='evil'>"


@pytest.fixture(scope="module")
def url(made, tmp_path_factory):
    records = [*made.store(), made.system(EVIL, robust=0.4)]
    return build(records, tmp_path_factory.mktemp("board"))[0].as_uri()


@pytest.fixture
def page(browser, url):
    """The page freshly loaded; afterwards nothing may stand in the console."""
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get(url)
    ready(browser)
    yield browser
    assert [entry["message"] for entry in browser.get_log("browser")] == []


@contextmanager
def width(browser, pixels):
    metrics = {"width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    yield
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def ready(page):
    """Waits until the script has unpacked the page."""
    page.execute_async_script(
        "const done = arguments[0]; const wait = () =>"
        "document.documentElement.classList.contains('ready') ? done() : setTimeout(wait, 5); wait()"
    )


def settled(page):
    """Waits until whatever was opened is there."""
    page.execute_async_script(
        "const done = arguments[0]; const wait = () =>"
        "document.querySelector('.waiting') ? setTimeout(wait, 5) : done(); wait()"
    )


def all_of(page, selector):
    return page.find_elements("css selector", selector)


def names(page, board=0):
    script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
    return page.execute_script(script, f"[data-board='{board}'] tbody .name button")


def column(page, name, board=0):
    script = "return [...document.querySelectorAll(arguments[0])].map(e => e.firstChild.textContent)"
    return page.execute_script(script, f"[data-board='{board}'] tbody td.{name}")


def head(page, key):
    return all_of(page, f"[data-board='0'] button[data-sort='{key}']")[0]


def choose(page, name, value):
    script = (
        "const field = document.forms[0].elements[arguments[0]]; field.value = arguments[1];"
        "field.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    page.execute_script(script, name, value)


def address(page):
    return page.execute_script("return location.hash")


def test_the_ranking_is_the_first_order(page):
    assert column(page, "rank")[:4] == ["=1", "=1", "=1", "4"]
    assert head(page, "rank").find_element("xpath", "..").get_attribute("aria-sort") == "ascending"
    assert address(page) == ""


def test_sort_by_a_header_both_ways_and_missing_values_last(page):
    button = head(page, "clean")
    button.click()
    down = column(page, "clean")
    assert down[:-1] == sorted(down[:-1], key=float, reverse=True)
    assert down[-1] == "–"
    assert button.find_element("xpath", "..").get_attribute("aria-sort") == "descending"
    button.click()
    up = column(page, "clean")
    assert up[:-1] == sorted(up[:-1], key=float)
    assert up[-1] == "–"
    assert address(page) == "#sort=clean&order=up"
    assert page.switch_to.active_element == button


def test_filters_hide_rows_and_boards_and_say_how_many(page):
    choose(page, "victim", "resnet18")
    assert [section.is_displayed() for section in all_of(page, "section[data-board]")] == [False, True, False]
    assert all_of(page, ".live")[0].text == "9 of 22 systems"
    choose(page, "flags", "zero-gradient")
    assert names(page, 1) == ["bit_depth"]
    all_of(page, "button[type=reset]")[0].click()
    assert all_of(page, ".live")[0].text == "22 systems"
    assert address(page) == ""


def test_search_by_text(page):
    choose(page, "q", "Stranger")
    assert names(page) == ["my_defense.py:MyDefense"]
    choose(page, "q", "nobody has this name")
    assert all_of(page, ".live")[0].text == "0 of 22 systems"


def test_a_row_opens_and_closes(page):
    button = all_of(page, "[data-board='0'] tbody .name button")[2]
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    settled(page)
    detail = page.find_element("id", button.get_attribute("aria-controls"))
    titles = [title.text for title in detail.find_elements("tag name", "h3")]
    assert {"Attacks", "Threats", "Flags", "Adversarial images", "Repeat it"} <= set(titles)
    assert all(
        page.execute_script("return arguments[0].naturalWidth", image) == 28
        for image in detail.find_elements("tag name", "img")
    )
    assert page.switch_to.active_element == button
    button.click()
    assert button.get_attribute("aria-expanded") == "false"
    assert all_of(page, ".detail") == []


def test_the_address_holds_the_whole_state(page, url):
    choose(page, "victim", "cnn")
    choose(page, "role", "detector")
    choose(page, "q", "svm")
    head(page, "name").click()
    all_of(page, "[data-board='0'] tbody .name button")[1].click()
    settled(page)
    state, shown = address(page), (names(page), len(all_of(page, ".detail")))
    assert len(shown[0]) == 3
    assert shown[1] == 1
    page.get("about:blank")
    page.get(url + state)
    ready(page)
    settled(page)
    assert (names(page), len(all_of(page, ".detail"))) == shown
    assert address(page) == state
    page.execute_script("location.hash = ''")
    page.execute_async_script("setTimeout(arguments[0], 50)")
    assert all_of(page, ".live")[0].text == "22 systems"


@pytest.mark.parametrize(
    "fragment", ["sort=nothing&order=down&open=x,y&victim=unknown", "%E0%A4%A", "open=%3Cimg%3E&q=%3C"]
)
def test_a_wrong_address_does_no_harm(browser, url, fragment):
    browser.get("about:blank")
    browser.get(f"{url}#{fragment}")
    ready(browser)
    assert all_of(browser, ".live")[0].text.endswith("systems")
    assert browser.get_log("browser") == []


def test_a_name_is_text(page):
    assert EVIL in names(page)
    all_of(page, "[data-board='0'] tbody .name button")[names(page).index(EVIL)].click()
    assert page.title == "Robustness leaderboard"


def test_light_and_dark(page):
    button = all_of(page, ".theme")[0]
    colours = set()
    for _ in range(3):
        button.click()
        colours.add(page.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2
    assert button.text == "Theme: system"


@pytest.mark.parametrize("pixels", [360, 715, 1600])
def test_nothing_scrolls_sideways(page, pixels):
    with width(page, pixels):
        for button in all_of(page, "tbody .name button")[:3]:
            button.click()
        settled(page)
        assert page.execute_script("return document.documentElement.scrollWidth") <= pixels
        inner = page.execute_script(
            "return [...document.querySelectorAll('.scroll')].map(e => e.scrollWidth - e.clientWidth)"
        )
        assert max(inner) <= 0


def test_copying_the_command_tells_what_happened(page):
    all_of(page, "tbody .name button")[0].click()
    settled(page)
    button = all_of(page, "tbody [data-copy]")[0]
    button.click()
    page.execute_async_script("setTimeout(arguments[0], 100)")
    assert button.text in ("Copied", "Selected")


def test_in_a_sandboxed_frame(browser, url, tmp_path):
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe id="f" sandbox="allow-scripts" width="715" height="900" src="{html.escape(url)}"></iframe>'
    )
    browser.get(frame.as_uri())
    browser.get_log("browser")
    browser.switch_to.frame("f")
    try:
        ready(browser)
        all_of(browser, ".theme")[0].click()
        head(browser, "name").click()
        assert names(browser) == sorted(names(browser), key=str.lower)
        all_of(browser, "tbody .name button")[0].click()
        settled(browser)
        assert len(all_of(browser, ".detail")) == 1
        assert address(browser).startswith("#sort=name&open=")
    finally:
        browser.switch_to.default_content()
    assert browser.get_log("browser") == []


def open_view(page, name):
    all_of(page, f"[data-view-of='{name}']")[0].click()


def attack_lines(page, value):
    script = (
        "return [...document.querySelectorAll('[data-of=\"0\"][data-view=attacks] .attacktable tbody tr')]"
        ".map(line => line.querySelector(arguments[0]).dataset.value)"
    )
    return page.execute_script(script, value)


def test_tables_of_attacks_sort_by_their_own_headers(page, url):
    before = names(page)
    open_view(page, "attacks")
    button = all_of(page, "[data-of='0'][data-view='attacks'] button[data-order='success']")[0]
    button.click()
    down = [float(value) for value in attack_lines(page, ".success")]
    assert down == sorted(down, reverse=True)
    assert button.find_element("xpath", "..").get_attribute("aria-sort") == "descending"
    assert page.switch_to.active_element == button
    button.click()
    up = [float(value) for value in attack_lines(page, ".success")]
    assert up == sorted(up)
    assert address(page) == "#view=attacks&attacks=success+up"
    page.get("about:blank")
    page.get(f"{url}#attacks=success+up")
    ready(page)
    assert [float(value) for value in attack_lines(page, ".success")] == up
    assert names(page) == before
    all_of(page, "[data-of='0'][data-view='attacks'] button[data-order='attack']")[0].click()
    found = attack_lines(page, ".attack")
    assert found == sorted(found)
    all_of(page, "button[type=reset]")[0].click()
    assert address(page) == "#view=attacks"


def test_attacks_are_hidden_with_their_board(page):
    open_view(page, "attacks")
    choose(page, "victim", "resnet18")
    assert [section.is_displayed() for section in all_of(page, "section[data-view=attacks]")] == [False, True, False]


def test_attacks_do_not_scroll_sideways_on_narrow_screens(page):
    open_view(page, "attacks")
    with width(page, 360):
        assert page.execute_script("return document.documentElement.scrollWidth") <= 360
        assert page.execute_script("return document.querySelector('.attacktable').scrollWidth") <= 340


def test_views_show_one_at_a_time_and_back_goes_back(page):
    for name in ("attacks", "foreign", "compare", "ranking"):
        open_view(page, name)
        shown = {part.get_attribute("data-view") for part in all_of(page, "main [data-view]") if part.is_displayed()}
        assert shown == {name}
        assert all_of(page, f"[data-view-of='{name}']")[0].get_attribute("aria-current") == "page"
    page.back()
    page.execute_async_script("setTimeout(arguments[0], 100)")
    assert address(page) == "#view=compare"


def test_a_system_has_a_page_of_its_own(page, url):
    all_of(page, "[data-board='0'] tbody .name button")[1].click()
    settled(page)
    all_of(page, ".tools button")[0].click()
    settled(page)
    name = names(page)[1]
    assert all_of(page, ".system-page h2")[0].text == name
    assert not all_of(page, "section[data-board]")[0].is_displayed()
    state = address(page)
    assert state.startswith("#system=")
    page.get("about:blank")
    page.get(url + state)
    ready(page)
    settled(page)
    assert all_of(page, ".system-page h2")[0].text == name
    all_of(page, ".system-page .back")[0].click()
    assert all_of(page, "section[data-board]")[0].is_displayed()


def test_every_input_is_listed_and_filtered_by_what_became_of_it(page):
    all_of(page, "[data-board='0'] tbody .name button")[0].click()
    settled(page)
    all_of(page, "[data-inputs] summary")[0].click()
    assert len(all_of(page, ".inputtable tbody tr")) == 25
    options = [option.text for option in all_of(page, "[data-inputs] option")]
    counts = [int(option.rpartition("(")[2].strip(")")) for option in options[1:]]
    assert sum(counts) == 1000
    page.execute_script("document.querySelector('[data-inputs] select').value = 'held'")
    page.execute_script("document.querySelector('[data-inputs] select').dispatchEvent(new Event('change'))")
    assert {cell.text for cell in all_of(page, ".inputtable td[data-label=Outcome]")} == {"held"}
    all_of(page, "[data-inputs] .more")[0].click()
    assert len(all_of(page, ".inputtable tbody tr")) == 50


def test_a_report_of_a_paper_opens_on_the_page(browser, made, tmp_path):
    (tmp_path / "board" / "papers").mkdir(parents=True)
    (tmp_path / "board" / "papers" / "some.png").write_bytes(base64.b64decode(made.png(np.zeros((4, 6)))))
    text = "# A *study*\n\n## Table 1\n\n| a | b |\n|---|---|\n| 1 | <b>2</b> |\n\n![x](some.png) ![y](../evil.png) [l](http://a.b)\n"
    (tmp_path / "board" / "papers" / "some.md").write_text(text)
    browser.get(build([made.system()], tmp_path / "board")[0].as_uri() + "#view=papers")
    ready(browser)
    summary = all_of(browser, ".papers summary")[0]
    assert summary.text == "A *study*"
    summary.click()
    browser.execute_async_script("setTimeout(arguments[0], 200)")
    assert [title.text for title in all_of(browser, ".report h3, .report h4")] == ["A study", "Table 1"]
    assert [cell.text for cell in all_of(browser, ".report td")] == ["1", "<b>2</b>"]
    widths = browser.execute_script("return [...document.querySelectorAll('.report img')].map(e => e.naturalWidth)")
    assert widths == [6]
    assert all_of(browser, ".report a") == []
    assert "[picture: y]" in all_of(browser, ".report")[0].text
    assert browser.get_log("browser") == []


def test_sections_that_wait_are_made_when_the_reader_comes_near(browser, made, url, tmp_path, monkeypatch):
    """With room for no section they wait packed: what shows is the same, and only what is near is made."""

    def seen(address):
        browser.get("about:blank")
        browser.get(f"{address}#view=attacks&attacks=success+down")
        ready(browser)
        browser.execute_async_script(
            "const done = arguments[0]; const wait = () =>"
            "document.querySelector('[data-view=attacks]:not([data-held]) tbody') ? done() : setTimeout(wait, 5); wait()"
        )
        return attack_lines(browser, "[data-value]")

    known = seen(url)
    monkeypatch.setattr(importlib.import_module("leaderboard.html"), "VIEWED", 0)
    packed = build([*made.store(), made.system(EVIL, robust=0.4)], tmp_path)[0]
    assert packed.stat().st_size < Path(url.removeprefix("file://")).stat().st_size
    assert seen(packed.as_uri()) == known != []
    assert all_of(browser, "section[data-held]")  # of other views, and those far below
    open_view(browser, "ranking")
    assert len(all_of(browser, "[data-board] tbody tr.system")) > 0
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def compared(page):
    page.execute_async_script(
        "const done = arguments[0]; const wait = () => document.querySelector('.comparison .pair, .comparison .callout')"
        "? done() : setTimeout(wait, 5); wait()"
    )
    return [[cell.text for cell in line.find_elements("css selector", "td")] for line in all_of(page, ".pair tbody tr")]


def test_two_systems_are_compared_as_the_judge_compares_them(page, made, url):
    boxes = all_of(page, "[data-board='0'] [data-compare]")
    chosen = ["adversarial_training", "linear_map_svm"]
    for name in chosen:
        boxes[names(page).index(name)].click()
    open_view(page, "compare")
    robust, clean = compared(page)
    records = {
        record["defense"]: record
        for record in made.store()
        if (record["victim"], record["suite"]) == ("cnn", "fashion-1")
    }
    a, b = (np.array(records[name]["per_input"]["robust"]) for name in chosen)
    counts = [int((x & y).sum()) for x, y in ((a > 0, b > 0), (a > 0, b == 0), (a == 0, b > 0), (a == 0, b == 0))]
    assert [int(text) for text in robust[:4]] == counts
    p = binomtest(min(counts[1:3]), sum(counts[1:3])).pvalue
    assert robust[5] == ("< .0001" if p < 1e-4 else f"{p:.4f}".removeprefix("0"))
    ends = newcombe(*counts)
    words = [f"{100 * value:+.1f}".replace("-", "−") for value in (ends.value, ends.low, ends.high)]
    assert robust[4] == f"{words[0]} ({words[1].removeprefix('+')} to {words[2].removeprefix('+')})"
    assert sum(int(text) for text in clean[:4]) == 1000
    state = address(page)
    page.get("about:blank")
    page.get(url + state)
    ready(page)
    assert compared(page) == [robust, clean]


def test_a_fifth_system_is_not_to_be_chosen(page):
    for place in range(4):
        all_of(page, "[data-compare]")[place].click()
    boxes = all_of(page, "[data-compare]")
    assert [box.is_enabled() for box in boxes] == [True] * 4 + [False] * (len(boxes) - 4)
    assert len(boxes) > 4
    assert "leave one out" in boxes[4].get_attribute("title")
    boxes[0].click()
    assert all(box.is_enabled() for box in all_of(page, "[data-compare]"))


def test_systems_of_two_tables_are_not_compared(page):
    for board in (0, 1):
        all_of(page, f"[data-board='{board}'] [data-compare]")[0].click()
    open_view(page, "compare")
    assert compared(page) == []
    assert "stands in another table" in all_of(page, ".comparison .callout")[0].text
    for _ in all_of(page, ".chip"):
        all_of(page, ".chip")[0].click()
    assert address(page) == "#view=compare"


def test_the_filtered_rows_are_saved_as_csv(page):
    choose(page, "victim", "resnet18")
    choose(page, "role", "detector")
    script = (
        "const [done] = arguments; const make = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { blob.text().then(done); URL.createObjectURL = make; return 'data:,'; };"
        "document.querySelector('[data-save=csv]').click()"
    )
    lines = list(csv.DictReader(io.StringIO(page.execute_async_script(script))))
    assert [line["defense"] for line in lines] == names(page, 1)
    assert {line["victim"] for line in lines} == {"resnet18"}
    assert all(0 <= float(line["robust_accuracy"]) <= 1 for line in lines)


def test_details_beside_the_page_are_loaded_or_missed_in_words(browser, made, tmp_path):
    texts = site(boards(made.store()), room=0)
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    address_of = (tmp_path / "leaderboard.html").as_uri()
    browser.get(address_of)
    ready(browser)
    all_of(browser, "tbody .name button")[0].click()
    settled(browser)
    assert {"Attacks", "Flags"} <= {title.text for title in all_of(browser, ".detail h3")}
    for path in (tmp_path / "systems").iterdir():
        path.unlink()
    browser.get("about:blank")
    browser.get(address_of)
    ready(browser)
    all_of(browser, "tbody .name button")[1].click()
    browser.execute_async_script("setTimeout(arguments[0], 300)")
    assert "is not to be had. It lies beside this page" in all_of(browser, ".opened")[0].text
    browser.get_log("browser")


@pytest.fixture(scope="module")
def axe():
    """The source of axe-core."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None:
        pytest.skip("axe-core is not installed (pip install '.[browser]')")
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize(("scheme", "pixels"), [("light", 1280), ("dark", 360)])
def test_axe_finds_nothing_in_any_view(page, url, axe, scheme, pixels):
    for place in (0, 1):
        all_of(page, "[data-board='0'] [data-compare]")[place].click()
    chosen = address(page).removeprefix("#compare=")
    first = chosen.split("%2C")[0]
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    views = ["", "view=attacks", "view=foreign", f"view=compare&compare={chosen}", f"open={first}", f"system={first}"]
    found = []
    with width(page, pixels):
        for state in views:
            page.get("about:blank")
            page.get(f"{url}#{state}")
            ready(page)
            settled(page)
            page.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
            page.execute_script(axe)
            run = "const [done] = arguments; axe.run(document).then(found => done(found.violations.map(v => [v.id, v.impact])))"
            found += [(state, *violation) for violation in page.execute_async_script(run)]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert found == []


def press(page, *keys):
    from selenium.webdriver import ActionChains

    for key in keys:
        ActionChains(page).send_keys(key).perform()


def focused(page):
    return page.execute_script("return document.activeElement.outerHTML")


def reach(page, words, most=60):
    """Tabs until the focused element's own markup holds the words."""
    for _ in range(most):
        press(page, "\ue004")
        if words in focused(page):
            return
    raise AssertionError(f"{words} cannot be reached by Tab")


def test_every_function_works_from_the_keyboard(page):
    enter, space, down = "\ue007", " ", "\ue015"
    reach(page, "How to read it")
    press(page, enter)
    assert all_of(page, "details.guide")[0].get_attribute("open") is not None
    reach(page, 'name="victim"')
    press(page, down)
    assert "victim=" in address(page)
    reach(page, 'name="q"')
    press(page, "svm")
    assert "q=svm" in address(page)
    reach(page, 'type="reset"')
    press(page, enter)
    assert address(page) == ""
    reach(page, 'data-save="csv"')
    reach(page, 'data-sort="clean"')
    press(page, enter)
    assert address(page) == "#sort=clean"
    reach(page, "data-compare")
    press(page, space)
    reach(page, "aria-expanded")
    press(page, enter)
    settled(page)
    assert len(all_of(page, ".detail")) == 1
    reach(page, "Page of this system")
    press(page, enter)
    settled(page)
    assert "system=" in address(page)
    page.execute_script("document.body.focus()")
    reach(page, "All systems")
    press(page, enter)
    page.execute_script("document.querySelector('.tabs button').focus()")
    reach(page, 'data-view-of="compare"')
    press(page, enter)
    reach(page, "<select")
    press(page, down)
    compared(page)
    assert len(all_of(page, ".pair")) == 1
    reach(page, "Clear")
    press(page, enter)
    assert all_of(page, ".pair") == []

"""The board's page: pictures at three widths in light and dark, and size and times with few and with many systems.

python tests/benchmarks/page.py --home runs --pictures DIR     # pictures of a run folder's board (without --home: made-up systems)
python tests/benchmarks/page.py --systems 20 10000             # build seconds, size, first paint, sort, filter
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "leaderboard"))
import conftest as made
from conftest import chromium

from leaderboard import build
from leaderboard.collect import collect

WIDTHS = (360, 715, 1600)
_SORT = """
const [key, done] = arguments;
const begin = performance.now();
document.querySelector(`button[data-sort="${key}"]`).click();
document.body.offsetHeight;
const scripted = performance.now() - begin;
requestAnimationFrame(() => setTimeout(() => done([scripted, performance.now() - begin])));
"""
_FILTER = """
const [name, value, done] = arguments;
const field = document.forms[0].elements[name];
const begin = performance.now();
field.value = value;
field.dispatchEvent(new Event("input", {bubbles: true}));
document.body.offsetHeight;
const scripted = performance.now() - begin;
requestAnimationFrame(() => setTimeout(() => done([scripted, performance.now() - begin])));
"""
_READY = """
const [done] = arguments;
const ready = () => document.documentElement.classList.contains("ready");
const wait = () => ready() ? done(performance.now()) : setTimeout(wait, 5);
wait();
"""
_PAINT = "return performance.getEntriesByType('paint').map(e => [e.name, e.startTime])"


def shot(driver: Any, path: Path, width: int, scheme: str) -> None:
    """The whole page as a picture."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    time.sleep(0.3)
    height = min(6000, int(driver.execute_script("return document.documentElement.scrollHeight")))
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**size, "height": height})
    time.sleep(0.3)
    driver.save_screenshot(str(path))
    print(path)


def pictures(driver: Any, url: str, out: Path) -> None:
    """Every view at three widths, light and dark."""
    out.mkdir(parents=True, exist_ok=True)
    driver.get(url)
    driver.execute_async_script(_READY)
    rows = driver.execute_script(
        "return [...document.querySelectorAll('[data-board=\"0\"] tr.system')].map(e => Number(e.dataset.row))"
    )
    system = "document.querySelector('[data-board=\"0\"] tr.system .name button')"
    places = {"ranking": "", "attacks": "view=attacks", "foreign": "view=foreign", "risks": "view=risks"}
    driver.execute_script(f"{system}.click()")
    opened = driver.execute_script("return new URLSearchParams(location.hash.slice(1)).get('open')")
    places |= {"opened": f"open={opened}", "system": f"system={opened}"}
    driver.execute_script(
        "for (const box of [...document.querySelectorAll('[data-board=\"0\"] [data-compare]')].slice(0, 2)) box.click()"
    )
    chosen = driver.execute_script("return new URLSearchParams(location.hash.slice(1)).get('compare')")
    places |= {"compare": f"view=compare&compare={chosen}"} if len(rows) > 1 else {}
    for name, state in places.items():
        driver.get("about:blank")
        driver.get(f"{url}#{state}")
        driver.execute_async_script(_READY)
        time.sleep(0.5)
        if name == "system":
            driver.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
            driver.execute_script("document.querySelector('.inputtable button')?.click()")
            time.sleep(0.7)
        if name in ("ranking", "attacks"):
            driver.execute_script("for (const each of document.querySelectorAll('section details')) each.open = true")
        for width in WIDTHS:
            for scheme in ("light", "dark"):
                shot(driver, out / f"{name}-{width}-{scheme}.png", width, scheme)


def many(number: int) -> list[dict[str, Any]]:
    """Made-up systems on one board, each with its attacks, flags and outcomes, and six pictures."""
    found = []
    for i in range(number):
        name, roles, track, clean, robust = made.DEFENSES[i % len(made.DEFENSES)]
        share = max(0.0, robust * (0.4 + 0.6 * (i * 7919 % number) / number))
        shown = f"{name.replace('(steps=20)', '')}(variant={i})"
        found.append(made.system(shown, clean=clean, robust=share, roles=list(roles), track=track, id=f"{i:016x}"))
    return found


def measure(driver: Any, number: int, folder: Path) -> None:
    """Builds a board of so many systems and prints size and times."""
    records = many(number)
    begin = time.perf_counter()
    page = build(records, folder)[0]
    seconds = time.perf_counter() - begin
    beside = sum(path.stat().st_size for path in (folder / "systems").glob("*")) if (folder / "systems").is_dir() else 0
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    driver.get("about:blank")
    driver.get(page.as_uri())
    ready = driver.execute_async_script(_READY)
    paint = dict(driver.execute_script(_PAINT))
    sorts = [driver.execute_async_script(_SORT, key) for key in ("name", "clean", "robust", "seconds") * 3]
    filters = [
        driver.execute_async_script(_FILTER, *change)
        for change in (("q", "blur"), ("q", ""), ("role", "detector"), ("role", ""), ("q", "variant=77"), ("q", "")) * 2
    ]
    paint_ms = paint.get("first-contentful-paint", float("nan"))
    print(
        f"{number} systems: page {page.stat().st_size / 1e6:.2f} MB, beside it {beside / 1e6:.1f} MB; "
        f"built in {seconds:.1f} s, peak memory {memory:.1f} GiB; "
        f"first paint {paint_ms:.0f} ms, ready {ready:.0f} ms"
    )
    for name, times in (("sort", sorts), ("filter", filters)):
        script, shown = zip(*times, strict=True)
        print(
            f"  {name}: script and layout median {median(script):.0f} ms, most {max(script):.0f} ms; "
            f"until the next frame {median(shown):.0f} ms, most {max(shown):.0f} ms"
        )


def main() -> None:
    """Pictures or measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="run folder with records")
    parser.add_argument("--pictures", type=Path, help="folder for pictures")
    parser.add_argument("--systems", type=int, nargs="*", default=[], help="numbers of systems to measure with")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chromium(folder) as driver:
        driver.set_script_timeout(120)
        if arguments.pictures:
            home = arguments.home
            records = collect(home / "records").records if home else made.store()
            beside = {"folder": home / "records", "selftests": home / "selftests"} if home else {}
            pictures(driver, build(records, Path(folder) / "board", **beside)[0].as_uri(), arguments.pictures)
        for number in arguments.systems:
            measure(driver, number, Path(folder) / str(number))


if __name__ == "__main__":
    main()

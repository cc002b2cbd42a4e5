"""Results that ship with the package: bundled defenses on the official grids, so that a first submission has company.

An own record of the same system takes a reference's place. `python -m harness.references RUNS` renews them from a run folder.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.store import write_whole
from harness.tracked import newest

Record = Mapping[str, Any]

FOLDER = Path(__file__).parent / "reference"
_LEFT_OUT = frozenset({"pictures", "training"})
_ENVIRONMENT = ("commit", "python", "torch", "cores")


@lru_cache(maxsize=1)
def references() -> tuple[dict[str, Any], ...]:
    """The shipped records, each marked `reference: true`."""
    found: list[dict[str, Any]] = []
    for path in sorted(FOLDER.glob("*.json.gz")):
        found += json.loads(gzip.decompress(path.read_bytes()))
    return tuple(found)


def with_references(records: Iterable[Record], *, everywhere: bool = True) -> list[Record]:
    """The newest record of each system, and the references that none of them replaces.

    everywhere: those of suites without a record too.
    """
    own = list(records)
    suites = {record["suite"] for record in own}
    return newest([*(known for known in references() if everywhere or known["suite"] in suites), *own])


def write(records: Sequence[Record], folder: Path = FOLDER) -> list[Path]:
    """Write references, a file a suite; returns the files.

    Raises ValueError for a record that is incomplete, of another size than official, of a stranger's defense, or made of code
    that no commit holds.
    """
    suites: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        _refuse(record)
        kept = {name: value for name, value in record.items() if name not in _LEFT_OUT}
        machine = record["environment"]
        kept |= {"reference": True, "environment": {name: machine[name] for name in _ENVIRONMENT if name in machine}}
        suites.setdefault(str(record["suite"]), []).append(kept)
    paths = []
    for suite, members in sorted(suites.items()):
        text = json.dumps(sorted(members, key=lambda each: str(each["defense"])), sort_keys=True)
        paths.append(folder / f"{suite}.json.gz")
        write_whole(paths[-1], gzip.compress(text.encode(), mtime=0))
    return paths


def _refuse(record: Record) -> None:
    environment = record.get("environment") or {}
    faults = {
        "is not complete: repeat its command": not record.get("complete"),
        "is not of size official": record.get("size") != "official",
        "is a submission, no bundled defense": bool(record.get("submission")),
        "was made of uncommitted code": bool(environment.get("dirty")) or not environment.get("commit"),
    }
    for words, holds in faults.items():
        if holds:
            raise ValueError(f"{record.get('defense')} {words}; only what everybody can repeat becomes a reference")


def main() -> int:
    """Renew the references from the records of a run folder; those that it has no record of stay."""
    from harness.records import records_of

    parser = argparse.ArgumentParser(description="Renew the shipped results from a run folder's official records.")
    parser.add_argument("home", type=Path, help="run folder")
    home = parser.parse_args().home
    own = [record for record in newest(records_of(home)) if str(record["grid"]).startswith("official")]
    if not own:
        print(f"{home} holds no record of an official grid; `harness run official` writes some", file=sys.stderr)
        return 1
    try:
        records = with_references(own)
        for path in write(records, FOLDER):
            print(f"{path}: {len(records)} records, {path.stat().st_size / 1000:.0f} kB")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

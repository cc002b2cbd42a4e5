"""A part's key holds its own code and what it imports, and nothing of the machine around it."""

import pytest

from harness import digests, registry

MACHINE = {"harness", "harness.api", "harness.plan", "harness.grid", "harness.cli", "harness.execute", "harness.track"}


@pytest.mark.parametrize("kind", ["dataset", "victim", "attack", "defense", "shift"])
def test_parts_do_not_reach_the_machine(kind):
    for name in registry.names(kind):
        reached = set(digests._closure(registry.locate(kind, name).path))
        assert not reached & MACHINE, f"{kind} {name} reaches {sorted(reached & MACHINE)}"


def test_helpers_beside_a_part_count():
    assert "attacks._search" in digests._closure(registry.locate("attack", "pgd").path)

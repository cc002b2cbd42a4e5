"""Fiedler partitions of matrices whose eigenvalues and cuts are known."""

from __future__ import annotations

import math

import pytest
import torch

from geometry.representations.fiedler import agreement, clipped, complement, fiedler_partition, halved


def blocks(within, between, sizes=(4, 6)):
    """Dissimilarities of two blocks, by their affinities, and the labels."""
    labels = torch.repeat_interleave(torch.arange(2), torch.tensor(sizes))
    affinity = torch.where(labels[:, None] == labels, *torch.tensor([within, between], dtype=torch.float64))
    return (1 - affinity).fill_diagonal_(0), labels


@pytest.mark.parametrize(("within", "between"), [(0.8, 0.2), (0.5, 0.4), (0.9, -0.3), (0.2, -0.1)])
def test_eigenvalues_of_two_blocks(within, between):
    matrix, labels = blocks(within, between)
    found = fiedler_partition(complement(matrix))
    n1, n2 = 4, 6
    cut, inner = (
        [0.0, (n1 + n2) * between],
        [(n1 * within + n2 * between, n1 - 1), (n2 * within + n1 * between, n2 - 1)],
    )
    expected = sorted(cut + [value for value, count in inner for _ in range(count)])[:4]
    torch.testing.assert_close(found.eigenvalues, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)
    if between > 0:
        assert agreement(found.part, labels).accuracy == 1
        assert not found.constant
    else:  # the better they separate, the surer the printed algorithm fails
        assert found.constant
        for cure in (fiedler_partition(f(matrix), beside_constant=True) for f in (complement, clipped, halved)):
            assert agreement(cure.part, labels).accuracy == 1
            assert not cure.constant
            assert not cure.degenerate
        assert fiedler_partition(clipped(matrix)).degenerate  # two parts that are not connected
        assert agreement(fiedler_partition(halved(matrix)).part, labels).accuracy == 1


def test_path_graph():
    number = 8
    path = torch.zeros(number, number)
    path[torch.arange(number - 1), torch.arange(1, number)] = 1
    found = fiedler_partition(path + path.T)
    expected = torch.cos(math.pi * (torch.arange(number) + 0.5) / number).double()
    expected = expected / expected.norm()
    assert float((found.vector @ expected).abs()) == pytest.approx(1)
    assert float(found.eigenvalues[1]) == pytest.approx(2 - 2 * math.cos(math.pi / number))
    assert agreement(found.part, torch.arange(number) < 4).accuracy == 1
    assert not found.degenerate


@pytest.mark.parametrize("normalised", [False, True])
def test_two_cliques_joined_by_a_weak_edge(normalised):
    graph = torch.block_diag(torch.ones(5, 5), torch.ones(3, 3))
    graph[4, 5] = graph[5, 4] = 0.1
    found = fiedler_partition(graph, normalised=normalised)
    labels = torch.arange(8) < 5
    assert agreement(found.part, labels).accuracy == 1
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    again = fiedler_partition(graph[order][:, order], normalised=normalised)
    assert agreement(again.part, labels[order]).accuracy == 1
    assert agreement(~again.part, labels[order]).accuracy == 1
    torch.testing.assert_close(again.eigenvalues, found.eigenvalues)


def test_degenerate_eigenvalues_are_reported():
    assert fiedler_partition(torch.ones(6, 6)).degenerate  # every cut of a complete graph is as good
    three = torch.block_diag(*[torch.ones(3, 3)] * 3)
    assert fiedler_partition(three).degenerate
    matrix, _ = blocks(0.8, 0.2)
    assert not fiedler_partition(complement(matrix)).degenerate


def test_agreement_counts_and_the_printed_one_does_not():
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(92) < 46
    shares = [agreement(torch.rand(92, generator=random) < 0.5, labels).balanced for _ in range(200)]
    assert 0.5 <= sum(shares) / 200 < 0.56  # the printed accuracy is 1 for every one of them
    lone = torch.arange(92) == 0
    found = agreement(lone, torch.arange(92) < 80)
    assert found.accuracy == pytest.approx(79 / 92 if 79 > 13 else 13 / 92, abs=2 / 92)
    assert found.majority == pytest.approx(80 / 92)
    assert found.balanced < 0.52


def test_what_cannot_be_cut_is_said():
    graph = torch.ones(5, 5)
    graph[2] = graph[:, 2] = 0
    with pytest.raises(ValueError, match="affinities of stimulus 2 sum to 0"):
        fiedler_partition(graph, normalised=True)
    with pytest.raises(ValueError, match="not symmetric"):
        fiedler_partition(torch.rand(5, 5))
    with pytest.raises(ValueError, match="two labels for 5 stimuli are needed, not 3"):
        agreement(torch.ones(5, dtype=torch.bool), torch.tensor([0, 1, 2, 0, 1]))

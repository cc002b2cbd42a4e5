"""Patterns of brain regions from made-up NIfTI volumes."""

from __future__ import annotations

import sys

import nibabel
import numpy as np
import pytest
import torch

from geometry.representations.subjects import mean_over_subjects
from harness.datasets._betas import region_patterns, valid_voxels

SHAPE = (4, 5, 3)


def write(path, values, affine=None):
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4) if affine is None else affine), path)
    return path


@pytest.fixture
def made(tmp_path):
    """Two sessions of 3 and 2 trials and a mask of the regions 7 (three voxels) and 9 (one voxel)."""
    random = np.random.default_rng(0)
    sessions = [random.normal(size=(*SHAPE, trials)).astype(np.float32) for trials in (3, 2)]
    betas = [write(tmp_path / f"session{i}.nii.gz", values) for i, values in enumerate(sessions)]
    numbers = np.zeros(SHAPE)
    numbers[1, 2, 0] = numbers[1, 2, 1] = numbers[3, 0, 2] = 7
    numbers[0, 0, 0] = 9
    return betas, write(tmp_path / "mask.nii.gz", numbers), np.concatenate(sessions, 3), tmp_path


NAMES = ["dog", "cat", "dog", "car", "cat"]


def test_repetitions_are_averaged_and_voxels_in_order(made):
    betas, mask, values, _ = made
    found = region_patterns(betas, mask, stimuli=NAMES, labels=[7])
    assert found.stimuli == ("dog", "cat", "car")
    assert found.voxels.tolist() == [[1, 2, 0], [1, 2, 1], [3, 0, 2]]
    for column, (x, y, z) in enumerate(found.voxels.tolist()):
        series = values[x, y, z].astype(float)
        expected = [series[[0, 2]].mean(), series[[1, 4]].mean(), series[3]]
        np.testing.assert_allclose(found.patterns[:, column].numpy(), expected)
    assert region_patterns(betas, mask, stimuli=NAMES).patterns.shape == (3, 4)


def test_nan_and_constant_voxels_are_named_and_can_be_left_out(made):
    betas, mask, values, _ = made
    broken = values[..., :3].copy()
    broken[1, 2, 1, 1] = np.nan
    broken[0, 0, 0] = 5.0
    write(betas[0], broken)
    with pytest.raises(ValueError, match=r"1 of 4 voxels .* the first at \(1, 2, 1\); give valid=valid_voxels"):
        region_patterns(betas, mask, stimuli=NAMES)
    found = region_patterns(betas, mask, stimuli=NAMES, valid=valid_voxels(betas))
    assert found.voxels.tolist() == [[1, 2, 0], [3, 0, 2]]


def test_what_does_not_fit_is_said(made, monkeypatch):
    betas, mask, _, folder = made
    cases = [
        ({"stimuli": NAMES[:4]}, "4 stimuli are named, but the volumes hold 3 \\+ 2 = 5 trials"),
        ({"labels": [8]}, r"no region \[8\]; it has the numbers \[7, 9\]"),
        ({"valid": np.zeros(SHAPE, bool)}, "no voxel is left"),
        ({"valid": np.zeros((2, 2, 2), bool)}, r"valid has the shape \(2, 2, 2\)"),
        ({"mask": write(folder / "other.nii.gz", np.ones((2, 2, 2)))}, r"voxels \(4, 5, 3\), .*\(2, 2, 2\)"),
        ({"mask": write(folder / "moved.nii.gz", np.ones(SHAPE), 2 * np.eye(4))}, "have other affines"),
        ({"mask": betas[0]}, r"expected \(X, Y, Z\)"),
        ({"betas": [mask]}, r"expected \(X, Y, Z, trials\)"),
        ({"betas": []}, "no volume of betas"),
    ]
    for change, words in cases:
        given = {"betas": betas, "mask": mask, "stimuli": NAMES} | change
        with pytest.raises(ValueError, match=words):
            region_patterns(given.pop("betas"), given.pop("mask"), **given)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        region_patterns([folder / "none.nii"], mask, stimuli=NAMES)
    (folder / "text.nii").write_text("no volume")
    with pytest.raises(ValueError, match="cannot be read as a NIfTI volume"):
        valid_voxels([folder / "text.nii"])
    with pytest.raises(ValueError, match="no volume of betas"):
        valid_voxels([])
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(ImportError, match=r"\[brain\]"):
        valid_voxels(betas)


def test_the_mean_subject_is_over_those_who_saw_a_pair():
    one = torch.tensor([[0.0, 1, 2], [1, 0, 3], [2, 3, 0]])
    two = torch.tensor([[0.0, 5, 6], [5, 0, 7], [6, 7, 0]])
    found, names = mean_over_subjects([one, two, two], ["abc", "cab", "abc"])
    assert names == ("a", "b", "c")
    expected = torch.tensor([[0, (1 + 7 + 5) / 3, (2 + 5 + 6) / 3], [0, 0, (3 + 6 + 7) / 3], [0, 0, 0]]).double()
    torch.testing.assert_close(found, expected + expected.T)
    partly, names = mean_over_subjects([one, torch.stack([one, one])[0]], ["abc", "abc"])
    torch.testing.assert_close(partly, one.double())
    with pytest.raises(ValueError, match="nobody saw both c and d"):
        mean_over_subjects([one, two], ["abc", "abd"])
    with pytest.raises(ValueError, match="subject 1 has 2 different names for 3 stimuli"):
        mean_over_subjects([one, two], ["abc", "aba"])

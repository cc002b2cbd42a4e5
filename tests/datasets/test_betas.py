"""Patterns of brain regions from made-up NIfTI volumes."""

from __future__ import annotations

import sys

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from harness.api import study
from harness.datasets._betas import region_patterns, valid_voxels
from harness.datasets.brain_volumes import BrainVolumes
from harness.types import Spec

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


@pytest.fixture
def bold(tmp_path):
    """A folder of the documented form: 14 images, one person who saw all of them twice, one who saw ten."""
    random = np.random.default_rng(0)
    names = []
    for number in range(14):
        folder = tmp_path / "images" / ("animal" if number % 2 else "tool")
        folder.mkdir(parents=True, exist_ok=True)
        names.append(f"{number:02d}.png")
        Image.fromarray(random.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(folder / names[-1])
    for person, seen in (("one", names * 2), ("two", names[:10])):
        (tmp_path / person / "betas").mkdir(parents=True)
        (tmp_path / person / "trials.txt").write_text("\n".join(seen))
        values = random.normal(size=(*SHAPE, len(seen)))
        values[2, 2, 2, 1] = np.nan
        half = len(seen) // 2
        write(tmp_path / person / "betas/s1.nii.gz", values[..., :half])
        write(tmp_path / person / "betas/s2.nii.gz", values[..., half:])
        numbers = np.zeros(SHAPE)
        numbers[1:, 2:] = 3
        write(tmp_path / person / "regions.nii.gz", numbers)
    return tmp_path


def test_volumes_of_several_people_are_a_data_set(bold):
    data = BrainVolumes(bold, "3", size=8)
    whole = data.whole()
    assert whole.x.shape == (14, 3, 8, 8)
    assert whole.y.tolist() == [1, 0] * 7
    assert data.class_names == ("animal", "tool")
    parts = [data.split(part) for part in ("train", "fit", "calibrate", "test")]
    assert torch.cat([part.index for part in parts]).sort().values.tolist() == list(range(14))
    assert parts[0].dissimilarity.shape == (7, 7)
    values = [nibabel.load(bold / "one/betas" / f"s{i}.nii.gz").get_fdata() for i in (1, 2)]
    region = np.zeros(SHAPE, bool)
    region[1:, 2:] = True
    region[2, 2, 2] = False  # not finite in one trial
    patterns = (values[0][region] + values[1][region]).T / 2
    expected = 1 - np.corrcoef(patterns)
    np.testing.assert_allclose(data.people("3")[0].numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(data.matrix("3")[10:, 10:].numpy(), expected[10:, 10:], atol=1e-6)
    assert not np.allclose(data.matrix("3")[:10, :10].numpy(), expected[:10, :10])
    grey = BrainVolumes(bold, "3", size=8, grey=True).whole().x
    assert torch.equal(grey * 255, (grey * 255).round())


def test_the_harness_and_the_study_take_volumes(bold, tmp_path):
    spec = Spec.of("dataset", "brain_volumes", path=bold, region="3", size=8, grey=True)
    small = Spec.of("victim", "mlp", width=8, epochs=1)
    given = {"dataset": Spec.of("dataset", "digits"), "stimuli": spec, "networks": (small,), "draws": 8, "splits": 1}
    tables = study(Spec.of("study", "pickard", **given), home=tmp_path / "runs")
    assert {row["region"] for row in tables["table_2"]} == {"3"}
    assert {row["pair"] for row in tables["fiedler"]} == {"animal-tool"}
    assert not tables["known"]  # one person saw every image


def test_folders_of_another_form_are_refused(bold, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder images; brain_volumes expects images/CATEGORY"):
        BrainVolumes(tmp_path / "one", "3").files()
    with pytest.raises(ValueError, match="region is 'V1'; expected a number"):
        BrainVolumes(bold, "V1").whole()
    (bold / "one/trials.txt").write_text("\n".join(["99.png"] * 28))
    with pytest.raises(ValueError, match=r"names 99\.png, of which there is no image"):
        BrainVolumes(bold, "3").whole()
    (bold / "one/trials.txt").unlink()
    (bold / "three/betas").mkdir(parents=True)  # nobody saw both the first image and the last
    write(bold / "three/betas/s.nii.gz", np.random.default_rng(1).normal(size=(*SHAPE, 5)))
    (bold / "three/trials.txt").write_text("09.png 10.png 11.png 12.png 13.png")
    nibabel.save(nibabel.load(bold / "two/regions.nii.gz"), bold / "three/regions.nii.gz")
    with pytest.raises(ValueError, match=r"nobody saw both 00\.png and 10\.png"):
        BrainVolumes(bold, "3").whole()
    (bold / "two/regions.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no regions\.nii\.gz"):
        BrainVolumes(bold, "3").files()

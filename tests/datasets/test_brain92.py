"""The 92 images and their dissimilarities: from made-up files of the published form, and known answers of the real ones."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from scipy.spatial.distance import squareform

from geometry.representations.categorical import categorical_model, category_matrix
from geometry.representations.comparison import pearson, spearman
from geometry.representations.fiedler import agreement, clipped, complement, fiedler_partition, halved
from harness.data import Data
from harness.datasets.brain92 import REGIONS, SESSIONS, SUBJECTS, Brain92
from harness.spec import resolve
from harness.types import Spec

PLACE = os.environ.get("HARNESS_DATA")
real = pytest.mark.skipif(not PLACE or not (Path(PLACE) / "RSA92").is_dir(), reason="HARNESS_DATA has no folder RSA92")


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A folder with files of the published form and made-up numbers."""
    random = np.random.default_rng(0)
    (tmp_path / "RSA92").mkdir()
    images = np.zeros((1, 92), dtype=[("image", object)])
    for i in range(92):
        images[0, i]["image"] = np.full((175, 175, 3), [i, 100, 200], np.uint8)
    columns = np.zeros((92, 4), np.uint8)
    columns[np.arange(92), np.arange(92) % 4] = 1
    pairs = np.zeros((1, 2), dtype=[("name", object), ("RDM", object)])
    for i, name in enumerate(("mIT_674neurons", "hITvisStim_316vx")):
        pairs[0, i]["name"], pairs[0, i]["RDM"] = name, random.random((1, 4186))
    labels = np.array([["body", "face", "natObj", "artiObj"]], dtype=object)
    main = {"stimuli_92objs": images, "categoryLabels": labels, "categoryVectors": columns, "RDMs_mIT_hIT_fig1": pairs}
    savemat(tmp_path / "RSA92/Kriegeskorte_Neuron2008_supplementalData.mat", main)
    sessions = np.zeros((1, 4, 2), dtype=[("RDM", object), ("name", object)])
    for i, subject in enumerate(SUBJECTS):
        for j in range(2):
            sessions[0, i, j]["RDM"] = squareform(np.full(4186, i + j / 2))
            sessions[0, i, j]["name"] = f"hIT | {subject.upper()} | Session: {j + 1}"
    savemat(tmp_path / "RSA92/92_brainRDMs.mat", {"RDMs": sessions})
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    return tmp_path


def test_parts_are_disjoint_and_carry_their_dissimilarities(made):
    whole = Brain92(size=16, grey=True).whole()
    parts = [Brain92(size=16, grey=True).split(part) for part in ("train", "fit", "calibrate", "test")]
    assert [len(part) for part in parts] == [46, 10, 10, 26]
    assert torch.cat([part.index for part in parts]).sort().values.tolist() == list(range(92))
    for part in parts:
        assert torch.equal(part.dissimilarity, whole.dissimilarity[part.index][:, part.index])
        assert torch.equal(part.x, whole.x[part.index])
    assert parts[0][torch.tensor([3, 1])].dissimilarity.shape == (2, 2)
    assert not torch.equal(Brain92(seed=1).split("train").index, parts[0].index)


def test_images_are_shrunk_and_stay_on_the_grid(made):
    whole = Brain92(size=28).whole()
    assert whole.x.shape == (92, 3, 28, 28)
    assert torch.equal(whole.x * 255, (whole.x * 255).round())
    assert torch.allclose(whole.x[10, :, 5, 5] * 255, torch.tensor([10.0, 100, 200]))
    assert torch.allclose(Brain92(size=28, grey=True).whole().x[30] * 255, torch.tensor(110.0))
    assert torch.equal(whole.y, torch.arange(92) % 4)


def test_subjects_are_means_of_sessions(made):
    data = Brain92()
    assert float(data.matrix("human_it_ko_2")[0, 1]) == 1.5
    assert float(data.matrix("human_it_ko")[0, 1]) == 1.25
    assert len(REGIONS) == 2 + 4 + 8
    assert data.category("face").sum() == 23
    assert torch.equal(Brain92(region="human_it_sn").whole().dissimilarity, data.matrix("human_it_sn"))


def test_the_harness_hands_the_dissimilarities_on(made):
    spec = resolve(Spec.of("dataset", "brain92", size=16, region="monkey_it"))
    part = Data(spec, "key", "cpu").split("test")
    assert part.dissimilarity.shape == (26, 26)
    assert part.draws is not None


def test_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "home"))
    with pytest.raises(FileNotFoundError, match=r"(?s)1\. HARNESS_DATA: .*2\. the run folder's cache: .*92imageData"):
        Brain92().split("train")
    monkeypatch.delenv("HARNESS_DATA")
    with pytest.raises(FileNotFoundError, match="HARNESS_DATA: not set"):
        Brain92().files()


def test_other_files_and_names_are_refused(made):
    for change, words in (({"region": "v1"}, "not 'v1'"), ({"size": 0}, "1 to 175")):
        with pytest.raises(ValueError, match=words):
            Brain92(**change)
    with pytest.raises(ValueError, match="categories body, face, natObj, artiObj, not 'animal'"):
        Brain92().category("animal")
    with pytest.raises(ValueError, match="no part 'all'"):
        Brain92().split("all")
    savemat(made / "RSA92/92_brainRDMs.mat", {"other": np.zeros(3)})
    with pytest.raises(ValueError, match="not as published"):
        Brain92().whole()


@real
def test_known_similarities():
    data = Brain92()
    human, monkey = data.matrix("human_it"), data.matrix("monkey_it")
    assert float(spearman(monkey, human)) == pytest.approx(0.439, abs=5e-4)
    assert float(pearson(monkey, human)) == pytest.approx(0.491, abs=5e-4)
    reliable = [spearman(*(data.matrix(f"human_it_{s}_{n}") for n in SESSIONS)) for s in SUBJECTS]
    assert [float(value) for value in reliable] == pytest.approx([0.277, 0.095, 0.382, 0.120], abs=5e-4)
    sessions = torch.stack([data.matrix(f"human_it_{s}_{n}") for s in SUBJECTS for n in SESSIONS])
    assert float((sessions.mean(0) - human).abs().max()) < 1e-12
    animate = category_matrix(data.category("animate"))
    found = [float(compare(animate, region)) for region in (human, monkey) for compare in (pearson, spearman)]
    assert found == pytest.approx([0.577, 0.588, 0.442, 0.453], abs=6e-4)
    labels = data.whole().y
    models = [
        categorical_model(region, labels, constant=c).pearson for c in (False, True) for region in (monkey, human)
    ]
    assert models == pytest.approx([0.545, 0.455, 0.599, 0.481], abs=5e-4)


@real
def test_known_partitions():
    data = Brain92()
    animate = data.category("animate")
    assert int(animate.sum()) == 48
    expected = {"human_it": (0.935, 0.924, 0.935, 0.946), "monkey_it": (0.609, 0.913, 0.902, 0.826)}
    for region, shares in expected.items():
        matrix = data.matrix(region)
        cuts = [fiedler_partition(affinity(matrix)) for affinity in (complement, clipped, halved)]
        cuts.append(fiedler_partition(clipped(matrix), normalised=True))
        assert [agreement(cut.part, animate).accuracy for cut in cuts] == pytest.approx(shares, abs=5e-4)
    assert float(fiedler_partition(complement(data.matrix("monkey_it"))).eigenvalues[0]) == pytest.approx(
        -4.33, abs=5e-3
    )

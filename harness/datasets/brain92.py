"""The 92 images of Kriegeskorte et al. 2008, with dissimilarities measured in monkey and human inferior temporal cortex."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from harness.datasets._files import Stamp, cache_folder, stamps
from harness.datasets._parts import PARTS, _shuffled
from harness.datasets._stimuli import Stimuli
from harness.types import Part

SUBJECTS = ("be", "ko", "sn", "ti")
SESSIONS = (1, 2)
REGIONS = (
    "monkey_it",
    "human_it",
    *(f"human_it_{subject}" for subject in SUBJECTS),
    *(f"human_it_{subject}_{session}" for subject in SUBJECTS for session in SESSIONS),
)  # subjects are means of their two sessions; 674 neurons of monkeys, 316 voxels of people
_FILES = ("Kriegeskorte_Neuron2008_supplementalData.mat", "92_brainRDMs.mat")
_FOLDER = "RSA92"
_CATEGORIES = ("body", "face", "natural", "artificial")
_COLUMNS = ("body", "face", "natObj", "artiObj")  # of the file
_SIZES = {"train": 46, "fit": 10, "calibrate": 10, "test": 26}
_SIDE = 175


@dataclass(frozen=True)
class Brain92:
    """Objects on grey, 175x175, in four categories, with the brain's dissimilarities (1 - Pearson) among each part's images.

    x (N, 3 or 1, size, size) on the grid of multiples of 1/255, shrunk with antialiasing; grey: the mean of the channels; 46
    train, 10 fit, 10 calibrate and 26 test images by `seed`. region: whose dissimilarities, one of REGIONS. Raises
    FileNotFoundError naming where it looked. Source: Kriegeskorte et al. 2008, "Matching categorical object representations
    in inferior temporal cortex of man and monkey".
    """

    region: str = "human_it"
    size: int = 175
    grey: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.region not in REGIONS:
            raise ValueError(f"brain92 has the regions {', '.join(REGIONS)}, not {self.region!r}")
        if not 1 <= self.size <= _SIDE:
            raise ValueError(f"size is {self.size}; expected the side of the images in pixels, 1 to {_SIDE}")

    @property
    def num_classes(self) -> int:
        """Body, face, natural and artificial object."""
        return len(_CATEGORIES)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the labels mean, in order."""
        return _CATEGORIES

    @property
    def note(self) -> str:
        """What is special about the data."""
        return "92 images"

    def files(self) -> tuple[Path, ...]:
        """The two .mat files, from RSA92 in HARNESS_DATA or in the run folder's cache."""
        given = os.environ.get("HARNESS_DATA")
        places = [*([Path(given).expanduser()] if given else []), cache_folder()]
        for place in places:
            found = tuple(place / _FOLDER / name for name in _FILES)
            if all(path.is_file() for path in found):
                return found
        looked = [f"HARNESS_DATA: {given or 'not set'}", f"the run folder's cache: {cache_folder().absolute()}"]
        raise FileNotFoundError(
            f"brain92 was not found; expected {_FOLDER}/{_FILES[0]} and {_FOLDER}/{_FILES[1]}, in one of\n"
            + "\n".join(f"  {number}. {place}" for number, place in enumerate(looked, 1))
            + "\nIt cannot be downloaded by the harness: both files are in demos/92imageData of the repository rsatoolbox "
            "(github.com/rsagroup/rsatoolbox); set HARNESS_DATA to the folder that holds RSA92"
        )

    def split(self, part: Part, /) -> Stimuli:
        """One of the four parts, with the dissimilarities among its images."""
        if part not in PARTS:
            raise ValueError(f"there is no part '{part}'; the parts are {', '.join(PARTS)}")
        start = sum(size for name, size in _SIZES.items() if PARTS.index(name) < PARTS.index(part))
        whole = self.whole()
        return whole[_shuffled(len(whole), f"brain92/{self.seed}")[start : start + _SIZES[part]]]

    def whole(self) -> Stimuli:
        """All 92 images in the order of the files; index counts them from 0."""
        content = _content(stamps(self.files()))
        x = content.images.float() / 255
        if self.size != _SIDE:
            x = functional.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        if self.grey:
            x = x.mean(1, keepdim=True)
        x = (x.clamp(0, 1) * 255).round() / 255
        y = torch.stack([content.categories[name] for name in _COLUMNS], 1).long().argmax(1)
        return Stimuli(x, y, torch.arange(len(y)), len(_CATEGORIES), dissimilarity=self.matrix(self.region))

    def matrix(self, region: str) -> Tensor:
        """The dissimilarities (92, 92) float64 of a region."""
        content = _content(stamps(self.files()))
        names = [name for name in content.matrices if name == region or name.startswith(f"{region}_")]
        if region not in REGIONS:
            raise ValueError(f"brain92 has the regions {', '.join(REGIONS)}, not {region!r}")
        if region in content.matrices:
            return content.matrices[region].clone()
        return torch.stack([content.matrices[name] for name in names]).mean(0)

    @property
    def regions(self) -> tuple[str, ...]:
        """The published matrices, of people first."""
        return ("human_it", "monkey_it")

    def people(self, region: str) -> Tensor:
        """Each person's matrix in a region (R, 92, 92); R is 0 for monkeys, whose neurons were pooled."""
        if region != "human_it":
            return self.matrix(region)[None][:0]
        return torch.stack([self.matrix(f"{region}_{subject}") for subject in SUBJECTS])

    def category(self, name: str) -> Tensor:
        """Which of the 92 images are of a category of the file, such as animate or face: (92,) booleans."""
        known = _content(stamps(self.files())).categories
        if name not in known:
            raise ValueError(f"brain92 has the categories {', '.join(known)}, not {name!r}")
        return known[name].clone()


@dataclass(frozen=True, eq=False)
class _Content:
    """images (92, 3, 175, 175) uint8, categories by name, and matrices by region, sessions apart."""

    images: Tensor
    categories: dict[str, Tensor]
    matrices: dict[str, Tensor]


@lru_cache(maxsize=1)
def _content(stamped: tuple[Stamp, ...]) -> _Content:
    from scipy.io import loadmat

    first, second = (path for path, _, _ in stamped)
    try:
        main, sessions = loadmat(first), loadmat(second)
        images = np.stack([item["image"] for item in main["stimuli_92objs"][0]])
        names = [str(item[0]) for item in main["categoryLabels"][0]]
        categories = {name: torch.from_numpy(main["categoryVectors"][:, i] > 0) for i, name in enumerate(names)}
        pairs = {str(item["name"][0]): item["RDM"][0] for item in main["RDMs_mIT_hIT_fig1"][0]}
        matrices = {"monkey_it": _square(pairs["mIT_674neurons"]), "human_it": _square(pairs["hITvisStim_316vx"])}
        for i, subject in enumerate(SUBJECTS):
            for j, session in enumerate(SESSIONS):
                item = sessions["RDMs"][0, i, j]
                if f"{subject.upper()} | Session: {session}" not in str(item["name"][0]):
                    raise KeyError(f"{subject} {session}")
                matrices[f"human_it_{subject}_{session}"] = _whole(item["RDM"])
    except (KeyError, IndexError, ValueError, TypeError, NotImplementedError) as error:
        raise ValueError(f"{first.parent}: the files are not as published ({error!r}); get them again") from None
    return _Content(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), categories, matrices)


def _square(pairs: Any) -> Tensor:
    """The symmetric matrix of MATLAB's squareform, whose order of pairs is scipy's."""
    from scipy.spatial.distance import squareform

    return torch.from_numpy(squareform(np.asarray(pairs, dtype=np.float64)))


def _whole(matrix: Any) -> Tensor:
    values = torch.from_numpy(np.asarray(matrix, dtype=np.float64))
    values = _square(values.flatten()) if 1 in values.shape else (values + values.T) / 2
    return values.fill_diagonal_(0.0)

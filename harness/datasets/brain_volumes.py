"""A user's own images and what people's brains made of them, as BOLD5000 has it: NIfTI betas and region masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from harness import progress
from harness.datasets._betas import region_patterns, valid_voxels
from harness.datasets._files import Stamp, stamps
from harness.datasets._parts import PARTS, _shuffled
from harness.datasets._stimuli import Stimuli
from harness.datasets.image_folder import _SUFFIXES, _image
from harness.types import Part

_SHARES = {"train": 0.5, "fit": 0.11, "calibrate": 0.11, "test": 0.28}
_LAYOUT = (
    "images/CATEGORY/NAME.png, and for each person PERSON/trials.txt (NAME.png of each trial, a line each), "
    "PERSON/betas/*.nii.gz (the sessions, in the order of their names) and PERSON/regions.nii.gz (a number a region)"
)


@dataclass(frozen=True)
class BrainVolumes:
    """Your own stimuli with NIfTI betas of one or several people, and their dissimilarities (1 - Pearson) in a region.

    path: a folder of images/CATEGORY/NAME.png and, for each person, PERSON/trials.txt (a NAME.png a trial), PERSON/betas/*.nii.gz
    and PERSON/regions.nii.gz. region: its number, several joined by "+". Voxels are those valid in all sessions, repetitions
    are averaged, and people's matrices too, over those who saw both images. x (N, 3 or 1, size, size); half the images
    train, 11 % fit, 11 % calibrate, 28 % test by `seed`. Needs nibabel. Source: Pickard et al. 2023.
    """

    path: Path
    region: str
    size: int = 32
    grey: bool = False
    seed: int = 0

    @property
    def num_classes(self) -> int:
        """The number of categories."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The sub-folders of images, in order."""
        return tuple(sorted(folder.name for folder in (self._folder() / "images").iterdir() if folder.is_dir()))

    @property
    def note(self) -> str:
        """Whose brains."""
        return f"people: {', '.join(person.name for person in self._people())}"

    @property
    def regions(self) -> tuple[str, ...]:
        """The one region."""
        return (self.region,)

    def files(self) -> tuple[Path, ...]:
        """Images and volumes, in order; raises FileNotFoundError that says what the folder should hold."""
        people = self._people()
        found = list(self._images())
        for person in people:
            betas = sorted((person / "betas").glob("*.nii*"))
            mask = person / "regions.nii.gz"
            if not betas or not mask.is_file():
                missing = "betas/*.nii.gz" if not betas else "regions.nii.gz"
                raise FileNotFoundError(f"{person} has no {missing}; brain_volumes expects {_LAYOUT}")
            found += [person / "trials.txt", mask, *betas]
        return tuple(found)

    def split(self, part: Part, /) -> Stimuli:
        """One of the four parts, with the dissimilarities among its images."""
        if part not in PARTS:
            raise ValueError(f"there is no part '{part}'; the parts are {', '.join(PARTS)}")
        whole = self.whole()
        ends = torch.tensor([0.0, *(_SHARES[name] for name in PARTS)]).cumsum(0).mul(len(whole)).round().long().tolist()
        place = PARTS.index(part)
        return whole[_shuffled(len(whole), f"brain_volumes/{self.seed}")[ends[place] : ends[place + 1]]]

    def whole(self) -> Stimuli:
        """All images that somebody saw, by name."""
        content = _content(self, stamps(self.files()))
        x = content.x.float() / 255
        x = x.mean(1, keepdim=True).mul(255).round().div(255) if self.grey else x
        return Stimuli(x, content.y, torch.arange(len(x)), self.num_classes, dissimilarity=self.matrix(self.region))

    def matrix(self, region: str) -> Tensor:
        """The mean person's dissimilarities (N, N); raises ValueError for images that nobody saw both of."""
        content = _content(self, stamps(self.files()))
        if region != self.region:
            raise ValueError(f"these volumes were read for the region {self.region}, not {region!r}")
        mean = content.people.nanmean(0)
        if bool(mean.isnan().any()):
            row, column = (content.names[int(place)] for place in mean.isnan().nonzero()[0])
            raise ValueError(f"nobody saw both {row} and {column}; leave one of the images out")
        return mean

    def people(self, region: str) -> Tensor:
        """The matrices (R, N, N) of those who saw every image."""
        matrices = _content(self, stamps(self.files())).people
        return matrices[~matrices.isnan().flatten(1).any(1)]

    def _folder(self) -> Path:
        folder = Path(self.path).expanduser()
        if not (folder / "images").is_dir():
            raise FileNotFoundError(f"{folder} has no folder images; brain_volumes expects {_LAYOUT}")
        return folder

    def _people(self) -> list[Path]:
        found = sorted(path.parent for path in self._folder().glob("*/trials.txt"))
        if not found:
            raise FileNotFoundError(f"{self._folder()} has no PERSON/trials.txt; brain_volumes expects {_LAYOUT}")
        return found

    def _images(self) -> list[Path]:
        paths = (self._folder() / "images").glob("*/*")
        return sorted((path for path in paths if path.suffix.lower() in _SUFFIXES), key=lambda path: path.name)


@dataclass(frozen=True, eq=False)
class _Content:
    """Images (N, 3, size, size) uint8, categories (N,), names, and each person's matrix, nan for what was not seen."""

    x: Tensor
    y: Tensor
    names: tuple[str, ...]
    people: Tensor


@lru_cache(maxsize=2)
def _content(data: BrainVolumes, stamped: tuple[Stamp, ...]) -> _Content:
    images = {path.name: path for path in data._images()}
    measured: list[tuple[tuple[str, ...], Tensor]] = []
    for person in progress.steps(data._people(), "reading betas"):
        trials = tuple(person.joinpath("trials.txt").read_text(encoding="utf-8").split())
        if unknown := sorted(set(trials) - set(images)):
            raise ValueError(f"{person}/trials.txt names {unknown[0]}, of which there is no image")
        betas, mask = sorted((person / "betas").glob("*.nii*")), person / "regions.nii.gz"
        found = region_patterns(betas, mask, stimuli=trials, labels=_numbers(data.region), valid=valid_voxels(betas))
        matrix = 1 - torch.corrcoef(found.patterns)
        if bool(matrix.isnan().any()):
            silent = found.stimuli[int(matrix.isnan().sum(1).argmax())]
            raise ValueError(f"{person}: the pattern of {silent} is constant in the region {data.region}; leave it out")
        measured.append((found.stimuli, matrix))
    names = tuple(name for name in images if any(name in stimuli for stimuli, _ in measured))
    if len(names) < 10:
        raise ValueError(f"{len(names)} images were seen; four disjoint parts need at least 10")
    people = torch.full((len(measured), len(names), len(names)), float("nan"), dtype=torch.float64)
    for whose, (stimuli, matrix) in zip(people, measured, strict=True):
        places = torch.tensor([names.index(name) for name in stimuli])
        whose[places[:, None], places] = ((matrix + matrix.T) / 2).fill_diagonal_(0.0)
    people.diagonal(dim1=1, dim2=2).fill_(0.0)
    y = torch.tensor([data.class_names.index(images[name].parent.name) for name in names])
    return _Content(torch.stack([_image(images[name], data.size) for name in names]), y, names, people)


def _numbers(region: str) -> list[int]:
    parts = region.split("+")
    if not all(part.strip().isdigit() for part in parts):
        raise ValueError(f"region is {region!r}; expected a number of regions.nii.gz, or several such as 3+1003")
    return [int(part) for part in parts]

"""Patterns of a brain region from NIfTI volumes of betas, one a trial, as BOLD5000 (release 2, GLMsingle) has them.

Needs nibabel: `pip install 'adversarial-robustness-harness[brain]'`. brain_volumes makes a data set of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Volume = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RegionPatterns:
    """patterns (N, V) float64, a stimulus a row, repetitions averaged; the stimuli's names; the voxels (V, 3) int64."""

    patterns: Tensor
    stimuli: tuple[str, ...]
    voxels: Tensor


def region_patterns(
    betas: Sequence[Path],
    mask: Path,
    *,
    stimuli: Sequence[str],
    labels: Sequence[int] = (),
    valid: Volume | None = None,
) -> RegionPatterns:
    """The patterns of a region: betas, volumes (X, Y, Z, T) of the sessions, T trials each; stimuli, a name a trial.

    mask: a volume (X, Y, Z) in the same space, its voxels other than 0, or with one of some `labels`, as vcAtlas numbers
    regions. valid: which voxels may be used (valid_voxels). A stimulus shown again is averaged. Raises FileNotFoundError,
    ImportError without nibabel, ValueError for other shapes or spaces, another number of trials, empty regions, NaN.
    """
    images = [_image(path, 4) for path in betas]
    if not images:
        raise ValueError("no volume of betas was given; expected one a session")
    region = _region(_image(mask, 3), mask, labels)
    for path, image in zip(betas, images, strict=True):
        _require_space(path, image, mask, _image(mask, 3))
    trials = [image.shape[3] for image in images]
    if sum(trials) != len(stimuli):
        given = " + ".join(map(str, trials))
        raise ValueError(f"{len(stimuli)} stimuli are named, but the volumes hold {given} = {sum(trials)} trials")
    if valid is not None:
        if valid.shape != region.shape:
            raise ValueError(f"valid has the shape {valid.shape}, the region {region.shape}; they must be of one space")
        region = np.logical_and(region, valid)
    if not region.any():
        raise ValueError(f"{mask}: no voxel is left of the region (labels {list(labels) or 'all'}); see its numbers")
    rows = np.concatenate([_values(image, region) for image in images])
    _require_numbers(rows, region, mask)
    return _averaged(torch.from_numpy(rows), tuple(stimuli), torch.from_numpy(np.argwhere(region)))


def valid_voxels(betas: Sequence[Path]) -> Volume:
    """Which voxels (X, Y, Z) are finite and vary in every session: the mask that Pickard et al. 2023 intersect regions with."""
    found: Volume | None = None
    for path in betas:
        values = np.asarray(_image(path, 4).dataobj, dtype=np.float64)
        finite = np.isfinite(values)
        valid = np.logical_and(finite.all(3), np.where(finite, values, 0.0).std(3) > 0)
        if found is not None and found.shape != valid.shape:
            raise ValueError(f"{path} has the shape {valid.shape}, the sessions before it {found.shape}")
        found = valid if found is None else found & valid
    if found is None:
        raise ValueError("no volume of betas was given; expected one a session")
    return found


def _image(path: Path, dimensions: int) -> Any:
    """A volume whose values are read when they are asked for."""
    try:
        import nibabel
    except ImportError:
        raise ImportError(
            "reading NIfTI volumes needs nibabel; pip install 'adversarial-robustness-harness[brain]'"
        ) from None
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; expected a NIfTI volume (.nii or .nii.gz)")
    try:
        image: Any = nibabel.load(path)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a NIfTI volume ({error})") from None
    if len(image.shape) != dimensions:
        wanted = "(X, Y, Z, trials)" if dimensions == 4 else "(X, Y, Z)"
        raise ValueError(f"{path} has the shape {image.shape}; expected {wanted}")
    return image


def _region(image: Any, path: Path, labels: Sequence[int]) -> Volume:
    numbers = np.asarray(image.dataobj)
    if not labels:
        return np.asarray(numbers != 0)
    known = np.unique(numbers[numbers != 0]).astype(int).tolist()
    if missing := [label for label in labels if label not in known]:
        raise ValueError(f"{path} has no region {missing}; it has the numbers {known[:40]}")
    return np.isin(numbers, list(labels))


def _require_space(path: Path, image: Any, mask_path: Path, mask: Any) -> None:
    """Raise ValueError unless both volumes have one grid of voxels."""
    if image.shape[:3] != mask.shape:
        raise ValueError(
            f"{path} has voxels {image.shape[:3]}, {mask_path} {mask.shape}; move the mask to the betas' space"
        )
    if not np.allclose(image.affine, mask.affine, atol=1e-3):
        raise ValueError(f"{path} and {mask_path} have other affines: they lie elsewhere in space; resample the mask")


def _values(image: Any, region: Volume) -> NDArray[np.float64]:
    """Values of the region's voxels: (T, V), read trial by trial."""
    return np.stack([np.asarray(image.dataobj[..., t], dtype=np.float64)[region] for t in range(image.shape[3])])


def _require_numbers(rows: NDArray[np.float64], region: Volume, mask: Path) -> None:
    broken = ~np.isfinite(rows).all(0)
    if broken.any():
        place = tuple(int(value) for value in np.argwhere(region)[broken.argmax()])
        raise ValueError(
            f"{mask}: {int(broken.sum())} of {rows.shape[1]} voxels of the region are not finite in some trial, the first "
            f"at {place}; give valid=valid_voxels(betas)"
        )


def _averaged(rows: Tensor, stimuli: tuple[str, ...], voxels: Tensor) -> RegionPatterns:
    """One row a stimulus, in the order in which they first come."""
    names = tuple(dict.fromkeys(stimuli))
    place = {name: number for number, name in enumerate(names)}
    index = torch.tensor([place[name] for name in stimuli])
    sums = torch.zeros(len(names), rows.shape[1], dtype=rows.dtype).index_add_(0, index, rows)
    return RegionPatterns(sums / index.bincount()[:, None], names, voxels)

"""Label a scan: onto the grid of the run, through the network, back to the scan's own grid."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from spineseg.data.cache import Grid
from spineseg.data.layouts import Case, open_source
from spineseg.data.preprocess import image_to_grid, target_grid
from spineseg.data.volume import (
    check_target,
    extension,
    from_canonical,
    geometry_mismatch,
    to_canonical,
    write_image,
)
from spineseg.inference.network import TrainedNetwork
from spineseg.labels import CLASSES, NUM_CLASSES
from spineseg.methods import NNUNET
from spineseg.runs import RunError, finished_facts, is_finished
from spineseg.utils import paths
from spineseg.utils.errors import UserError
from spineseg.utils.progress import progress_bar


class Segmenter(ABC):
    """A finished run, ready to label scans; `facts` tells what the run was made from."""

    grid: Grid
    facts: dict[str, Any]

    def __call__(self, canonical: sitk.Image) -> np.ndarray:
        """The class of each voxel of a canonical scan: uint8 (slices, rows, columns)."""
        return to_scan_grid(self.probabilities(self.gray(canonical)), self.grid, canonical)

    def gray(self, canonical: sitk.Image) -> np.ndarray:
        """What the network gets to see of a scan: uint8 (slices, rows, kept columns)."""
        first, last = self.grid.columns
        gray = image_to_grid(canonical, self.grid.slices, self.grid.size)[:, :, first:last]
        return np.ascontiguousarray(gray)

    @abstractmethod
    def probabilities(self, gray: np.ndarray) -> np.ndarray:
        """Class probabilities of a volume's slices, uint8 (N, H, W): float32 (N, H, W, classes)."""


class NetworkSegmenter(TrainedNetwork, Segmenter):
    """One of our own networks."""


def open_run(run: Path) -> Segmenter:
    """The segmenter of a finished run, whatever its method. Raises RunError if it is not one."""
    if finished_facts(run)["model"] == NNUNET:
        from spineseg.nnunet.adapter import NnunetSegmenter

        return NnunetSegmenter(run)
    return NetworkSegmenter(run)


def to_scan_grid(cropped: np.ndarray, grid: Grid, canonical: sitk.Image) -> np.ndarray:
    """The most probable class of each voxel of the scan itself, uint8 in canonical array order.

    `cropped` holds probabilities (slices, rows, kept columns, classes) on `grid`. They are
    interpolated, not the labels, so that edges keep their place between pixels. Outside the kept
    columns there is background.
    """
    first, last = grid.columns
    frame = target_grid(canonical, grid.slices, grid.size)
    if not geometry_mismatch(frame, canonical):
        classes = np.zeros((grid.slices, grid.size, grid.size), np.uint8)
        classes[..., first:last] = cropped.argmax(-1)
        return classes
    image = sitk.GetImageFromArray(cropped, isVector=True)
    image.CopyInformation(frame[first:last, :, :])
    on_scan = sitk.Resample(image, canonical)
    return sitk.GetArrayViewFromImage(on_scan).argmax(-1).astype(np.uint8)


def predict_scan(scan: Path, mask: Path, run: Path | None = None) -> dict[str, int]:
    """Write the mask of a scan, in its own grid and orientation, labelled as the challenge does.

    `scan` is a file or the folder of a DICOM series, `run` a finished run's folder, by default the
    newest. Returns the voxels of each class. Raises UserError for a bad scan and RunError where
    there is no such run.
    """
    ((_, found),) = predict_all(scan, mask, run)
    if isinstance(found, UserError):
        raise found
    return found


def predict_all(
    scans: Path, masks: Path, run: Path | None = None
) -> Iterator[tuple[Path, dict[str, int] | UserError]]:
    """Write the masks of all scans at a place, as `predict_scan` does for one.

    Yields each mask's path with the voxels of each class, or what cannot be read with its fault.
    Where there is one scan, `masks` may be a file; else it is a folder in which each mask lies
    where its scan lies in `scans`, under the scan's name or that of the series' UID.
    """
    source = open_source(scans)
    cases = _targets(scans, source.cases(), masks)
    segmenter = open_run(run or newest_run())
    for problem in source.problems():
        yield Path(problem.path), UserError(problem)
    for mask, case in progress_bar(
        cases.items(), desc="predict", unit="scan", shown=len(cases) > 1
    ):
        try:
            image = case.read()
        except UserError as error:
            yield case.image, error
            continue
        mask.parent.mkdir(parents=True, exist_ok=True)
        yield mask, _write_mask(segmenter, image, mask)


def _targets(scans: Path, cases: list[Case], masks: Path) -> dict[Path, Case]:
    """Which mask to write for which scan."""
    if extension(masks) and len(cases) > 1:
        what = f"the name of one image, but {scans} holds {len(cases)} scans"
        raise UserError.at(masks, what, "name a folder")
    if extension(masks) or not scans.is_dir():
        check_target(masks)
        return dict(zip([masks], cases, strict=False))
    if masks.resolve().is_relative_to(scans.resolve()):
        raise UserError.at(masks, "lies within the folder of scans", "write elsewhere")
    places = {}
    for case in cases:
        scan = case.image.relative_to(scans)
        places[masks / (scan.parent / f"{case.id}.nii.gz" if case.slice_files else scan)] = case
    return places


def _write_mask(segmenter: Segmenter, image: sitk.Image, mask: Path) -> dict[str, int]:
    canonical = to_canonical(image)
    classes = segmenter(canonical)
    labelled = sitk.GetImageFromArray(classes)
    labelled.CopyInformation(canonical)
    write_image(from_canonical(labelled, image), mask)
    voxels = np.bincount(classes.ravel(), minlength=NUM_CLASSES)
    return dict(zip(CLASSES, voxels.tolist(), strict=True))


def newest_run() -> Path:
    """The finished run that ended last. Raises RunError where there is none."""
    finished = [path for path in (paths.root() / "runs").glob("*/*") if is_finished(path)]
    if not finished:
        raise RunError("no finished run; `spineseg train` makes one, or name one with --run")
    return max(finished, key=lambda path: (path / "run.json").stat().st_mtime)

"""Label scans: from scan files to mask files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from spineseg.data.layouts import Case, open_source
from spineseg.data.volume import check_target, extension, from_canonical, to_canonical, write_image
from spineseg.evaluation.segmenters import open_segmenter
from spineseg.inference.segmenter import Segmenter
from spineseg.labels import CLASSES, NUM_CLASSES
from spineseg.runs import FINISHED, is_finished
from spineseg.utils import paths
from spineseg.utils.errors import UserError
from spineseg.utils.progress import progress_bar


def predict_scan(scan: Path, mask: Path, run: Path | None = None) -> dict[str, int]:
    """Write the mask of a scan, in its own grid and orientation, with the challenge's labels.

    `scan` is a file or the folder of a DICOM series. `run` is the folder of a finished run, by
    default the newest. Returns the number of voxels of each class. Raises UserError for a bad scan
    and if there is no such run.
    """
    ((_, found),) = predict_all(scan, mask, run)
    if isinstance(found, UserError):
        raise found
    return found


def predict_all(
    scans: Path, masks: Path, run: Path | None = None
) -> Iterator[tuple[Path, dict[str, int] | UserError]]:
    """Write the masks of all scans in a folder, as `predict_scan` does for one.

    Yields for each scan the path of its mask and the number of voxels of each class, or the path of
    what cannot be read and the error. For a single scan `masks` may be a file. Otherwise it is a
    folder: a mask gets the place and name that its scan has in `scans`, or the UID of its series.
    """
    source = open_source(scans)
    cases = _targets(scans, source.cases(), masks)
    segmenter = open_segmenter(run or newest_run())
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
        raise UserError.at(masks, "is within the folder of scans", "write elsewhere")
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
    """The run that was finished last. Raises UserError if there is none."""
    runs = paths.root() / "runs"
    finished = [path for path in runs.glob("*/*") if is_finished(path)]
    if not finished:
        remedy = "`spineseg train` makes one, or name one with --run"
        raise UserError.at(runs, "no finished run", remedy)
    return max(finished, key=lambda path: (path / FINISHED).stat().st_mtime)

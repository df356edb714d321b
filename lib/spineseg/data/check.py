"""Find all problems of a folder of scans before any work starts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from joblib import cpu_count

from spineseg.data.layouts import Case, CaseKey, LabelledFolder, Source, open_labelled, open_source
from spineseg.data.volume import as_labels, geometry_mismatch, read_scan, read_volume, to_canonical
from spineseg.labels import unknown_labels
from spineseg.utils.errors import Problem, UserError
from spineseg.utils.progress import progress_bar

PAPER_SLICES = 12  # per volume; section 2.1
USUAL_PIXEL_MM = (0.1, 5.0)
USUAL_SLICE_DISTANCE_MM = (1.0, 12.0)
MAX_PIXEL_ASPECT = 1.01  # pixels up to this ratio count as square
LISTED_LABELS = 9  # at most, of the unknown labels of a mask


@dataclass(frozen=True)
class FolderReport:
    """Usable cases, problems that make others unusable, and notes about accepted files."""

    cases: list[Case] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)


def check_folder(root: Path, progress: bool = False) -> FolderReport:
    """Read every file of a folder in any known layout and report all problems.

    Nothing that the folder holds raises an exception. `progress` draws a bar on stderr.
    """
    return _check(root, open_source, progress)


def require_valid(root: Path, progress: bool = False) -> list[Case]:
    """The cases of a folder with masks. Raises UserError, listing all problems, if it has any."""
    report = _check(root, open_labelled, progress)
    if report.problems:
        raise UserError(*report.problems)
    return report.cases


def _check(root: Path, open_folder: Callable[[Path], Source], progress: bool) -> FolderReport:
    report = FolderReport()
    try:
        source = open_folder(root)
    except UserError as error:
        report.problems.extend(error.problems)
        return report
    except OSError as error:
        what = f"cannot be opened ({error.strerror})"
        report.problems.append(Problem(root, what, "check its permissions"))
        return report
    report.problems.extend(source.problems())
    report.notes.extend(source.notes())
    jobs: list[Callable[[], FolderReport]]
    if isinstance(source, LabelledFolder):
        jobs = [partial(_check_labelled, source, key) for key in source.case_keys()]
    else:
        jobs = [partial(_check_unlabelled, case) for case in source.cases()]
    with ThreadPoolExecutor(cpu_count()) as pool:
        checked = pool.map(lambda job: job(), jobs)
        for found in progress_bar(
            checked, shown=progress, desc="check", total=len(jobs), unit="case"
        ):
            report.cases.extend(found.cases)
            report.problems.extend(found.problems)
            report.notes.extend(found.notes)
    return report


def _check_unlabelled(case: Case) -> FolderReport:
    """The report on a scan without a mask."""
    report = FolderReport()
    if _read_all(partial(_check_scan, read=lambda _: case.read()), [case.image], report):
        report.cases.append(case)
    return report


def _check_labelled(folder: LabelledFolder, key: CaseKey) -> FolderReport:
    """The report on one case, including all files that claim to be its scan or mask."""
    report = FolderReport()
    images, masks = folder.images.get(key, []), folder.masks.get(key, [])
    scans = _read_all(_check_scan, images, report)
    labels = _read_all(partial(_check_mask, known=folder.labels), masks, report)
    if not masks:
        remedy = f"add it, named like {folder.example[1]}, or remove the scan"
        report.problems.append(Problem(images[0], "scan without a mask", remedy))
    if not images:
        remedy = f"add it, named like {folder.example[0]}, or remove the mask"
        report.problems.append(Problem(masks[0], "mask without a scan", remedy))
    if len(scans) == len(labels) == 1 and not report.problems:
        if mismatch := geometry_mismatch(labels[0], scans[0]):
            what = f"does not fit {images[0].name}: {mismatch}"
            remedy = "draw or resample it on the scan's grid"
            report.problems.append(Problem(masks[0], what, remedy))
        else:
            report.cases.append(folder.case(key, images[0], masks[0]))
    return report


def _read_all(
    read: Callable[[Path, list[Problem]], sitk.Image], paths: list[Path], report: FolderReport
) -> list[sitk.Image]:
    """Read files with `read(path, notes)` and add what it finds to the report."""
    images = []
    for path in paths:
        try:
            images.append(read(path, report.notes))
        except UserError as error:
            report.problems.extend(error.problems)
    return images


def _check_scan(
    path: Path, notes: list[Problem], read: Callable[[Path], sitk.Image] = read_scan
) -> sitk.Image:
    """The canonical scan; adds what is unusual to `notes`. Raises UserError if it is unusable."""
    scan = to_canonical(read(path))
    *pixel, between = scan.GetSpacing()
    odd = []
    if between < max(pixel):
        odd.append("the largest spacing is not right-left, so it is no sagittal scan")
    if max(pixel) > MAX_PIXEL_ASPECT * min(pixel):
        odd.append("pixels are not square")
    if min(pixel) < USUAL_PIXEL_MM[0] or max(pixel) > USUAL_PIXEL_MM[1]:
        odd.append("pixels are unusually small or large")
    if not USUAL_SLICE_DISTANCE_MM[0] <= between <= USUAL_SLICE_DISTANCE_MM[1]:
        odd.append("slices are unusually close or far")
    if odd:
        spacing = " x ".join(f"{mm:.3g}" for mm in (between, *reversed(pixel)))
        what = f"odd spacing of {spacing} mm (R-L, S-I, A-P): {', '.join(odd)}"
        notes.append(Problem(path, what, "accepted, please check"))
    if scan.GetDepth() != PAPER_SLICES:
        remedy = (
            f"the paper has {PAPER_SLICES}; "
            "training brings all scans to the number that most of them have"
        )
        notes.append(Problem(path, f"{scan.GetDepth()} slices", remedy))
    return scan


def _check_mask(path: Path, notes: list[Problem], known: tuple[str, ...]) -> sitk.Image:
    """The canonical mask; adds what is unusual to `notes`. Raises UserError if it is unusable."""
    stored = read_volume(path)
    mask = as_labels(stored, path)
    labels = np.unique(sitk.GetArrayViewFromImage(mask))
    if stored.GetPixelID() in (sitk.sitkFloat32, sitk.sitkFloat64):
        notes.append(Problem(path, "whole numbers stored as float", "read as integers"))
    if unknown := unknown_labels(labels, known):
        listed = ", ".join(map(str, unknown[:LISTED_LABELS]))
        more = len(unknown) - LISTED_LABELS
        what = f"unknown labels: {listed}" + (f" and {more} more" if more > 0 else "")
        notes.append(Problem(path, what, "become background"))
    if not labels.any():
        notes.append(Problem(path, "the mask marks nothing", "accepted as all background"))
    return to_canonical(mask)

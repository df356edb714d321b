"""Find everything that is wrong with a folder of scans before any work starts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from joblib import cpu_count

from spineseg.data.layouts import Case, Key, LabelledFolder, Source, open_labelled, open_source
from spineseg.data.volume import as_labels, geometry_mismatch, read_scan, read_volume, to_canonical
from spineseg.labels import unknown_labels
from spineseg.utils.errors import Problem, UserError
from spineseg.utils.progress import progress_bar

SLICES = 12  # paper, section 2.1
IN_PLANE = (0.1, 5.0)  # mm
BETWEEN_SLICES = (1.0, 12.0)  # mm


@dataclass(frozen=True)
class Report:
    """Usable cases, what makes others unusable, and what was accepted with a remark."""

    cases: list[Case] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)


def check_folder(root: Path, progress: bool = False) -> Report:
    """Read every file of a folder in any known layout and report all that was found.

    Never raises for what the folder holds. `progress` draws a bar on stderr.
    """
    return _check(root, open_source, progress)


def require_valid(root: Path, progress: bool = False) -> list[Case]:
    """The cases of a folder with masks and without problems; UserError, listing all, for others."""
    report = _check(root, open_labelled, progress)
    if report.problems:
        raise UserError(*report.problems)
    return report.cases


def _check(root: Path, open_: Callable[[Path], Source], progress: bool) -> Report:
    report = Report()
    try:
        source = open_(root)
    except UserError as error:
        report.problems.append(*error.problems)
        return report
    except OSError as error:
        what, remedy = f"cannot be opened ({error.strerror})", "check its permissions"
        report.problems.append(Problem(root, what, remedy))
        return report
    report.problems.extend(*fault.problems for fault in source.faults())
    report.notes.extend(Problem(*remark) for remark in source.remarks())
    jobs: list[Callable[[], Report]]
    if isinstance(source, LabelledFolder):
        jobs = [partial(_inspect, source, key) for key in source.claimed()]
    else:
        jobs = [partial(_inspect_scan, case) for case in source.cases()]
    with ThreadPoolExecutor(cpu_count()) as pool:
        inspected = pool.map(lambda job: job(), jobs)
        cases = {"desc": "check", "total": len(jobs), "unit": "case"}
        for found in progress_bar(inspected, shown=progress, **cases):
            report.cases.extend(found.cases)
            report.problems.extend(found.problems)
            report.notes.extend(found.notes)
    return report


def _inspect_scan(case: Case) -> Report:
    """The report on a scan that comes without a mask."""
    report = Report()
    if _collect(partial(_scan, read=lambda _: case.read()), [case.image], report):
        report.cases.append(case)
    return report


def _inspect(folder: LabelledFolder, key: Key) -> Report:
    """The report on one case and all files that claim to be its scan or mask."""
    report = Report()
    images, masks = folder.images.get(key, []), folder.masks.get(key, [])
    scans = _collect(_scan, images, report)
    labels = _collect(partial(_labels, known=folder.labels), masks, report)
    if not masks:
        what = "scan without a mask"
        remedy = f"add it, named like {folder.example[1]}, or remove the scan"
        report.problems.append(Problem(images[0], what, remedy))
    if not images:
        what = "mask without a scan"
        remedy = f"add it, named like {folder.example[0]}, or remove the mask"
        report.problems.append(Problem(masks[0], what, remedy))
    if len(scans) == len(labels) == 1 and not report.problems:
        (scan,), (mask,) = scans, labels
        if mismatch := geometry_mismatch(mask, scan):
            what = f"does not fit {images[0].name}: {mismatch}"
            report.problems.append(
                Problem(masks[0], what, "draw or resample it on the scan's grid")
            )
        else:
            report.cases.append(folder.case(key, images[0], masks[0]))
    return report


def _collect(
    read: Callable[[Path, list[Problem]], sitk.Image], paths: list[Path], report: Report
) -> list[sitk.Image]:
    images = []
    for path in paths:
        try:
            images.append(read(path, report.notes))
        except UserError as error:
            report.problems.append(*error.problems)
    return images


def _scan(
    path: Path, notes: list[Problem], read: Callable[[Path], sitk.Image] = read_scan
) -> sitk.Image:
    """The canonical scan, its oddities added to `notes`; UserError when it has a problem."""
    scan = to_canonical(read(path))
    *in_plane, between = scan.GetSpacing()
    odd = []
    if between < max(in_plane):
        odd.append("the largest spacing is not right-left, so it is no sagittal scan")
    if max(in_plane) > 1.01 * min(in_plane):
        odd.append("pixels are not square")
    if not (IN_PLANE[0] <= min(in_plane) and max(in_plane) <= IN_PLANE[1]):
        odd.append("pixels are unusually small or large")
    if not BETWEEN_SLICES[0] <= between <= BETWEEN_SLICES[1]:
        odd.append("slices are unusually close or far")
    if odd:
        spacing = " x ".join(f"{mm:.3g}" for mm in (between, *reversed(in_plane)))
        what = f"odd spacing of {spacing} mm (R-L, S-I, A-P): {', '.join(odd)}"
        notes.append(Problem(path, what, "accepted, please check"))
    if scan.GetDepth() != SLICES:
        what = f"{scan.GetDepth()} slices"
        remedy = (
            f"the paper has {SLICES}; training brings all scans to the number most of them have"
        )
        notes.append(Problem(path, what, remedy))
    return scan


def _labels(path: Path, notes: list[Problem], known: tuple[str, ...]) -> sitk.Image:
    """The canonical mask, its oddities added to `notes`; UserError when it has a problem."""
    stored = read_volume(path)
    mask = as_labels(stored, path)
    labels = np.unique(sitk.GetArrayViewFromImage(mask))
    if stored.GetPixelID() in (sitk.sitkFloat32, sitk.sitkFloat64):
        notes.append(Problem(path, "whole numbers stored as float", "read as integers"))
    if unknown := unknown_labels(labels, known):
        more = f" and {len(unknown) - 9} more" if len(unknown) > 9 else ""
        what = f"labels that stand for nothing: {', '.join(map(str, unknown[:9]))}{more}"
        notes.append(Problem(path, what, "become background"))
    if not labels.any():
        notes.append(Problem(path, "the mask marks nothing", "accepted as all background"))
    return to_canonical(mask)

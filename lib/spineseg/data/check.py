"""Find everything that is wrong with a folder of scans before any work starts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from joblib import cpu_count

from spineseg.data.sources import Case, ChallengeFolder, challenge_case
from spineseg.data.volume import (
    ScanError,
    as_labels,
    geometry_mismatch,
    read_scan,
    read_volume,
    to_canonical,
)
from spineseg.labels import CHALLENGE_LABELS
from spineseg.progress import progress_bar

SLICES = 12  # paper, section 2.1
IN_PLANE = (0.1, 5.0)  # mm
BETWEEN_SLICES = (1.0, 12.0)  # mm


@dataclass(frozen=True)
class Finding:
    """One line about one file: what was found and what to do."""

    path: Path
    what: str
    remedy: str

    def __str__(self) -> str:
        return str(ScanError(self.path, self.what, self.remedy))


@dataclass(frozen=True)
class Report:
    """Usable cases, what makes others unusable, and what was accepted with a remark."""

    cases: list[Case] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)


class DataError(ValueError):
    """All problems of a folder, one a line."""

    def __init__(self, problems: list[Finding]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def check_folder(root: Path, progress: bool = False) -> Report:
    """Read every file of a folder in the challenge's layout and report all that was found.

    Never raises for what the folder holds. `progress` draws a bar on stderr.
    """
    report = Report()
    try:
        folder = ChallengeFolder(root)
    except ScanError as error:
        report.problems.append(Finding(*error.args))
        return report
    except OSError as error:
        what, remedy = f"cannot be opened ({error.strerror})", "check its permissions"
        report.problems.append(Finding(root, what, remedy))
        return report
    report.problems.extend(Finding(*clash.args) for clash in folder.clashes())
    report.notes.extend(Finding(path, "not a scan's name", "ignored") for path in folder.strays)
    numbers = sorted({*folder.images, *folder.masks})
    with ThreadPoolExecutor(cpu_count()) as pool:
        inspected = pool.map(
            lambda n: _inspect(n, folder.images.get(n, []), folder.masks.get(n, [])), numbers
        )
        cases = {"desc": "check", "total": len(numbers), "unit": "case"}
        for found in progress_bar(inspected, shown=progress, **cases):
            report.cases.extend(found.cases)
            report.problems.extend(found.problems)
            report.notes.extend(found.notes)
    return report


def require_valid(root: Path, progress: bool = False) -> list[Case]:
    """The cases of a folder without problems; DataError, listing them all, for any other."""
    report = check_folder(root, progress)
    if report.problems:
        raise DataError(report.problems)
    return report.cases


def _inspect(number: int, images: list[Path], masks: list[Path]) -> Report:
    """The report on one case number and all files that claim it."""
    report = Report()
    scans = _collect(_scan, images, report)
    labels = _collect(_labels, masks, report)
    if not masks:
        what, remedy = "scan without a mask", f"add mask_case{number} or remove the scan"
        report.problems.append(Finding(images[0], what, remedy))
    if not images:
        what, remedy = "mask without a scan", f"add Case{number} or remove the mask"
        report.problems.append(Finding(masks[0], what, remedy))
    if len(scans) == len(labels) == 1 and not report.problems:
        (scan,), (mask,) = scans, labels
        if mismatch := geometry_mismatch(mask, scan):
            what = f"does not fit {images[0].name}: {mismatch}"
            report.problems.append(
                Finding(masks[0], what, "draw or resample it on the scan's grid")
            )
        else:
            report.cases.append(challenge_case(number, images[0], masks[0]))
    return report


def _collect(
    read: Callable[[Path, list[Finding]], sitk.Image], paths: list[Path], report: Report
) -> list[sitk.Image]:
    images = []
    for path in paths:
        try:
            images.append(read(path, report.notes))
        except ScanError as error:
            report.problems.append(Finding(*error.args))
    return images


def _scan(path: Path, notes: list[Finding]) -> sitk.Image:
    """The canonical scan, its oddities added to `notes`; ScanError when it has a problem."""
    scan = to_canonical(read_scan(path))
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
        notes.append(Finding(path, what, "accepted, please check"))
    if scan.GetDepth() != SLICES:
        what = f"{scan.GetDepth()} slices"
        remedy = (
            f"the paper has {SLICES}; training brings all scans to the number most of them have"
        )
        notes.append(Finding(path, what, remedy))
    return scan


def _labels(path: Path, notes: list[Finding]) -> sitk.Image:
    """The canonical mask, its oddities added to `notes`; ScanError when it has a problem."""
    stored = read_volume(path)
    mask = as_labels(stored, path)
    labels = np.unique(sitk.GetArrayViewFromImage(mask))
    if stored.GetPixelID() in (sitk.sitkFloat32, sitk.sitkFloat64):
        notes.append(Finding(path, "whole numbers stored as float", "read as integers"))
    if unknown := labels[labels >= len(CHALLENGE_LABELS)].tolist():
        what = f"labels above {len(CHALLENGE_LABELS) - 1}: {', '.join(map(str, unknown))}"
        notes.append(Finding(path, what, "become background"))
    if not labels.any():
        notes.append(Finding(path, "the mask marks nothing", "accepted as all background"))
    return to_canonical(mask)

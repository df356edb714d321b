"""Find all problems of a folder of scans before any work starts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from spineseg.data.layouts import Case, CaseKey, LabelledFolder, Source, open_labelled, open_source
from spineseg.data.levels import label_problems, labels_in, order_note
from spineseg.data.padding import image_part
from spineseg.data.volume import on_grid_of, to_canonical
from spineseg.labels import CLASSES, FOREGROUND, relabel, unknown_labels
from spineseg.utils.errors import Problem, UserError
from spineseg.utils.processes import count_cores
from spineseg.utils.progress import progress_bar

PAPER_SLICES = 12  # per volume; section 2.1
USUAL_PIXEL_MM = (0.1, 5.0)
USUAL_SLICE_DISTANCE_MM = (1.0, 12.0)
MAX_PIXEL_ASPECT = 1.01  # pixels up to this ratio count as square
USUAL_PADDING = 0.2  # of a scan's voxels; more is worth a note
MOST_VALUES_OF_MASK = 32  # a volume with more different values is no mask
LISTED_LABELS = 9  # at most, of the unknown labels of a mask


@dataclass(frozen=True)
class FolderReport:
    """Usable cases, problems that make others unusable, and notes about accepted files."""

    cases: list[Case] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    labels: dict[Path, list[int]] = field(default_factory=dict)  # above 0, of each readable mask
    slices: dict[Path, int] = field(default_factory=dict)  # the number of each readable scan


def check_folder(root: Path, labels: str | None = None, progress: bool = False) -> FolderReport:
    """Read every file of a folder in any known layout and report all problems.

    The masks have the layout's own labels, unless `labels` names others in `LABEL_SETS`. Nothing
    that the folder holds raises an exception. `progress` draws a bar on stderr.
    """
    return _check(root, partial(open_source, labels=labels), progress)


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
    with ThreadPoolExecutor(count_cores()) as pool:
        checked = pool.map(lambda job: job(), jobs)
        for found in progress_bar(
            checked, shown=progress, desc="check", total=len(jobs), unit="case"
        ):
            report.cases.extend(found.cases)
            report.problems.extend(found.problems)
            report.notes.extend(found.notes)
            report.labels.update(found.labels)
            report.slices.update(found.slices)
    if isinstance(source, LabelledFolder):
        declared = source.labels_declared
        report.problems.extend(label_problems(source.root, report.labels, source.labels, declared))
        report.notes.extend(_slices_note(source.root, report.slices))
        report.notes.extend(_absent_classes_note(source.root, report.labels, source.labels))
    return report


def _check_unlabelled(case: Case) -> FolderReport:
    """The report on a scan without a mask."""
    report = FolderReport()
    if _read_all(lambda _: _check_scan(case, report), [case.image], report):
        report.cases.append(case)
    return report


def _check_labelled(folder: LabelledFolder, key: CaseKey) -> FolderReport:
    """The report on one case, including all files that claim to be its scan or mask."""
    report = FolderReport()
    images, masks = folder.images.get(key, []), folder.masks.get(key, [])
    scans = _read_all(
        lambda image: _check_scan(folder.case(key, image, None), report), images, report
    )
    labels = _read_all(
        lambda mask: _check_mask(folder.case(key, (*images, mask)[0], mask), report), masks, report
    )
    if not masks:
        remedy = f"add it, named like {folder.example[1]}, or remove the scan"
        report.problems.append(Problem(images[0], "scan without a mask", remedy))
    if not images:
        remedy = f"add it, named like {folder.example[0]}, or remove the mask"
        report.problems.append(Problem(masks[0], "mask without a scan", remedy))
    if len(scans) == len(labels) == 1 and not report.problems:
        case = folder.case(key, images[0], masks[0])
        if _read_all(lambda _: _check_pair(case, scans[0], labels[0], report), masks, report):
            report.cases.append(case)
    return report


def _read_all(
    read: Callable[[Path], sitk.Image], paths: list[Path], report: FolderReport
) -> list[sitk.Image]:
    """What `read` returns for each path; adds the problems that it raises to the report."""
    images = []
    for path in paths:
        try:
            images.append(read(path))
        except UserError as error:
            report.problems.extend(error.problems)
    return images


def _check_scan(case: Case, report: FolderReport) -> sitk.Image:
    """The scan as read; notes what is unusual. Raises UserError if it is unusable."""
    scan = case.read(report.notes)
    canonical = to_canonical(scan)
    report.notes.extend(scan_notes(canonical, case.image))
    report.slices[case.image] = canonical.GetDepth()
    return scan


def _slices_note(root: Path, slices: dict[Path, int]) -> list[Problem]:
    """A note if scans of a folder have another number of slices than the paper's."""
    others = {number for number in slices.values() if number != PAPER_SLICES}
    if not others:
        return []
    many = sum(number in others for number in slices.values())
    span = " to ".join(map(str, sorted({min(others), max(others)})))
    what = f"{many} of {len(slices)} scans have {span} slices, and the paper's have {PAPER_SLICES}"
    remedy = "training brings all scans to the number that most of them have"
    return [Problem(root, what, remedy)]


def _absent_classes_note(
    root: Path, found: dict[Path, list[int]], labels: tuple[str, ...]
) -> list[Problem]:
    """A note if the masks of a folder, whose labels were `found`, mark only some of the classes."""
    marked = {labels[label] for each in found.values() for label in each if label < len(labels)}
    absent = [name for name in FOREGROUND if name not in marked]
    if not 0 < len(absent) < len(FOREGROUND):
        return []
    what = f"no mask marks {', '.join(absent)}"
    return [Problem(root, what, "a network that learns from these masks calls them background")]


def _refuse_mask(scan: sitk.Image, path: Path) -> None:
    voxels = sitk.GetArrayViewFromImage(scan)
    some = voxels[:, ::8, ::8]  # enough to tell almost every scan from a mask
    if len(np.unique(some)) > MOST_VALUES_OF_MASK:
        return
    values = len(np.unique(voxels))
    if values <= MOST_VALUES_OF_MASK:
        what = f"has only {values} different values, so it looks like a mask, not a scan"
        raise UserError.at(path, what, "give the scan")


def scan_notes(scan: sitk.Image, path: Path) -> list[Problem]:
    """What is unusual about a canonical scan, whose file is `path`: its spacing, its padding.

    Raises UserError if it has as few values as a mask.
    """
    _refuse_mask(scan, path)
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
    notes = []
    if odd:
        spacing = " x ".join(f"{mm:.3g}" for mm in (between, *reversed(pixel)))
        what = f"odd spacing of {spacing} mm (R-L, S-I, A-P): {', '.join(odd)}"
        notes.append(Problem(path, what, "accepted, please check"))
    part = image_part(scan)
    if part and 1 - part.share > USUAL_PADDING:
        what = f"{1 - part.share:.0%} of its voxels are padding with {part.padding:g}"
        notes.append(Problem(path, what, "cropped before the network sees it"))
    return notes


def _check_mask(case: Case, report: FolderReport) -> sitk.Image:
    """The mask as read; notes what is unusual. Raises UserError if it is unusable."""
    mask = case.read_mask(report.notes)
    path = case.mask or case.image
    found = labels_in(mask)
    if unknown := unknown_labels(np.array(found, int), case.labels):
        listed = ", ".join(map(str, unknown[:LISTED_LABELS]))
        more = len(unknown) - LISTED_LABELS
        what = f"unknown labels: {listed}" + (f" and {more} more" if more > 0 else "")
        report.notes.append(Problem(path, what, "become background"))
    if not found:
        report.notes.append(Problem(path, "the mask marks nothing", "accepted as all background"))
    report.labels[path] = found
    return mask


def _check_pair(case: Case, scan: sitk.Image, mask: sitk.Image, report: FolderReport) -> sitk.Image:
    """The mask on the scan's grid; notes what is unusual. Raises UserError if it does not fit."""
    path = case.mask or case.image
    fitted = on_grid_of(mask, scan, path, case.image, report.notes)
    canonical = to_canonical(fitted)
    classes = relabel(sitk.GetArrayViewFromImage(canonical), case.labels, CLASSES)
    if note := order_note(classes, path):
        report.notes.append(note)
    return fitted

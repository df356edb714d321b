"""Which files `spineseg predict` writes for which scan. Nothing that it did not write is lost."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from spineseg.data.layouts import Case
from spineseg.data.volume import MASK_EXTENSIONS, extension, stem
from spineseg.outputs.label_files import label_table_paths
from spineseg.outputs.levels import HEADER
from spineseg.outputs.own import MARK, is_own, is_unchanged
from spineseg.utils.errors import UserError

SERIES_MASK = ".nii.gz"  # the type of a DICOM series' mask
ELSEWHERE = "write elsewhere"
PICTURE = ".png"
WORKBOOKS = (".xlsx", ".xls", ".ods")


@dataclass(frozen=True)
class Outputs:
    """How to write masks, and what else to write."""

    labels: str = "challenge"  # a key of LABEL_SETS
    clean_up: bool = True  # repair levels that cannot be (inference/cleanup.py)
    preview: Path | None = None  # a .png file for one scan, a folder for several
    csv: Path | None = None  # volume, height and position of each level
    label_tables: bool = False  # for ITK-SNAP and 3D Slicer, in the folder of the masks


@dataclass(frozen=True)
class Target:
    """One scan and its files. `name` is its place in the folder of scans, for tables."""

    case: Case
    name: str
    mask: Path
    preview: Path | None


@dataclass(frozen=True)
class Plan:
    """The files of all scans, and the folder of the masks."""

    targets: list[Target]
    folder: Path


def plan(scans: Path, cases: list[Case], masks: Path, outputs: Outputs) -> Plan:
    """Where each output goes. Raises UserError if any would overwrite something else.

    `masks` is a file for one scan, or a folder: there a mask has the place and name that its scan
    has in `scans`, and the mask of a DICOM series has the series' UID as name.
    """
    to_file = _is_file(scans, cases, masks, MASK_EXTENSIONS)
    named = outputs.preview
    one_preview = named is not None and _is_file(scans, cases, named, (PICTURE,))
    targets = []
    for case in cases:
        place = _place(scans, case)
        picture = place.with_name(stem(place) + PICTURE)
        preview = named if named is None or one_preview else named / picture
        mask = masks if to_file else masks / place
        targets.append(Target(case, _name(place, case), mask, preview))
    if scans.is_dir():
        _refuse_within(scans, [masks, *(target.mask.parent for target in targets)])
    folder = masks.parent if to_file else masks
    _refuse_losses(targets, list(_other_files(folder, outputs)))
    return Plan(targets, folder)


def _other_files(folder: Path, outputs: Outputs) -> Iterator[tuple[Path, str]]:
    """The files that are not of one scan, each with the mark that it has if it is ours.

    Raises UserError for a table that is named like a workbook.
    """
    if outputs.csv:
        if outputs.csv.suffix.lower() in WORKBOOKS:
            name = outputs.csv.with_suffix(".csv").name
            raise UserError.at(outputs.csv, "the table is a CSV file", f"name it {name}")
        yield outputs.csv, HEADER
    if outputs.label_tables:
        yield from ((path, MARK) for path in label_table_paths(folder, outputs.labels))


def _is_file(scans: Path, cases: list[Case], path: Path, types: tuple[str, ...]) -> bool:
    """Whether an output is one file, not a folder. Raises UserError if it can be neither."""
    is_named_as_file = path.name.lower().endswith(types)
    if path.is_dir() or (scans.is_dir() and not is_named_as_file and not path.exists()):
        return False
    if not is_named_as_file:
        what = "neither a folder nor a known type of file"
        raise UserError.at(path, what, f"make the folder first, or use {' '.join(types)}")
    if len(cases) > 1:
        what = f"the name of one file, but {scans} holds {len(cases)} scans"
        raise UserError.at(path, what, "name a folder")
    if not path.parent.is_dir():
        raise UserError.at(path, "its folder does not exist", "make it first, or write elsewhere")
    return True


def _place(scans: Path, case: Case) -> Path:
    """The relative path of a case's mask."""
    folder = case.image.relative_to(scans).parent if scans.is_dir() else Path()
    if case.slice_files:
        return folder / f"{case.id}{SERIES_MASK}"
    return folder / f"{stem(case.image)}{extension(case.image) or SERIES_MASK}"


def _name(place: Path, case: Case) -> str:
    return (place.with_name(case.id if case.slice_files else case.image.name)).as_posix()


def _refuse_within(scans: Path, outputs: Iterable[Path]) -> None:
    """Masks among the scans of a folder would be taken for scans by the next call."""
    for path in dict.fromkeys(outputs):
        for folder in (path.resolve(), *path.resolve().parents):
            if folder.is_dir() and folder.samefile(scans):
                raise UserError.at(path, "is within the folder of scans", ELSEWHERE)


def _refuse_losses(targets: list[Target], others: list[tuple[Path, str]]) -> None:
    """Raise UserError if an output is an input, another output, or a file of somebody else."""
    inputs = _identities(file for target in targets for file in _files(target.case))
    masks = {target.mask for target in targets}
    outputs = [(target.mask, MARK) for target in targets]
    outputs += [(target.preview, MARK) for target in targets if target.preview]
    folders = {folder for path, _ in outputs + others for folder in path.parents}
    seen: set[Path] = set()
    for path, mark in outputs + others:
        if path in folders:
            what = "would be both a file and the folder of another output"
            raise UserError.at(path, what, ELSEWHERE)
        if path in seen:
            of_scans = (path, mark) not in others
            remedy = "rename one of the two scans" if of_scans else ELSEWHERE
            raise UserError.at(path, "would be written twice", remedy)
        seen.add(path)
        if not path.exists():
            _require_writable(path)
            continue
        if _identities([path]) & inputs:
            raise UserError.at(path, "is a scan to be labelled, or its mask", ELSEWHERE)
        if path.is_dir():
            raise UserError.at(path, "is a folder", ELSEWHERE)
        if not is_own(path, mark):
            what = "exists, and `spineseg predict` did not write it"
            raise UserError.at(path, what, "remove it or write elsewhere")
        if path in masks and not is_unchanged(path):
            what = "was changed since `spineseg predict` wrote it"
            raise UserError.at(path, what, "move it or write elsewhere")


def _require_writable(path: Path) -> None:
    """Raise UserError if a file cannot be made there, as far as its folder tells."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise UserError.at(path, f"cannot be made, because {folder} is no folder", ELSEWHERE)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError.at(path, f"cannot be made, {folder} is not writable", ELSEWHERE)


def _files(case: Case) -> Iterator[Path]:
    yield case.image
    yield from case.slice_files
    if case.mask:
        yield case.mask


def _identities(files: Iterable[Path]) -> set[tuple[int, int]]:
    """What tells a file from others, whatever its paths and links."""
    found = set()
    for file in files:
        with suppress(OSError):  # reading it will tell
            status = file.stat()
            found.add((status.st_dev, status.st_ino))
    return found

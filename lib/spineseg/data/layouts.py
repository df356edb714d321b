"""Known layouts of folders with scans: one class per layout, all giving `Case`s."""

import os
import re
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import SimpleITK as sitk

from spineseg.data.dicom import find_series, read_series
from spineseg.data.volume import (
    EXTENSIONS,
    extension,
    geometry_mismatch,
    read_mask,
    read_scan,
    to_canonical,
)
from spineseg.labels import CHALLENGE_LABELS, CLASSES, SPIDER_LABELS, relabel
from spineseg.utils.errors import Problem, UserError

CaseKey = tuple[int, str]  # the patient's number, and which series of the patient ('' if only one)


@dataclass(frozen=True)
class Case:
    """One scan. `mask` is None if it has none; folds are split by `patient`.

    `labels` names the labels of the mask. The scan is the file `image`. If there are
    `slice_files`, it is the DICOM series of these files, and `image` is the first by name.
    """

    id: str
    image: Path
    mask: Path | None
    patient: str
    labels: tuple[str, ...] = field(default=CHALLENGE_LABELS, repr=False)
    slice_files: tuple[Path, ...] = field(default=(), repr=False)

    def read(self) -> sitk.Image:
        """Read the scan as stored. Raises UserError if it cannot be used."""
        return read_series(self.slice_files) if self.slice_files else read_scan(self.image)


def read_labelled(case: Case) -> tuple[sitk.Image, np.ndarray]:
    """The canonical scan, and the class of each of its voxels as uint8 (slices, rows, columns).

    Raises UserError for a file that cannot be used, a case without a mask, and a mask on another
    grid.
    """
    if case.mask is None:
        raise UserError.at(case.image, "scan without a mask", "add the mask or remove the scan")
    mask = to_canonical(read_mask(case.mask))
    scan = to_canonical(case.read())
    if mismatch := geometry_mismatch(mask, scan):
        what = f"does not fit {case.image.name}: {mismatch}"
        raise UserError.at(case.mask, what, "draw or resample it on the scan's grid")
    return scan, relabel(sitk.GetArrayViewFromImage(mask), case.labels, CLASSES)


class Source(ABC):
    """The scans at one place. `strays` are visible files that are no scans."""

    root: Path
    strays: list[Path]

    @abstractmethod
    def cases(self) -> list[Case]:
        """All scans, sorted. Raises UserError if two files claim to be the same scan."""

    @abstractmethod
    def problems(self) -> list[Problem]:
        """The problems that show without reading the voxels of a scan."""

    def notes(self) -> list[Problem]:
        """What is ignored."""
        return [Problem(path, "not a scan's name", "ignored") for path in self.strays]


class LabelledFolder(Source):
    """Scans in one folder and masks in another, paired by name.

    `images` and `masks` map the key of each case, sorted, to its files; `cases` refuses more than
    one. Upper and lower case of file names do not matter. Raises UserError if the folder does not
    have this layout.
    """

    folders: ClassVar[tuple[str, str]]  # of scans, of masks
    patterns: ClassVar[tuple[str, str]]  # of file names in each: patient's number, series
    example: ClassVar[tuple[str, str]]  # a scan, its mask
    labels: ClassVar[tuple[str, ...]]

    def __init__(self, root: Path) -> None:
        root = Path(root)
        if not root.is_dir():
            raise UserError.at(root, "no such folder", "check the name")
        self.root = self._parent_folder(root)
        self.strays = []
        self.images, self.masks = map(self._files_by_key, self.folders, self.patterns)
        if not self.images and not self.masks:
            what = f"holds no scans named {self.example[0]}"
            raise UserError.at(root, what, f"give the folder that holds {self.folders[0]}")

    def _parent_folder(self, root: Path) -> Path:
        """The folder that holds the folders of scans and masks."""
        return root

    @abstractmethod
    def case_id(self, key: CaseKey) -> str:
        """The name of a case."""

    @abstractmethod
    def patient(self, key: CaseKey) -> str:
        """The name of a case's patient."""

    def case(self, key: CaseKey, image: Path, mask: Path | None) -> Case:
        return Case(self.case_id(key), image, mask, self.patient(key), self.labels)

    def case_keys(self) -> list[CaseKey]:
        """The keys of all scans and masks, sorted."""
        return sorted({*self.images, *self.masks})

    def patients(self) -> int:
        """The number of patients with scans."""
        return len({self.patient(key) for key in self.images})

    def problems(self) -> list[Problem]:
        return [
            Problem(file, f"same case as {first.name}", "keep one of the two")
            for first, *others in (*self.images.values(), *self.masks.values())
            for file in others
        ]

    def cases(self) -> list[Case]:
        if problems := self.problems():
            raise UserError(*problems)
        masks = {key: mask for key, (mask,) in self.masks.items()}
        return [self.case(key, image, masks.get(key)) for key, (image,) in self.images.items()]

    def _files_by_key(self, folder: str, pattern: str) -> dict[CaseKey, list[Path]]:
        files: dict[CaseKey, list[Path]] = {}
        path = self.root / folder
        for file in sorted(path.iterdir()) if path.is_dir() else ():
            suffix = extension(file) or ""
            name = re.fullmatch(pattern, file.name.removesuffix(suffix), re.IGNORECASE)
            if suffix and name:
                key = int(name[1]), (name[2] if name.re.groups > 1 else "").lower()
                files.setdefault(key, []).append(file)
            elif not file.name.startswith("."):
                self.strays.append(file)
        return dict(sorted(files.items()))


class ChallengeFolder(LabelledFolder):
    """The MRSpineSeg layout, in the folder or its `train/`: one scan per patient."""

    folders = ("MR", "Mask")
    patterns = ("case([0-9]+)", "mask_case([0-9]+)")
    example = ("MR/Case1.nii.gz", "Mask/mask_case1.nii.gz")
    labels = CHALLENGE_LABELS

    def _parent_folder(self, root: Path) -> Path:
        places = (root, root / "train")
        used = (p for p in places if any((p / folder).is_dir() for folder in self.folders))
        return next(used, root)

    def case_id(self, key: CaseKey) -> str:
        return f"Case{key[0]}"

    def patient(self, key: CaseKey) -> str:
        return self.case_id(key)


class SpiderFolder(LabelledFolder):
    """The SPIDER layout (Zenodo record 10159290): several series per patient, only T2 is used.

    The T1 series of the data set are neither problems nor cases.
    """

    folders = ("images", "masks")
    patterns = ("([0-9]+)_(t2|t2_space)",) * 2
    example = ("images/1_t2.mha", "masks/1_t2.mha")
    labels = SPIDER_LABELS
    series_names: ClassVar = {"t2": "t2", "t2_space": "t2_SPACE"}

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        t1 = re.compile(r"[0-9]+_t1\.mha", re.IGNORECASE)
        self.t1 = [file for file in self.strays if t1.fullmatch(file.name)]
        self.strays = [file for file in self.strays if file not in set(self.t1)]

    def case_id(self, key: CaseKey) -> str:
        return f"{key[0]}_{self.series_names[key[1]]}"

    def patient(self, key: CaseKey) -> str:
        return str(key[0])

    def notes(self) -> list[Problem]:
        notes = super().notes()
        if self.t1:
            what = f"holds {len(self.t1)} files of T1 series"
            notes.append(Problem(self.root, what, "ignored, the paper is about T2"))
        return notes


class ScanFolder(Source):
    """Scans without masks: one file, or all image files and DICOM series below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root = Path(root)
        self._problems: list[Problem] = []
        files = self._files_below(root) if root.is_dir() else [root]
        self.files = [file for file in files if extension(file)]
        found = find_series(file for file in files if not extension(file))
        self.series, self.strays = found.series, found.strays
        self._problems += found.problems
        if root.is_file() and self.strays:
            known = f"{' '.join(EXTENSIONS)} or DICOM"
            raise UserError.at(root, "not a known image type", f"use {known}")
        if not self.files and not self.series and not self._problems:
            wanted = ", ".join(layout.example[0] for layout in LABELLED_LAYOUTS)
            what = f"holds no scans (looked for {wanted}, image files and DICOM series)"
            raise UserError.at(root, what, "check the name")

    def _files_below(self, root: Path) -> list[Path]:
        def refuse(error: OSError) -> None:
            what = f"cannot be opened ({error.strerror})"
            self._problems.append(Problem(Path(error.filename), what, "check its permissions"))

        files = []
        for folder, inner, names in os.walk(root, onerror=refuse):
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            files += [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
        return files

    def cases(self) -> list[Case]:
        cases = [Case(str(file), file, None, patient=str(file)) for file in self.files]
        for uid, headers in self.series.items():
            files = tuple(sorted(each.path for each in headers))
            patient = headers[0].patient or uid
            cases.append(Case(uid, files[0], None, patient=patient, slice_files=files))
        return cases

    def problems(self) -> list[Problem]:
        return self._problems

    def notes(self) -> list[Problem]:
        return [Problem(path, "not a scan", "ignored") for path in self.strays]


LABELLED_LAYOUTS: tuple[type[LabelledFolder], ...] = (ChallengeFolder, SpiderFolder)


def open_labelled(root: Path) -> LabelledFolder:
    """Open a folder of scans with masks. Raises UserError if its layout is not known."""
    if not root.is_dir():
        what = "a file, not a folder of scans with masks" if root.exists() else "no such folder"
        raise UserError.at(root, what, "check the name")
    for layout in LABELLED_LAYOUTS:
        with suppress(UserError):
            return layout(root)
    wanted = " or ".join(" with ".join(layout.example) for layout in LABELLED_LAYOUTS)
    raise UserError.at(root, "holds no scans with masks in a known layout", f"it has {wanted}")


def open_source(path: Path) -> Source:
    """Open the scans at a place, with or without masks. Raises UserError if there are none."""
    if path.is_dir():
        with suppress(UserError):
            return open_labelled(path)
    elif not path.exists() and not extension(path):
        raise UserError.at(path, "no such folder", "check the name")
    return ScanFolder(path)

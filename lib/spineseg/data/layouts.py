"""Where scans lie on disk: one class a layout, all giving `Case`s."""

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
from spineseg.data.volume import EXTENSIONS, extension, read_mask, read_scan, to_canonical
from spineseg.labels import CHALLENGE_LABELS, CLASSES, SPIDER_LABELS, relabel
from spineseg.utils.errors import UserError

Key = tuple[int, str]  # a patient's number, and which of the patient's series ('' for the only one)
Remark = tuple[Path, str, str]  # file or folder, what was found, what becomes of it


@dataclass(frozen=True)
class Case:
    """One scan; `mask` is None where there is none, `patient` is the unit of splitting.

    `labels` names the labels of the mask. The scan is the file `image` or, where there are
    `slices`, the DICOM series of these files, whose first by name is `image`.
    """

    id: str
    image: Path
    mask: Path | None
    patient: str
    labels: tuple[str, ...] = field(default=CHALLENGE_LABELS, repr=False)
    slices: tuple[Path, ...] = field(default=(), repr=False)

    def read(self) -> sitk.Image:
        """The scan as stored. Raises UserError for one that cannot be used."""
        return read_series(self.slices) if self.slices else read_scan(self.image)


def read_labelled(case: Case) -> tuple[sitk.Image, np.ndarray]:
    """The canonical scan, and the class of each of its voxels as uint8 (slices, rows, columns).

    Raises UserError for a file that cannot be used or a case without a mask.
    """
    if case.mask is None:
        raise UserError.at(case.image, "scan without a mask", "add the mask or remove the scan")
    mask = to_canonical(read_mask(case.mask))
    classes = relabel(sitk.GetArrayViewFromImage(mask), case.labels, CLASSES)
    return to_canonical(case.read()), classes


class Source(ABC):
    """Scans at one place; `strays` are the visible files that are none."""

    root: Path
    strays: list[Path]

    @abstractmethod
    def cases(self) -> list[Case]:
        """All scans in order. Raises UserError where two files claim to be one of them."""

    @abstractmethod
    def faults(self) -> list[UserError]:
        """One error for each file that stands in the way of a case, known without reading it."""

    def remarks(self) -> list[Remark]:
        """What is passed over."""
        return [(path, "not a scan's name", "ignored") for path in self.strays]


class LabelledFolder(Source):
    """Scans in one folder, their masks in another, paired by name.

    `images` and `masks` map the key of each case, in order, to its files (more than one is a fault
    that `cases` refuses). Upper and lower case of file names do not matter. Raises UserError where
    there is no such layout.
    """

    folders: ClassVar[tuple[str, str]]  # of scans, of masks
    patterns: ClassVar[tuple[str, str]]  # of file names in each: patient's number, series
    example: ClassVar[tuple[str, str]]
    labels: ClassVar[tuple[str, ...]]

    def __init__(self, root: Path) -> None:
        root = Path(root)
        if not root.is_dir():
            raise UserError.at(root, "no such folder", "check the name")
        self.root = self._inner(root)
        self.strays = []
        self.images, self.masks = map(self._named, self.folders, self.patterns)
        if not self.images and not self.masks:
            what = f"holds no scans named {self.example[0]}"
            raise UserError.at(root, what, f"give the folder that holds {self.folders[0]}")

    def _inner(self, root: Path) -> Path:
        """The folder that holds those of scans and masks."""
        return root

    @abstractmethod
    def case_id(self, key: Key) -> str:
        """The name of a case."""

    @abstractmethod
    def patient(self, key: Key) -> str:
        """Whose scan it is."""

    def case(self, key: Key, image: Path, mask: Path | None) -> Case:
        return Case(self.case_id(key), image, mask, self.patient(key), self.labels)

    def claimed(self) -> list[Key]:
        """The keys that a scan or a mask is there for."""
        return sorted({*self.images, *self.masks})

    def patients(self) -> int:
        """How many patients have scans."""
        return len({self.patient(key) for key in self.images})

    def faults(self) -> list[UserError]:
        return [
            UserError.at(file, f"same case as {first.name}", "keep one of the two")
            for first, *others in (*self.images.values(), *self.masks.values())
            for file in others
        ]

    def cases(self) -> list[Case]:
        for fault in self.faults():
            raise fault
        masks = {key: mask for key, (mask,) in self.masks.items()}
        return [self.case(key, image, masks.get(key)) for key, (image,) in self.images.items()]

    def _named(self, folder: str, pattern: str) -> dict[Key, list[Path]]:
        named: dict[Key, list[Path]] = {}
        path = self.root / folder
        for file in sorted(path.iterdir()) if path.is_dir() else ():
            suffix = extension(file) or ""
            name = re.fullmatch(pattern, file.name.removesuffix(suffix), re.IGNORECASE)
            if suffix and name:
                key = int(name[1]), (name[2] if name.re.groups > 1 else "").lower()
                named.setdefault(key, []).append(file)
            elif not file.name.startswith("."):
                self.strays.append(file)
        return dict(sorted(named.items()))


class ChallengeFolder(LabelledFolder):
    """The MRSpineSeg layout, in the folder or its `train/`: one scan a patient."""

    folders = ("MR", "Mask")
    patterns = ("case([0-9]+)", "mask_case([0-9]+)")
    example = ("MR/Case1.nii.gz", "Mask/mask_case1.nii.gz")
    labels = CHALLENGE_LABELS

    def _inner(self, root: Path) -> Path:
        places = (root, root / "train")
        held = (p for p in places if any((p / folder).is_dir() for folder in self.folders))
        return next(held, root)

    def case_id(self, key: Key) -> str:
        return f"Case{key[0]}"

    def patient(self, key: Key) -> str:
        return self.case_id(key)


class SpiderFolder(LabelledFolder):
    """The SPIDER layout (Zenodo record 10159290): several series a patient, of which the T2 count.

    The T1 series of the set are no faults and no cases.
    """

    folders = ("images", "masks")
    patterns = ("([0-9]+)_(t2|t2_space)",) * 2
    example = ("images/1_t2.mha", "masks/1_t2.mha")
    labels = SPIDER_LABELS
    series: ClassVar = {"t2": "t2", "t2_space": "t2_SPACE"}

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        t1 = re.compile(r"[0-9]+_t1\.mha", re.IGNORECASE)
        self.t1 = [file for file in self.strays if t1.fullmatch(file.name)]
        self.strays = [file for file in self.strays if file not in set(self.t1)]

    def case_id(self, key: Key) -> str:
        return f"{key[0]}_{self.series[key[1]]}"

    def patient(self, key: Key) -> str:
        return str(key[0])

    def remarks(self) -> list[Remark]:
        remarks = super().remarks()
        if self.t1:
            what = f"holds {len(self.t1)} files of T1 series"
            remarks.append((self.root, what, "ignored, the paper is about T2"))
        return remarks


class ScanFolder(Source):
    """Scans without masks: a file, or all image files and DICOM series in a folder and below."""

    def __init__(self, root: Path) -> None:
        self.root = root = Path(root)
        self._unread: list[UserError] = []
        files = self._below(root) if root.is_dir() else [root]
        self.files = [file for file in files if extension(file)]
        found = find_series(file for file in files if not extension(file))
        self.series, self.strays = found.series, found.strays
        self._unread += found.faults
        if root.is_file() and self.strays:
            known = f"{' '.join(EXTENSIONS)} or DICOM"
            raise UserError.at(root, "not a known image type", f"use {known}")
        if not self.files and not self.series and not self._unread:
            wanted = ", ".join(layout.example[0] for layout in LABELLED)
            what = f"holds no scans (looked for {wanted}, image files and DICOM series)"
            raise UserError.at(root, what, "check the name")

    def _below(self, root: Path) -> list[Path]:
        def refuse(error: OSError) -> None:
            what = f"cannot be opened ({error.strerror})"
            self._unread.append(UserError.at(Path(error.filename), what, "check its permissions"))

        files = []
        for folder, inner, names in os.walk(root, onerror=refuse):
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            files += [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
        return files

    def cases(self) -> list[Case]:
        cases = [Case(str(file), file, None, patient=str(file)) for file in self.files]
        for uid, found in self.series.items():
            slices = tuple(sorted(each.path for each in found))
            patient = found[0].patient or uid
            cases.append(Case(uid, slices[0], None, patient=patient, slices=slices))
        return cases

    def faults(self) -> list[UserError]:
        return self._unread

    def remarks(self) -> list[Remark]:
        return [(path, "not a scan", "ignored") for path in self.strays]


LABELLED: tuple[type[LabelledFolder], ...] = (ChallengeFolder, SpiderFolder)


def open_labelled(root: Path) -> LabelledFolder:
    """The folder in the layout that it has. Raises UserError where it has none with masks."""
    if not root.is_dir():
        what = "a file, not a folder of scans with masks" if root.exists() else "no such folder"
        raise UserError.at(root, what, "check the name")
    for layout in LABELLED:
        with suppress(UserError):
            return layout(root)
    wanted = " or ".join(" with ".join(layout.example) for layout in LABELLED)
    raise UserError.at(root, "holds no scans with masks in a known layout", f"it has {wanted}")


def open_source(path: Path) -> Source:
    """The scans at a place, with or without masks. Raises UserError where there are none."""
    if path.is_dir():
        with suppress(UserError):
            return open_labelled(path)
    elif not path.exists() and not extension(path):
        raise UserError.at(path, "no such folder", "check the name")
    return ScanFolder(path)

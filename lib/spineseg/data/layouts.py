"""Known layouts of folders with scans: one class per layout, all giving `Case`s."""

import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import SimpleITK as sitk

from spineseg.data.dicom import find_series, not_a_volume, read_series
from spineseg.data.levels import label_from_below, refuse_other_labels
from spineseg.data.volume import (
    DETACHED_EXTENSIONS,
    EXTENSIONS,
    SEGMENTATION,
    extension,
    on_grid_of,
    read_mask,
    read_scan,
    stem,
    stored_direction,
    to_canonical,
)
from spineseg.labels import CHALLENGE_LABELS, CLASSES, LABEL_SETS, SPIDER_LABELS, relabel
from spineseg.utils.errors import Problem, UserError

CHU_LEVELS = ("L5", "L4", "L3", "L2", "L1", "T12", "T11")

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

    def read(self, notes: list[Problem] | None = None) -> sitk.Image:
        """Read the scan as stored, and add what is unusual to `notes`.

        Raises UserError if it cannot be used.
        """
        if self.slice_files:
            return read_series(self.slice_files, notes)
        return read_scan(self.image, notes)

    def read_mask(self, notes: list[Problem] | None = None) -> sitk.Image:
        """Read the mask as stored, with the labels `labels`, and add what is unusual to `notes`.

        Raises UserError if there is none or it cannot be used.
        """
        if self.mask is None:
            raise UserError.at(self.image, "scan without a mask", "add the mask or remove the scan")
        return read_mask(self.mask, self.labels, notes)


@dataclass(frozen=True)
class ChuCase(Case):
    """A case of Chu et al., whose header and labels are not those of the scan.

    The second axis of the voxels runs backwards, which the header calls forwards. All vertebrae
    have label 1.
    """

    def read(self, notes: list[Problem] | None = None) -> sitk.Image:
        return _turn_front_to_back(super().read(notes))

    def read_mask(self, notes: list[Problem] | None = None) -> sitk.Image:
        mask = _turn_front_to_back(super().read_mask(notes))
        return label_from_below(mask, CHU_LEVELS, self.mask or self.image, notes)


def _turn_front_to_back(image: sitk.Image) -> sitk.Image:
    """Reverse the direction of the second axis; the voxels stay."""
    axes = np.reshape(image.GetDirection(), (3, 3)) * (1, -1, 1)
    image.SetDirection(axes.ravel().tolist())
    return image


def read_labelled(case: Case, notes: list[Problem] | None = None) -> tuple[sitk.Image, np.ndarray]:
    """The canonical scan, and the class of each of its voxels as uint8 (slices, rows, columns).

    Adds what is unusual to `notes`. Raises UserError for a file that cannot be used, a case without
    a mask, a mask on another grid, and one with the labels of another label set.
    """
    mask = case.read_mask(notes)
    refuse_other_labels(mask, case.labels, case.mask or case.image)
    scan = case.read(notes)
    mask = to_canonical(on_grid_of(mask, scan, case.mask or case.image, case.image, notes))
    labels = sitk.GetArrayViewFromImage(mask)
    return to_canonical(scan), relabel(labels, case.labels, CLASSES)


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
    """Scans in one folder and masks in another or the same, paired by name.

    `images` and `masks` map the key of each case, sorted, to its files; `cases` refuses more than
    one. Upper and lower case of the names of files and folders do not matter. The masks have the
    layout's own labels, unless `labels` names others in `LABEL_SETS`. Raises UserError if the
    folder does not have this layout.
    """

    folders: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]]  # of scans, of masks: known names
    patterns: ClassVar[tuple[str, str]]  # of file names in each: patient's number, series
    example: ClassVar[tuple[str, str]]  # a scan, its mask
    own_labels: ClassVar[tuple[str, ...]]
    case_type: ClassVar[type[Case]] = Case

    def __init__(self, root: Path, labels: str | None = None) -> None:
        root = Path(root)
        if not root.is_dir():
            raise UserError.at(root, "no such folder", "check the name")
        self.labels = LABEL_SETS[labels] if labels else self.own_labels
        self.labels_declared = labels is not None
        self.root = self._parent_folder(root)
        places = [self._subfolders(self.root, names) for names in self.folders]
        found = [
            _files_by_key(folders, pattern)
            for folders, pattern in zip(places, self.patterns, strict=True)
        ]
        self.images, self.masks = found
        if not self.images and not self.masks:
            what = f"holds no scans named {self.example[0]}"
            raise UserError.at(root, what, "give the folder that holds it")
        used = {file for files in found for group in files.values() for file in group}
        visible = {file for folders in places for folder in folders for file in _visible(folder)}
        self.strays = sorted(visible - used)

    def _parent_folder(self, root: Path) -> Path:
        """The folder that holds the folders of scans and masks."""
        return root

    def _subfolders(self, root: Path, names: tuple[str, ...]) -> list[Path]:
        """The folders in `root` with one of these names, in upper or lower case."""
        return [path for path in _visible(root) if path.name.lower() in names and path.is_dir()]

    @abstractmethod
    def case_id(self, key: CaseKey) -> str:
        """The name of a case."""

    @abstractmethod
    def patient(self, key: CaseKey) -> str:
        """The name of a case's patient."""

    def case(self, key: CaseKey, image: Path, mask: Path | None) -> Case:
        return self.case_type(self.case_id(key), image, mask, self.patient(key), self.labels)

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


def _files_by_key(folders: list[Path], pattern: str) -> dict[CaseKey, list[Path]]:
    """The image files of these folders whose names match, by the key of their case."""
    files: dict[CaseKey, list[Path]] = {}
    for file in (file for folder in folders for file in _visible(folder)):
        name = re.fullmatch(pattern, stem(file), re.IGNORECASE)
        if extension(file) and name:
            key = int(name[1]), (name[2] if name.re.groups > 1 else "").lower()
            files.setdefault(key, []).append(file)
    return dict(sorted(files.items()))


def _visible(folder: Path) -> list[Path]:
    """What a folder holds, hidden files excepted, sorted."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


class ChallengeFolder(LabelledFolder):
    """The MRSpineSeg layout, in the folder or its `train/`: one scan per patient.

    Copies of the data set name its folders differently.
    """

    folders = (("mr", "image", "original_mr"), ("mask", "groundtruth"))
    patterns = ("case([0-9]+)", "mask_case([0-9]+)")
    example = ("MR/Case1.nii.gz", "Mask/mask_case1.nii.gz")
    own_labels = CHALLENGE_LABELS

    def _parent_folder(self, root: Path) -> Path:
        places = (root, *self._subfolders(root, ("train",)))
        names = self.folders[0] + self.folders[1]
        return next((place for place in places if self._subfolders(place, names)), root)

    def case_id(self, key: CaseKey) -> str:
        return f"Case{key[0]}"

    def patient(self, key: CaseKey) -> str:
        return self.case_id(key)

    def notes(self) -> list[Problem]:
        beside = self.root.parent if self.root.name.lower() == "train" else self.root
        tests = [
            Problem(folder, "holds scans without masks", "only `spineseg predict` takes them")
            for test in self._subfolders(beside, ("test",))
            for folder in self._subfolders(test, self.folders[0])
        ]
        return super().notes() + tests


class SpiderFolder(LabelledFolder):
    """The SPIDER layout (Zenodo record 10159290): several series per patient, only T2 is used.

    The T1 series of the data set are neither problems nor cases.
    """

    folders = (("images",), ("masks",))
    patterns = ("([0-9]+)_(t2|t2_space)",) * 2
    example = ("images/1_t2.mha", "masks/1_t2.mha")
    own_labels = SPIDER_LABELS
    series_names: ClassVar = {"t2": "t2", "t2_space": "t2_SPACE"}

    def __init__(self, root: Path, labels: str | None = None) -> None:
        super().__init__(root, labels)
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


class ChuFolder(LabelledFolder):
    """The layout of Chu et al. 2015 (Zenodo record 22304): scans and masks in one folder.

    See `ChuCase` for what its files mean. Other scans can have such names, too, so there must be a
    mask, and the first scan's header must have the axes of these.
    """

    folders = (("",), ("",))
    patterns = ("img_([0-9]+)", "img_([0-9]+)_labels")
    example = ("Img_01.nii", "Img_01_Labels.nii of Chu et al. 2015")
    own_labels = CHALLENGE_LABELS
    case_type = ChuCase

    def __init__(self, root: Path, labels: str | None = None) -> None:
        super().__init__(root, labels)
        files = [file for files in self.images.values() for file in files]
        if not self.masks or (files and not self._has_axes(files[0])):
            raise UserError.at(root, "not the scans of Chu et al.", "rename the files")

    def _has_axes(self, file: Path) -> bool:
        """Whether a header calls the second axis front and the third up, or cannot be read."""
        try:
            axes = np.reshape(stored_direction(file), (3, 3))
        except UserError:
            return True
        return bool(-axes[1, 1] > 0.7 and abs(axes[2, 2]) > 0.7)

    def notes(self) -> list[Problem]:
        what = "taken for the scans of Chu et al., whose headers exchange front and back"
        return [*super().notes(), Problem(self.root, what, "turned around")]

    def _subfolders(self, root: Path, names: tuple[str, ...]) -> list[Path]:
        return [root]

    def case_id(self, key: CaseKey) -> str:
        return f"Img_{key[0]:02d}"

    def patient(self, key: CaseKey) -> str:
        return self.case_id(key)


class ScanFolder(Source):
    """Scans without masks: one file, or all image files and DICOM series below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root = Path(root)
        self._problems: list[Problem] = []
        self._notes: list[Problem] = []
        files = sorted(self._files_below(root)) if root.is_dir() else [root]
        self.files = [file for file in files if extension(file)]
        found = find_series(file for file in files if not extension(file))
        self.series = found.series
        self._problems += found.problems
        parts = [f for f in found.strays if f.name.lower().endswith(DETACHED_EXTENSIONS)]
        for file in parts:
            try:
                read_scan(file)
            except UserError as error:
                self._problems += error.problems
        self.strays = [file for file in found.strays if file not in parts]
        if root.is_dir():
            self._leave_out_asides()
        if root.is_file() and self.strays:
            known = f"{' '.join(EXTENSIONS)} or DICOM"
            raise UserError.at(root, "not a known image type", f"use {known}")
        if not self.files and not self.series and not self._problems:
            wanted = ", ".join(layout.example[0] for layout in LABELLED_LAYOUTS)
            what = f"holds no scans (looked for {wanted}, image files and DICOM series)"
            raise UserError.at(root, what, "check the name")

    def _files_below(self, root: Path) -> Iterator[Path]:
        """All visible files; each folder once, also if links lead to it. Links come last."""
        folders, links = deque([root]), deque[Path]()
        first_path: dict[tuple[int, int], Path] = {}
        while folders or links:
            folder = folders.popleft() if folders else links.popleft()
            try:
                status = folder.stat()
                known = first_path.setdefault((status.st_dev, status.st_ino), folder)
                entries = _visible(folder) if known == folder else []
            except OSError as error:
                what = f"cannot be opened ({error.strerror})"
                self._problems.append(Problem(folder, what, "check its permissions"))
                continue
            if known != folder:
                self._notes.append(Problem(folder, f"the same folder as {known}", "read once"))
            for path in entries:
                if path.is_symlink() and not path.exists():
                    what = "a link to a place that does not exist"
                    self._problems.append(Problem(path, what, "mend or remove it"))
                elif not path.is_dir():
                    yield path
                elif not path.is_symlink():
                    folders.append(path)
                elif root.resolve().is_relative_to(path.resolve()):
                    what = "a link to a folder that holds this one"
                    self._notes.append(Problem(path, what, "not followed"))
                else:
                    links.append(path)

    def _leave_out_asides(self) -> None:
        """Leave out segmentations and, if there are scans beside them, localizers and the like."""
        for file in (file for file in self.files if extension(file) == SEGMENTATION):
            self._notes.append(Problem(file, "a segmentation of 3D Slicer, not a scan", "left out"))
        self.files = [file for file in self.files if extension(file) != SEGMENTATION]
        asides = {uid: what for uid, each in self.series.items() if (what := not_a_volume(each))}
        if self.files or len(asides) < len(self.series):
            for uid, what in asides.items():
                first = min(header.path for header in self.series.pop(uid))
                self._notes.append(Problem(first, f"its series is {what}", "left out"))

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
        return self._notes + [Problem(path, "not a scan", "ignored") for path in self.strays]


LABELLED_LAYOUTS: tuple[type[LabelledFolder], ...] = (ChallengeFolder, SpiderFolder, ChuFolder)


def open_labelled(root: Path, labels: str | None = None) -> LabelledFolder:
    """Open a folder of scans with masks, whose labels are those of the layout or `labels`.

    Raises UserError if its layout is not known.
    """
    if not root.is_dir():
        what = "a file, not a folder of scans with masks" if root.exists() else "no such folder"
        raise UserError.at(root, what, "check the name")
    for layout in LABELLED_LAYOUTS:
        with suppress(UserError):
            return layout(root, labels)
    wanted = " or ".join(" with ".join(layout.example) for layout in LABELLED_LAYOUTS)
    raise UserError.at(root, "holds no scans with masks in a known layout", f"it has {wanted}")


def open_source(path: Path, labels: str | None = None) -> Source:
    """Open the scans at a place, with or without masks, see `open_labelled`.

    Raises UserError if there are none.
    """
    if path.is_dir():
        with suppress(UserError):
            return open_labelled(path, labels)
    elif not path.exists() and not extension(path):
        raise UserError.at(path, "no such folder", "check the name")
    return ScanFolder(path)

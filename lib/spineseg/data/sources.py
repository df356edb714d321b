"""Where scans lie on disk: one class a dataset layout, all giving `Case`s."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from spineseg.data.volume import ScanError, extension, read_mask, read_scan, to_canonical
from spineseg.labels import challenge_to_class


@dataclass(frozen=True)
class Case:
    """One scan; `mask` is None where there is none, `patient` is the unit of splitting."""

    id: str
    image: Path
    mask: Path | None
    patient: str


def challenge_case(number: int, image: Path, mask: Path | None) -> Case:
    """The challenge has one scan a patient."""
    return Case(f"Case{number}", image, mask, patient=f"Case{number}")


def read_labelled(case: Case) -> tuple[sitk.Image, np.ndarray]:
    """The canonical scan, and the class of each of its voxels as uint8 (slices, rows, columns).

    Raises ScanError for a file that cannot be used or a case without a mask.
    """
    if case.mask is None:
        raise ScanError(case.image, "scan without a mask", "add the mask or remove the scan")
    mask = to_canonical(read_mask(case.mask))
    classes = challenge_to_class(sitk.GetArrayViewFromImage(mask))
    return to_canonical(read_scan(case.image)), classes


class ChallengeFolder:
    """The MRSpineSeg layout: `MR/Case{n}` and `Mask/mask_case{n}`, in the folder or its `train/`.

    `images` and `masks` map each case number, in order, to its files (more than one is a fault
    that `cases` refuses); `strays` are the visible files with any other name. Upper and
    lower case of file names do not matter. Raises ScanError where there is no such layout.
    """

    def __init__(self, root: Path) -> None:
        root = Path(root)
        if not root.is_dir():
            raise ScanError(root, "no such folder", "check the name")
        folders = (root, root / "train")
        self.root = next((f for f in folders if (f / "MR").is_dir() or (f / "Mask").is_dir()), root)
        self.strays: list[Path] = []
        self.images = self._numbered("MR", "case")
        self.masks = self._numbered("Mask", "mask_case")
        if not self.images and not self.masks:
            what, remedy = "holds no scans named MR/Case1.nii.gz", "give the folder that holds MR"
            raise ScanError(root, what, remedy)

    def clashes(self) -> list[ScanError]:
        """One error for each file whose case number another file has already."""
        return [
            ScanError(file, f"same case as {first.name}", "keep one of the two")
            for first, *others in (*self.images.values(), *self.masks.values())
            for file in others
        ]

    def cases(self) -> list[Case]:
        """All scans by case number; ScanError when a number has two files."""
        for clash in self.clashes():
            raise clash
        masks = {number: mask for number, (mask,) in self.masks.items()}
        return [
            challenge_case(number, image, masks.get(number))
            for number, (image,) in self.images.items()
        ]

    def _numbered(self, folder: str, stem: str) -> dict[int, list[Path]]:
        numbered: dict[int, list[Path]] = {}
        path = self.root / folder
        for file in sorted(path.iterdir()) if path.is_dir() else ():
            suffix = extension(file) or ""
            name = re.fullmatch(f"{stem}([0-9]+)", file.name.removesuffix(suffix), re.IGNORECASE)
            if suffix and name:
                numbered.setdefault(int(name[1]), []).append(file)
            elif not file.name.startswith("."):
                self.strays.append(file)
        return dict(sorted(numbered.items()))

"""Small scans and masks, and folders of them, for the tests of reading and checking."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

SAGITTAL = (0, 0, 1, 1, 0, 0, 0, -1, 0)  # x to posterior, y to inferior, z to the left


def make_scan(size=(10, 14, 12), dtype=np.int16, seed=0) -> sitk.Image:
    """A sagittal scan of noise; `size` counts columns, rows, slices."""
    values = np.random.default_rng(seed).integers(0, 100, size[::-1]).astype(dtype)
    return place(sitk.GetImageFromArray(values))


def make_mask(size=(10, 14, 12), dtype=np.uint8, labels=(0, 1, 2)) -> sitk.Image:
    values = np.resize(np.array(labels, dtype=dtype), size[::-1])
    return place(sitk.GetImageFromArray(values))


def place(image: sitk.Image) -> sitk.Image:
    image.SetSpacing((0.5, 0.5, 4.4))
    image.SetOrigin((-30.0, 20.0, 55.0))
    image.SetDirection(SAGITTAL)
    return image


def write(image: sitk.Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def write_case(root: Path, number: int, image=None, mask=None, ext=".nii.gz") -> tuple[Path, Path]:
    return (
        write(image or make_scan(), root / "MR" / f"Case{number}{ext}"),
        write(mask or make_mask(), root / "Mask" / f"mask_case{number}{ext}"),
    )

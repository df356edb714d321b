"""Small scans and masks, and folders of them, for the tests of reading and checking."""

import locale
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

SAGITTAL = (0, 0, 1, 1, 0, 0, 0, -1, 0)  # x to posterior, y to inferior, z to the left


def make_scan(size=(10, 14, 12), dtype=np.int16, seed=0) -> sitk.Image:
    """A sagittal scan of noise; `size` counts columns, rows, slices."""
    values = np.random.default_rng(seed).integers(0, 100, size[::-1]).astype(dtype)
    return place(sitk.GetImageFromArray(values))


def make_mask(size=(10, 14, 12), dtype=np.uint8, labels=tuple(range(9))) -> sitk.Image:
    """A mask of layers, the first label lowest, as in a patient; of noise if labels are many."""
    if len(labels) > size[1]:
        return place(sitk.GetImageFromArray(np.resize(np.array(labels, dtype), size[::-1])))
    from_below = np.arange(size[1])[::-1] * len(labels) // size[1]
    rows = np.array(labels, dtype)[from_below]
    return place(sitk.GetImageFromArray(np.broadcast_to(rows[:, None], size[::-1])))


def place(image: sitk.Image) -> sitk.Image:
    image.SetSpacing((0.5, 0.5, 4.4))
    image.SetOrigin((-30.0, 20.0, 55.0))
    image.SetDirection(SAGITTAL)
    return image


def write(image: sitk.Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


# What NIfTI says of a scan that `place` has placed: its axes point right, front and up.
SFORM = ((0, 0, -4.4, 30), (-0.5, 0, 0, -20), (0, -0.5, 0, 55))
QUATERNION = (-0.5, 0.5, -0.5)  # b, c, d; the third axis is mirrored


def nifti_bytes(
    values: np.ndarray,
    codes=(1, 1),
    sform=SFORM,
    quaternion=QUATERNION,
    offset=(30, -20, 55),
    spacing=(0.5, 0.5, 4.4),
    handed=-1,
    units=2,
    scale=(0.0, 0.0),
    dims=None,
    order="<",
    version=1,
) -> bytes:
    """A NIfTI file of (slices, rows, columns), written field by field as the standard says.

    `codes` are those of qform and sform. If `handed` is -1, the qform mirrors the third axis.
    """
    dims = dims or values.shape[::-1]
    sizes = (len(dims), *dims, *[1] * (7 - len(dims)))
    pixdim = (handed, *spacing, 1, 1, 1, 1)
    datatype = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64}[values.dtype.str[1:]]
    bits = 8 * values.dtype.itemsize
    rows = np.ravel(sform)
    raw = bytearray(352 if version == 1 else 544)
    if version == 1:
        fields = [(0, "i", [348]), (40, "8h", sizes), (70, "2h", [datatype, bits])]
        fields += [(76, "8f", pixdim), (108, "3f", [len(raw), *scale]), (123, "B", [units])]
        fields += [(252, "2h", codes), (256, "6f", [*quaternion, *offset]), (280, "12f", rows)]
        fields += [(344, "4s", [b"n+1\0"])]
    else:
        fields = [(0, "i", [540]), (4, "8s", [b"n+2\0\r\n\032\n"]), (12, "2h", [datatype, bits])]
        fields += [(16, "8q", sizes), (104, "8d", pixdim), (168, "q2d", [len(raw), *scale])]
        fields += [(344, "2i", codes), (352, "6d", [*quaternion, *offset]), (400, "12d", rows)]
        fields += [(500, "i", [units])]
    for at, layout, numbers in fields:
        struct.pack_into(order + layout, raw, at, *numbers)
    return bytes(raw) + values.astype(values.dtype.newbyteorder(order)).tobytes()


def link_to(target: Path | str, link: Path) -> None:
    """Make a symbolic link, or skip the test if the system does not allow it."""
    try:
        link.symlink_to(target)
    except OSError:
        pytest.skip("this system allows no symbolic links")


def peak_memory_kib() -> float:
    """The largest memory of this process so far. Skips the test if the system does not tell."""
    resource = pytest.importorskip("resource")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform == "darwin" else peak


def write_case(root: Path, number: int, image=None, mask=None, ext=".nii.gz") -> tuple[Path, Path]:
    return (
        write(image or make_scan(), root / "MR" / f"Case{number}{ext}"),
        write(mask or make_mask(), root / "Mask" / f"mask_case{number}{ext}"),
    )


def write_dicom(folder: Path, image: sitk.Image, uid="1.2.3.4", patient="P1", names=None):
    """Write each slice of a volume as a DICOM file, named 0, 1, … or `names`; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    axes = np.reshape(image.GetDirection(), (3, 3)).T
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    files = []
    before = locale.setlocale(locale.LC_ALL)
    for index in range(image.GetDepth()):
        position = image.TransformIndexToPhysicalPoint((0, 0, index))
        values = {
            "0008|0018": f"{uid}.{index + 1}",
            "0008|0060": "MR",
            "0010|0020": patient,
            "0020|000d": "1.2.3",
            "0020|000e": uid,
            "0020|0032": "\\".join(f"{x:.9g}" for x in position),
            "0020|0037": "\\".join(f"{x:.9g}" for x in axes[:2].ravel()),
        }
        slice_ = image[:, :, index]
        for tag, value in values.items():
            slice_.SetMetaData(tag, value)
        files.append(folder / (names[index] if names else str(index)))
        writer.SetFileName(str(files[-1]))
        writer.Execute(slice_)
        locale.setlocale(locale.LC_ALL, before)  # GDCM changes it
    return files


def write_spider(root: Path, name: str, image=None, mask=None) -> tuple[Path, Path]:
    """One series in the SPIDER layout, e.g. 1_t2."""
    labels = np.array([0, 1, 2, 7, 100, 101, 201], np.int16)
    mask = mask or make_mask(dtype=np.int16, labels=labels)
    return (
        write(image or make_scan(), root / "images" / f"{name}.mha"),
        write(mask, root / "masks" / f"{name}.mha"),
    )


def write_chu(root: Path, number: int, levels=7, speck=False) -> tuple[Path, Path]:
    """One case of Chu et al.: voxels (i, j, k) run left, back and up; the header says identity.

    The vertebrae are boxes with label 1 at i 1 to 3; box n from below is at j 2 + n to 5 + n and
    k 4 n to 4 n + 2. The scan is as bright as j, and a little brighter below the top row.
    """
    mask = np.zeros((4 * levels + 4, 14, 5), np.uint8)  # k, j, i
    for n in range(levels):
        mask[4 * n : 4 * n + 3, 2 + n : 6 + n, 1:4] = 1
    if speck:
        mask[-1, 0, 0] = 1
    scan = np.zeros(mask.shape, np.int16) + 10 * np.arange(14, dtype=np.int16)[:, None]
    scan += (np.arange(len(mask), dtype=np.int16)[::-1] % 10)[:, None, None]
    images = [sitk.GetImageFromArray(each) for each in (scan, mask)]
    for image in images:
        image.SetSpacing((2.0, 1.25, 1.25))
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # NIfTI's identity
    return (
        write(images[0], root / f"Img_{number:02d}.nii"),
        write(images[1], root / f"Img_{number:02d}_Labels.nii"),
    )

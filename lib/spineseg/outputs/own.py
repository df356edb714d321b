"""Which files an earlier `spineseg predict` wrote, so that nothing else is overwritten."""

from pathlib import Path

import SimpleITK as sitk

from spineseg.data.volume import read_volume
from spineseg.utils.errors import UserError
from spineseg.utils.files import checksum, holds

MARK = "written by spineseg predict"  # in the header of masks, pictures and label tables


def is_own(path: Path, mark: str = MARK) -> bool:
    """Whether a file has the mark."""
    return holds(path, mark)


def mark_of(mask: sitk.Image) -> str:
    """MARK and a checksum of the voxels: editors of masks keep the text, but change the voxels."""
    return f"{MARK}, voxels {checksum(sitk.GetArrayViewFromImage(mask))}"


def is_unchanged(path: Path) -> bool:
    """Whether a mask has the voxels that `spineseg predict` wrote."""
    try:
        return is_own(path, mark_of(read_volume(path)))
    except UserError:
        return False

"""Which files an earlier `spineseg predict` wrote, so that nothing else is overwritten."""

import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from spineseg.data.headers import GZIP_MAGIC, ZLIB_OR_GZIP
from spineseg.data.volume import read_volume
from spineseg.utils.errors import UserError

MARK = "written by spineseg predict"  # in the header of masks, pictures and label tables
SEARCHED_BYTES = 1 << 13


def is_own(path: Path, mark: str = MARK) -> bool:
    """Whether the first bytes of a file, decompressed if needed, have the mark."""
    try:
        with path.open("rb") as file:
            start = file.read(SEARCHED_BYTES)
        if start.startswith(GZIP_MAGIC):
            start = zlib.decompressobj(ZLIB_OR_GZIP).decompress(start, SEARCHED_BYTES)
    except (OSError, zlib.error):
        return False
    return mark.encode() in start


def mark_of(mask: sitk.Image) -> str:
    """MARK and a checksum of the voxels: editors of masks keep the text, but change the voxels."""
    voxels = np.ascontiguousarray(sitk.GetArrayViewFromImage(mask), dtype="<u2")
    return f"{MARK}, voxels {zlib.crc32(voxels.tobytes()):08x}"


def is_unchanged(path: Path) -> bool:
    """Whether a mask has the voxels that `spineseg predict` wrote."""
    try:
        return is_own(path, mark_of(read_volume(path)))
    except UserError:
        return False

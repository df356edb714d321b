"""Which files an earlier `spineseg predict` wrote, so that nothing else is overwritten."""

import zlib
from pathlib import Path

from spineseg.data.headers import GZIP_MAGIC, ZLIB_OR_GZIP

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

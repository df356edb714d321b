"""Atomic writes and validated reads of the project's own files."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from spineseg.utils.errors import REMOVE, UserError, write_error
from spineseg.utils.locks import file_lock

if TYPE_CHECKING:
    import pandas as pd

READABLE = "make it readable for you"
MAKE = "run `make reproduce` with this data and profile, which writes it"
SEARCHED_BYTES = 1 << 13  # of a file's start, which holds its header
GZIP_MAGIC, ANY_ZLIB = b"\x1f\x8b", 32 + zlib.MAX_WBITS
CSV_FORMAT: dict[str, Any] = {"index": False, "float_format": "%.6g", "lineterminator": "\n"}


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it replaces `path` only if the block succeeds.

    Processes that write the same file take turns. The remains of a killed process are overwritten.
    Raises UserError if the block could not write; it should do nothing else.
    """
    temporary = path.with_name(f".part-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(path.with_name(f".lock-{path.name}")):
            try:
                yield temporary
                _flush(temporary)
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except (OSError, RuntimeError) as error:  # SimpleITK and torch raise the latter on a full disk
        raise write_error(path, error) from None


def _flush(path: Path) -> None:
    """Have the system write a file to the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def holds(path: Path, text: str) -> bool:
    """Whether the first bytes of a file, decompressed if needed, have this text."""
    try:
        with path.open("rb") as file:
            start = file.read(SEARCHED_BYTES)
        if start.startswith(GZIP_MAGIC):
            start = zlib.decompressobj(ANY_ZLIB).decompress(start, SEARCHED_BYTES)
    except (OSError, zlib.error):
        return False
    return text.encode() in start


def checksum(labels: np.ndarray) -> str:
    """8 hex digits of whole numbers from 0 to 65535, whatever type they are stored in."""
    return f"{zlib.crc32(np.ascontiguousarray(labels, dtype='<u2').tobytes()):08x}"


def _missing(path: Path, remedy: str) -> UserError:
    """The error for a file that is not there and so cannot be removed."""
    return UserError.at(path, "does not exist", MAKE if remedy == REMOVE else remedy)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8", newline="\n")


def read_json(path: Path, keys: Sequence[str] = (), remedy: str = REMOVE) -> Any:
    """The content of a JSON file; with `keys`, it must be an object that has them all.

    Raises UserError for anything else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _missing(path, remedy) from None
    except OSError as error:
        raise UserError.at(path, f"cannot be read ({error.strerror})", READABLE) from None
    except (ValueError, RecursionError) as error:
        raise UserError.at(path, f"damaged: not JSON ({error})", remedy) from None
    found = content if isinstance(content, dict) else {}
    if lacking := [key for key in keys if key not in found]:
        raise UserError.at(path, f"damaged: lacks {', '.join(lacking)}", remedy)
    return content


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table without its index atomically, floats with six digits."""
    with atomic_write(path) as temporary:
        table.to_csv(temporary, **CSV_FORMAT)


def read_csv(
    path: Path,
    filled: Sequence[str],
    others: Sequence[str] = (),
    remedy: str = REMOVE,
    texts: Sequence[str] = (),
) -> pd.DataFrame:
    """A table that `write_csv` wrote.

    It must have the columns `filled`, which have no gaps, and the columns `others`. The columns
    `texts`, if there, stay text even if all their cells look like numbers. Raises UserError for any
    other file, and for one whose last line is cut off.
    """
    import pandas as pd

    try:
        text = path.read_text(encoding="utf-8")
        # Only an empty cell is a gap: a data set or a profile may have the name `null`.
        types = dict.fromkeys(texts, str)
        table = pd.read_csv(StringIO(text), keep_default_na=False, na_values=[""], dtype=types)
    except FileNotFoundError:
        raise _missing(path, remedy) from None
    except OSError as error:
        raise UserError.at(path, f"cannot be read ({error.strerror})", READABLE) from None
    except ValueError as error:
        raise UserError.at(path, f"damaged: not a table ({error})", remedy) from None
    if lacking := [name for name in (*filled, *others) if name not in table]:
        raise UserError.at(path, f"damaged: lacks the columns {', '.join(lacking)}", remedy)
    gaps = table[list(filled)].isna().any(axis=None)
    if gaps or not text.endswith("\n"):
        raise UserError.at(path, "damaged: cut off, or with gaps", remedy)
    return table


def read_arrays(path: Path, remedy: str = REMOVE) -> dict[str, np.ndarray]:
    """All arrays of an .npz file. Raises UserError if it is missing or a checksum is wrong."""
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except FileNotFoundError:
        raise _missing(path, remedy) from None
    except (OSError, ValueError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        raise UserError.at(path, f"damaged: not readable ({error})", remedy) from None

"""Files that are whole or not there, read with care; work that one process does at a time."""

import fcntl
import json
import os
import platform
import shutil
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

CSV_FORMAT: dict[str, Any] = {"index": False, "float_format": "%.6g"}
AGAIN = "remove it and run this again"


class DamagedFile(ValueError):
    """A file of the project's own that is missing or unusable: file, fault, remedy in a line."""

    def __init__(self, path: Path, what: str, remedy: str = AGAIN) -> None:
        super().__init__(f"{path}: {' '.join(what.split())}; {remedy}")


class NotWritten(OSError):
    """A file that could not be written: one line."""


class Busy(RuntimeError):
    """Another process is doing this very work."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, renamed to it only when the block succeeds.

    Of several that write `path` at once, each waits for the one before. What a killed process left
    is overwritten by the next that writes `path`. Raises OSError, one line, where the block could
    not write; it should do nothing else.
    """
    temporary = path.with_name(f".part-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(_hold(temporary), "r+b") as held:
            try:
                yield temporary
                os.fsync(held.fileno())
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except (OSError, RuntimeError) as error:  # SimpleITK and torch raise the latter on a full disk
        raise not_written(path, error) from None


def not_written(path: Path, error: Exception) -> NotWritten:
    """The error to raise where `path` could not be written."""
    if isinstance(error, NotWritten):
        return error
    reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[-1]
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(folder).free / 2**20
    remedy = "make room, or make its folder writable, and run this again"
    return NotWritten(f"{path}: not written ({reason}; {free:.0f} MiB are free there); {remedy}")


@contextmanager
def alone_in(folder: Path, wait: bool = False) -> Iterator[None]:
    """Do the work of `folder` in no other process at the same time.

    Where another is at it already: wait for its end, saying so on stderr, or raise Busy. A process
    that dies, however it dies, is at work no more.
    """
    lock = folder.with_name(f".lock-{folder.name}")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = _hold(lock, wait=False)
        except BlockingIOError:
            other = f"{folder}: {lock.read_text() or 'another process'} is at work here"
            if not wait:
                raise Busy(f"{other}; run this again when it has ended") from None
            print(f"{other}; waiting for its end", file=sys.stderr)
            descriptor = _hold(lock)
        os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())
    except OSError as error:
        raise not_written(lock, error) from None
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _hold(path: Path, wait: bool = True) -> int:
    """Open `path`, made or emptied for it, as the only process; its end lets go.

    Raises BlockingIOError instead of waiting for another that holds it.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if path.exists() and os.path.samestat(os.stat(path), os.fstat(descriptor)):
                os.truncate(descriptor, 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the one before renamed or removed it meanwhile


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def read_json(path: Path, keys: Sequence[str] = (), remedy: str = AGAIN) -> Any:
    """What a JSON file holds; with `keys`, an object that has them all.

    Raises DamagedFile for anything else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DamagedFile(path, "does not exist", remedy) from None
    except (ValueError, RecursionError) as error:
        raise DamagedFile(path, f"damaged: not JSON ({error})", remedy) from None
    found = content if isinstance(content, dict) else {}
    if lacking := [key for key in keys if key not in found]:
        raise DamagedFile(path, f"damaged: lacks {', '.join(lacking)}", remedy)
    return content


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table without its index, floats to six digits, whole or not at all."""
    with whole_file(path) as temporary:
        table.to_csv(temporary, **CSV_FORMAT)


def read_csv(
    path: Path,
    filled: Sequence[str],
    others: Sequence[str] = (),
    remedy: str = AGAIN,
    **options: Any,
) -> pd.DataFrame:
    """A table that `write_csv` wrote; it has the columns `filled`, without gaps, and `others`.

    `options` are those of `pandas.read_csv`. Raises DamagedFile for anything else, and where the
    last line has no end.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = pd.read_csv(StringIO(text), **options)
    except FileNotFoundError:
        raise DamagedFile(path, "does not exist", remedy) from None
    except ValueError as error:
        raise DamagedFile(path, f"damaged: not a table ({error})", remedy) from None
    if lacking := [name for name in (*filled, *others) if name not in table]:
        raise DamagedFile(path, f"damaged: lacks the columns {', '.join(lacking)}", remedy)
    gaps = table[list(filled)].isna().any(axis=None)
    if gaps or not text.endswith("\n"):
        raise DamagedFile(path, "damaged: cut off, or with gaps", remedy)
    return table


def read_arrays(path: Path, remedy: str = AGAIN) -> dict[str, np.ndarray]:
    """All arrays of an .npz file, whose checksums tell of any change. Raises DamagedFile."""
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except FileNotFoundError:
        raise DamagedFile(path, "does not exist", remedy) from None
    except (OSError, ValueError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        raise DamagedFile(path, f"damaged: not readable ({error})", remedy) from None

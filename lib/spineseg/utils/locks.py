"""Locks between processes. A lock ends with its process, even if that is killed."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from spineseg.utils.errors import UserError, write_error

TRY_LATER = "run this again when it has ended"


@contextmanager
def file_lock(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path`, which is removed afterwards.

    Raises filelock.Timeout if another process holds it and `wait` is false.
    """
    with FileLock(path, timeout=-1 if wait else 0):
        try:
            yield
        finally:
            with suppress(OSError):  # Windows removes it on release
                path.unlink()


@contextmanager
def folder_lock(folder: Path, wait: bool = False) -> Iterator[None]:
    """Work in `folder` as the only process.

    If another process works there, wait for its end and say so on stderr, or, without `wait`, raise
    UserError.
    """
    path = folder.with_name(f".lock-{folder.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            what = f"{_holder(path)} is at work here"
            if not wait:
                raise UserError.at(folder, what, TRY_LATER) from None
            print(f"{folder}: {what}; waiting for its end", file=sys.stderr)
            lock.acquire(timeout=-1)
        _sign(path)
    except OSError as error:
        raise write_error(path, error) from None
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        lock.release()


def _sign(lock: Path) -> None:
    """Write into a held lock who holds it. Windows lets nobody write there."""
    with suppress(PermissionError):
        lock.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")


def _holder(lock: Path) -> str:
    try:
        return lock.read_text(encoding="utf-8") or "another process"
    except (OSError, ValueError):
        return "another process"

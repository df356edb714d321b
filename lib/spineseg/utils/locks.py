"""Locks between processes. A lock ends with its process, even if that is killed.

A disk without locks is noted on stderr once, and work continues without.
"""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EINVAL, ENOLCK, ENOSYS, ENOTSUP, EOPNOTSUPP
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from spineseg.utils.errors import Problem, UserError, write_error

TRY_LATER = "run this again when it has ended"
OTHER_DISK = "remove it if no other command is at work here, or use another disk"
ONE_AT_A_TIME = "run only one command at a time there"
NO_LOCKS = (ENOSYS, ENOTSUP, EOPNOTSUPP, ENOLCK, EINVAL)  # how disks answer that have none
_noted: set[int] = set()  # disks


def new_lock(path: Path) -> FileLock:
    """A lock that is not held yet, for `acquire`."""
    return FileLock(path, fallback_to_soft=False)  # soft locks outlive a killed process


def acquire(lock: FileLock, wait: bool) -> bool:
    """Take a lock. On a disk without locks, say so on stderr and return False.

    Raises filelock.Timeout if another process holds it and `wait` is false, UserError if its file
    cannot be used, and OSError if it cannot be made.
    """
    path = Path(lock.lock_file)
    if isinstance(lock, SoftFileLock):  # all that is left without fcntl and msvcrt
        return _do_without(path, "this system has no file locks")
    try:
        lock.acquire(timeout=-1 if wait else 0)
        return True
    except Timeout:
        raise
    except OSError as error:
        if error.errno in NO_LOCKS:
            return _do_without(path, f"this disk has no locks ({error.strerror})")
        if path.exists():
            what = f"this lock cannot be taken ({error.strerror})"
            raise UserError.at(path, what, OTHER_DISK) from None
        raise


def _do_without(path: Path, why: str) -> bool:
    disk = path.parent.stat().st_dev
    if disk not in _noted:
        _noted.add(disk)
        print(f"note: {Problem(path.parent, why, ONE_AT_A_TIME)}", file=sys.stderr)
    return False


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, which is removed afterwards. Raises as `acquire` does."""
    lock = new_lock(path)
    acquire(lock, wait=True)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes it on release
            path.unlink()
        lock.release()


@contextmanager
def folder_lock(folder: Path, wait: bool = False) -> Iterator[None]:
    """Work in `folder` as the only process.

    If another process works there, wait for its end and say so on stderr, or, without `wait`, raise
    UserError.
    """
    path = folder.with_name(f".lock-{folder.name}")
    lock = new_lock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            acquire(lock, wait=False)
        except Timeout:
            what = f"{_holder(path)} is at work here"
            if not wait:
                raise UserError.at(folder, what, TRY_LATER) from None
            print(f"{folder}: {what}; waiting for its end", file=sys.stderr)
            acquire(lock, wait=True)
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

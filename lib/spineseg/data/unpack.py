"""Unpack the scans in a .zip or .tar file, without trusting it."""

import re
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from spineseg.utils.errors import Problem, UserError
from spineseg.utils.files import atomic_write
from spineseg.utils.progress import progress_bar

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
MOST_FILES = 100_000
MOST_BYTES = 64 * 2**30
MOST_RATIO = 1100  # the most that deflate reaches is 1032
CHUNK = 2**20  # bytes
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, NotImplementedError)
BY_HAND = "if you trust it, unpack it by other means and use `spineseg data convert`"


@dataclass(frozen=True)
class Member:
    """A member of an archive. `odd` says what it is if it is neither a plain file nor a folder."""

    name: str
    size: int
    is_folder: bool
    odd: str
    open: Callable[[], Any]


def is_archive(name: str) -> bool:
    """Whether files of this name can be unpacked here."""
    return name.lower().endswith(ENDINGS)


def contents(archive: Path, pattern: str) -> dict[str, int]:
    """The sizes in bytes of the files that `unpack` writes.

    Raises UserError if the archive is damaged, holds links or devices, points out of its folder,
    or grows out of proportion.
    """
    with _opened(archive, pattern) as (members, others):
        if others:
            what = f"holds {others} files that are not named like a scan"
            print(f"note: {Problem(archive, what, 'not unpacked')}", file=sys.stderr)
        return {name: member.size for name, member in members.items()}


def unpack(archive: Path, pattern: str, folder: Path) -> None:
    """Write the files whose names fit `pattern`, all into `folder`, whatever folder they are in.

    Files that are there already are kept. Raises UserError as `contents` does, and for a file that
    cannot be written.
    """
    with _opened(archive, pattern) as (members, _):
        for name, member in progress_bar(
            members.items(), desc=f"unpack {archive.name}", unit="file"
        ):
            target = folder / name
            if not target.exists() or target.stat().st_size != member.size:
                with atomic_write(target) as temporary:
                    _write(archive, member, temporary)


@contextmanager
def _opened(archive: Path, pattern: str) -> Iterator[tuple[dict[str, Member], int]]:
    """The files whose names fit, by name without folder, and the number of other files."""
    with ExitStack() as stack:
        try:
            if archive.name.lower().endswith(".zip"):
                members = _zip_members(stack.enter_context(zipfile.ZipFile(archive)))
            else:
                members = _tar_members(stack.enter_context(tarfile.open(archive)))
            chosen = _choose(archive, members, pattern)
        except DAMAGE as error:
            raise _damaged(archive, error) from None
        yield chosen


def _zip_members(file: zipfile.ZipFile) -> Iterator[Member]:
    for info in file.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
        odd = "is encrypted" if info.flag_bits & 1 else "" if plain else "is a link or a device"
        opener = partial(file.open, info)
        yield Member(info.filename, info.file_size, info.is_dir(), odd, opener)


def _tar_members(file: tarfile.TarFile) -> Iterator[Member]:
    for info in file:
        odd = "" if info.isreg() or info.isdir() else "is a link or a device"
        yield Member(info.name, info.size, info.isdir(), odd, partial(file.extractfile, info))


def _choose(
    archive: Path, members: Iterable[Member], pattern: str
) -> tuple[dict[str, Member], int]:
    """Check all members. Returns the files whose names fit and the number of other files."""
    chosen: dict[str, Member] = {}
    seen: set[str] = set()  # in lower case, as some systems do not tell a.mha from A.mha
    size, others = 0, 0
    most = min(MOST_BYTES, MOST_RATIO * archive.stat().st_size)
    for number, member in enumerate(members, 1):
        size += member.size
        if number > MOST_FILES or size > most:
            raise UserError.at(archive, "grows out of proportion when unpacked", BY_HAND)
        *folders, name = re.split(r"[/\\]", member.name)
        if member.odd or _points_outside(member.name, folders):
            what = member.odd or "points out of the archive's folder"
            raise UserError.at(archive, f"its member {member.name} {what}", BY_HAND)
        if member.is_folder:
            continue
        if not re.fullmatch(pattern, name, re.IGNORECASE | re.ASCII):
            others += 1
        elif name.lower() in seen:
            raise UserError.at(archive, f"holds two files called {name}", BY_HAND)
        else:
            chosen[name] = member
            seen.add(name.lower())
    return chosen, others


def _points_outside(name: str, folders: list[str]) -> bool:
    return name.startswith(("/", "\\")) or ".." in folders or bool(re.match("[A-Za-z]:", name))


def _write(archive: Path, member: Member, target: Path) -> None:
    written = 0
    with target.open("wb") as out:
        for chunk in _chunks(archive, member):
            written += out.write(chunk)
    if written != member.size:
        raise _damaged(archive, f"{member.name} has {written} bytes instead of {member.size}")


def _chunks(archive: Path, member: Member) -> Iterator[bytes]:
    try:
        with member.open() as source:
            while chunk := source.read(CHUNK):
                yield chunk
    except DAMAGE as error:
        raise _damaged(archive, error) from None


def _damaged(archive: Path, error: object) -> UserError:
    return UserError.at(archive, f"damaged: {error}", BY_HAND)

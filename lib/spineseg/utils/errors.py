"""The one error that users see: which file, what is wrong, what to do."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# What numpy, ITK, torch and the system's loader say if memory runs out.
OUT_OF_MEMORY = (
    *(
        f"{cannot} allocate"
        for cannot in ("cannot", "can't", "could not", "failed to", "unable to")
    ),
    *("tried to allocate", "bad_alloc", "bad allocation", "out of memory", "not enough memory"),
    "failed to map segment",
)
REMOVE = "remove it and run this again"
MAKE_ROOM = "make room, or make its folder writable, and run this again"
REMEDIES = {  # for a file that could not be written
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.ENOTDIR: "choose another folder",
}


@dataclass(frozen=True)
class Problem:
    """One line about one file, run or setting."""

    path: Path | str
    what: str
    remedy: str

    def __str__(self) -> str:
        line = f"{self.path}: {' '.join(self.what.split())}; {self.remedy}"
        return "".join(letter if letter.isprintable() else "?" for letter in line)


class UserError(ValueError):
    """Something that the user can mend: one line for each of its `problems`."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems

    @classmethod
    def at(cls, path: Path | str, what: str, remedy: str = REMOVE) -> UserError:
        """The error of a single problem."""
        return cls(Problem(path, what, remedy))

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def of_each(paths: Iterable[Path], make: Callable[[Path], T]) -> list[T]:
    """What `make` returns for each path. Raises UserError that lists the problems of all paths."""
    made: list[T] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            made.append(make(path))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    return made


def require_utf8(path: Path) -> None:
    """Raise UserError for a name that is not valid UTF-8: SimpleITK would abort the process."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError.at(path, "its name is not valid UTF-8", "rename it") from None


def write_error(path: Path, error: Exception) -> UserError:
    """The error to raise if `path` could not be written because of `error`."""
    if isinstance(error, UserError):
        return error
    words = str(error).strip() or type(error).__name__
    reason = getattr(error, "strerror", None) or words.splitlines()[-1]
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(folder).free / 2**20
    what = f"not written ({reason}; {free:.0f} MiB are free there)"
    return UserError.at(path, what, REMEDIES.get(getattr(error, "errno", None) or 0, MAKE_ROOM))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of any library means that there is too little memory."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in OUT_OF_MEMORY)

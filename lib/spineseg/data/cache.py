"""The cache: volumes on the target grid, memory-mapped, with what a run must know about them.

It is read and written without SimpleITK and without the scans that it was made from.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spineseg.data.splits import split_folds
from spineseg.experiment import ALL, VALIDATION
from spineseg.labels import CLASSES
from spineseg.profiles import Profile
from spineseg.utils import paths
from spineseg.utils.errors import UserError, write_error
from spineseg.utils.files import read_json, write_json
from spineseg.utils.progress import progress_bar

COLUMN_STEP = 16  # the networks halve a slice four times
INDEX, IMAGES, MASKS = "index.json", "images.npy", "masks.npy"
INDEX_KEYS = (
    *("key", "data_hash", "split_hash", "cases", "folds", "slices", "size", "pixel"),
    *("spacings", "classes", "bands", "windows", "sha256"),
)


@dataclass(frozen=True)
class Grid:
    """The target grid of all volumes, and the columns of it that a network sees.

    With `pixel`, the network sees the scan's own slices with pixels of that size, as many rows and
    columns as the scan has image, and all columns. Then the other fields do not matter.
    """

    slices: int
    size: int  # rows and columns of a slice, pixels
    columns: tuple[int, int]  # first, and one past the last
    pixel: float | None = None  # mm

    @property
    def window(self) -> slice:
        """The columns as a slice of the last axis."""
        return slice(None) if self.pixel is not None else slice(*self.columns)

    @property
    def all_columns(self) -> "Grid":
        """The same grid with nothing cropped."""
        return replace(self, columns=(0, self.size))


class Volume(NamedTuple):
    """One case on the target grid."""

    image: np.ndarray  # gray values, uint8 (slices, size, size)
    mask: np.ndarray  # class indices, likewise
    spacing: tuple[float, float, float]  # mm between slices, rows, columns


@dataclass(frozen=True)
class CachePlan:
    """What a cache is to hold. `identity` has `data`, `key` and, for scan files, `data_hash`."""

    folder: Path
    identity: dict[str, str]
    profile: Profile
    cases: Sequence[Any]  # with `id` and `patient`
    slices: int
    size: int
    pixel: float | None = None  # mm, of `Grid`


@dataclass(frozen=True)
class Cache:
    """A finished cache, read from disk as it is used."""

    folder: Path

    @cached_property
    def index(self) -> dict:
        return read_json(self.folder / INDEX, INDEX_KEYS)

    @cached_property
    def images(self) -> np.ndarray:
        """Gray values, uint8 (cases, slices, size, size)."""
        return self._array(IMAGES)

    @cached_property
    def masks(self) -> np.ndarray:
        """Class indices, uint8 (cases, slices, size, size)."""
        return self._array(MASKS)

    def _array(self, name: str) -> np.ndarray:
        """Raises UserError if a single byte is not what was written."""
        path = self.folder / name
        remedy = f"remove {self.folder} and run this again"
        if not path.is_file():
            raise UserError.at(path, "does not exist", remedy)
        if _sha256(path) != self.index["sha256"].get(name):
            raise UserError.at(path, "damaged: not what was written there", remedy)
        return np.load(path, mmap_mode="r")

    def rows(self, ids: Sequence[str]) -> list[int]:
        """The indices of these cases along the first axis."""
        position = {case: row for row, case in enumerate(self.index["cases"])}
        return [position[case] for case in ids]

    def train_ids(self, fold: int | str) -> list[str]:
        """The cases that a fold trains on."""
        held_out = set(self.test_ids(fold))
        if fold == VALIDATION:
            held_out |= set(self.test_ids(0))
        return [case for case in self.index["cases"] if case not in held_out]

    def test_ids(self, fold: int | str) -> list[str]:
        """The cases that a fold tests on. Raises UserError if there is no such fold."""
        folds = self.index["folds"]
        if fold == ALL:
            return []
        if fold == VALIDATION:
            return folds[1]
        if not 0 <= int(fold) < len(folds):
            raise UserError.at(
                f"fold {fold}", "no such fold", f"choose 0 to {len(folds) - 1}, or all"
            )
        return folds[int(fold)]

    def grid(self, fold: int | str) -> Grid:
        """The grid of a run. Its columns are the training part's label band plus the margin.

        Raises UserError if there is no such fold.
        """
        self.test_ids(fold)
        index = self.index
        columns = tuple(index["windows"]["0" if fold == VALIDATION else str(fold)])
        return Grid(index["slices"], index["size"], columns, index["pixel"])

    def spacing(self, case: str) -> tuple[float, ...]:
        """Spacing of a case on the target grid, mm between slices, rows, columns."""
        return tuple(self.index["spacings"][case])


def cache_folder(name: str, key: str) -> Path:
    """The folder of a cache; `key` tells the scans, settings and code that it was made from."""
    return paths.root() / "cache" / f"{name}-{key}"


def hash_of(content: dict[str, Any] | list) -> str:
    """12 hex digits of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def build_cache(plan: CachePlan, volume_of: Callable[[int], Volume], pool: Executor) -> Cache:
    """Make a cache atomically.

    `pool` calls `volume_of` with the number of each case and writes the result. The index has the
    hash of the written volumes as `data_hash`, unless the plan's identity gives one.
    """
    folds = split_folds(plan.cases, plan.profile.folds, plan.profile.split_seed)
    temporary = plan.folder.with_name(f".part-{plan.folder.name}")
    for remains in (temporary, plan.folder):  # of a killed process: a cache has an index
        shutil.rmtree(remains, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        written = _write_volumes(temporary, plan, volume_of, pool)
        write_json(temporary / INDEX, _index(plan, folds, written, temporary))
        temporary.rename(plan.folder)
    except OSError as error:
        raise write_error(plan.folder, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Cache(plan.folder)


class _Written(NamedTuple):
    """What the index tells of a written volume."""

    band: tuple[int, int] | None
    classes: list[int]
    spacing: tuple[float, float, float]


def _write_volumes(
    folder: Path, plan: CachePlan, volume_of: Callable[[int], Volume], pool: Executor
) -> list[_Written]:
    count = len(plan.cases)
    for name in (IMAGES, MASKS):
        _reserve(folder / name, (count, plan.slices, plan.size, plan.size))
    write = partial(_write_case, folder, count, volume_of)
    bar = progress_bar(pool.map(write, range(count)), desc="preprocess", total=count, unit="case")
    return list(bar)


def _index(
    plan: CachePlan, folds: list[list[str]], written: list[_Written], folder: Path
) -> dict[str, Any]:
    ids = [case.id for case in plan.cases]
    bands = {case: found.band for case, found in zip(ids, written, strict=True)}
    labels = {label for found in written for label in found.classes}
    sha256 = {name: _sha256(folder / name) for name in (IMAGES, MASKS)}
    return {
        "data_hash": hash_of(list(sha256.values())),
        **plan.identity,
        "split_hash": hash_of(folds),
        "profile": asdict(plan.profile),
        "cases": ids,
        "folds": folds,
        "slices": plan.slices,
        "size": plan.size,
        "pixel": plan.pixel,
        "spacings": {case: found.spacing for case, found in zip(ids, written, strict=True)},
        "classes": [CLASSES[index] for index in sorted(labels)],
        "bands": bands,
        "windows": _windows(bands, folds, plan.size, plan.profile.margin),
        "sha256": sha256,
    }


def _write_case(folder: Path, cases: int, volume_of: Callable[[int], Volume], row: int) -> _Written:
    volume = volume_of(row)
    _write_array(folder / IMAGES, row - cases, volume.image)
    _write_array(folder / MASKS, row - cases, volume.mask)
    return _Written(label_band(volume.mask), np.unique(volume.mask).tolist(), volume.spacing)


def _reserve(path: Path, shape: tuple[int, ...]) -> None:
    """Write a .npy file of zero bytes; its disk space is reserved if the system can do so."""
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(size := file.tell() + math.prod(shape))
        if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
            os.posix_fallocate(file.fileno(), 0, size)


def _write_array(path: Path, from_end: int, array: np.ndarray) -> None:
    """Write one volume to its position, counted from the last (-1).

    Uses file writes, not a memory map: on a full disk a memory map kills the process without an
    error.
    """
    with path.open("r+b") as file:
        file.seek(from_end * array.nbytes, os.SEEK_END)
        file.write(np.ascontiguousarray(array).data)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def label_band(mask: np.ndarray) -> tuple[int, int] | None:
    """First, and one past the last, column of (slices, rows, columns) with a label; None: none."""
    columns = np.flatnonzero(mask.any(axis=(0, 1)))
    return (int(columns[0]), int(columns[-1]) + 1) if columns.size else None


def crop_window(bands: Sequence[tuple[int, int] | None], size: int, margin: float) -> list[int]:
    """The columns to keep: all bands and the margin, widened to a multiple of 16 if there is room.

    At the paper's 880 columns, labels in 30 to 72 % of the width give 464 of them.
    """
    labelled = [band for band in bands if band]
    if not labelled:
        return [0, size]
    first = min(band[0] for band in labelled) - margin * size
    last = max(band[1] for band in labelled) + margin * size
    width = min(size, int(np.ceil((last - first) / COLUMN_STEP)) * COLUMN_STEP)
    start = int(np.clip(round((first + last - width) / 2), 0, size - width))
    return [start, start + width]


def _windows(bands: dict, folds: list[list[str]], size: int, margin: float) -> dict[str, list[int]]:
    windows = {ALL: crop_window(list(bands.values()), size, margin)}
    for fold, test in enumerate(folds):
        training = [band for case, band in bands.items() if case not in set(test)]
        windows[str(fold)] = crop_window(training, size, margin)
    return windows

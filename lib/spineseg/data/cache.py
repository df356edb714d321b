"""The cache: unified volumes on disk, memory-mapped, with what a run must know about them.

Reading and writing it needs neither SimpleITK nor the scans that it was made from.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from spineseg.data.splits import Scan, SplitError, split_folds
from spineseg.experiment import ALL
from spineseg.labels import CLASSES
from spineseg.profiles import Profile
from spineseg.utils.errors import UserError, write_error
from spineseg.utils.files import read_json, write_json
from spineseg.utils.progress import progress_bar

PERCENTILES = (0.5, 99.5)
COLUMN_STEP = 16  # the networks halve a slice four times
INDEX, IMAGES, MASKS = "index.json", "images.npy", "masks.npy"
INDEXED = (
    "key",
    "data_hash",
    "split_hash",
    "cases",
    "folds",
    "slices",
    "size",
    "classes",
    "bands",
    "windows",
    "sha256",
)


@dataclass(frozen=True)
class Grid:
    """The shape all volumes are brought to, and the columns of it that a network sees."""

    slices: int
    size: int  # rows and columns of a unified slice, pixels
    columns: tuple[int, int]  # first, and one past the last


@dataclass(frozen=True)
class Cache:
    """Unified volumes on disk, memory-mapped, with what must be known about them."""

    folder: Path

    @cached_property
    def index(self) -> dict:
        return read_json(self.folder / INDEX, INDEXED)

    @cached_property
    def images(self) -> np.ndarray:
        """Gray values, uint8 (cases, slices, size, size), read from disk as they are used."""
        return self._array(IMAGES)

    @cached_property
    def masks(self) -> np.ndarray:
        """Class indices, uint8 (cases, slices, size, size)."""
        return self._array(MASKS)

    def _array(self, name: str) -> np.ndarray:
        """Raises UserError where a single byte is not as it was written."""
        path = self.folder / name
        remedy = f"remove {self.folder} and run this again"
        if not path.is_file():
            raise UserError.at(path, "does not exist", remedy)
        if _sha256(path) != self.index["sha256"].get(name):
            raise UserError.at(path, "damaged: not what was written there", remedy)
        return np.load(path, mmap_mode="r")

    def rows(self, ids: Sequence[str]) -> list[int]:
        """Where these cases stand along the first axis."""
        position = {case: row for row, case in enumerate(self.index["cases"])}
        return [position[case] for case in ids]

    def train_ids(self, fold: int | str) -> list[str]:
        index = self.index
        test = set(self.test_ids(fold))
        return [case for case in index["cases"] if case not in test]

    def test_ids(self, fold: int | str) -> list[str]:
        """The cases that a fold holds out; raises SplitError where there is no such fold."""
        folds = self.index["folds"]
        if fold == ALL:
            return []
        if int(fold) >= len(folds):
            raise SplitError(f"there is no fold {fold}; choose 0 to {len(folds) - 1}, or all")
        return folds[int(fold)]

    def grid(self, fold: int | str) -> Grid:
        """The grid of a run: its columns are the training part's label band plus the margin."""
        index = self.index
        return Grid(index["slices"], index["size"], tuple(index["windows"][str(fold)]))


def gray_range(intensities: np.ndarray) -> tuple[float, float]:
    """The intensities that become gray 0 and 255: robust percentiles of the volume."""
    low, high = np.percentile(intensities, PERCENTILES)
    if low == high:  # hardly any voxel differs from the rest
        low, high = intensities.min(), intensities.max()
    return float(low), float(high)


def to_gray(intensities: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale `low`..`high` to 0..255, rounded and clipped, uint8."""
    gray = (intensities.astype(np.float32) - low) * (255 / (high - low))
    return np.clip(np.rint(gray), 0, 255).astype(np.uint8)


def hash_of(content: dict[str, Any] | list) -> str:
    """12 hex digits of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def build(
    folder: Path,
    identity: dict[str, str],
    profile: Profile,
    cases: Sequence[Scan],
    shape: tuple[int, int],
    unified: Callable[[int], tuple[np.ndarray, np.ndarray]],
    pool: Executor,
) -> Cache:
    """Make the cache in `folder`, whole or not at all.

    `shape` is (slices, size) of the unified grid. `unified` gives the gray values and the class
    indices of the case of that number on it, each uint8 (slices, size, size); `pool` calls it and
    writes them. `identity` holds `data`, `key` and `data_hash`, which is that of the volumes
    written where the scans have no files.
    """
    folds = split_folds(cases, profile.folds, profile.seed)
    slices, size = shape
    temporary = folder.with_name(f".part-{folder.name}")
    for remnant in (temporary, folder):  # of a killed process; a cache without its index is none
        shutil.rmtree(remnant, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        bands: dict[str, tuple[int, int] | None] = {}
        labels: set[int] = set()
        for name in (IMAGES, MASKS):
            _reserve(temporary / name, (len(cases), slices, size, size))
        write = partial(_write_case, temporary, len(cases), unified)
        bar = progress_bar(
            pool.map(write, range(len(cases))), desc="preprocess", total=len(cases), unit="case"
        )
        for case, (band, found) in zip(cases, bar, strict=True):
            bands[case.id] = band
            labels.update(found)
        sha256 = {name: _sha256(temporary / name) for name in (IMAGES, MASKS)}
        index = {
            "data_hash": hash_of(list(sha256.values())),
            **identity,
            "split_hash": hash_of(folds),
            "profile": asdict(profile),
            "cases": [case.id for case in cases],
            "folds": folds,
            "slices": slices,
            "size": size,
            "classes": [CLASSES[index] for index in sorted(labels)],
            "bands": bands,
            "windows": _windows(bands, folds, size, profile.margin),
            "sha256": sha256,
        }
        write_json(temporary / INDEX, index)
        temporary.rename(folder)
    except OSError as error:
        raise write_error(folder, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Cache(folder)


def _write_case(
    folder: Path,
    cases: int,
    unified: Callable[[int], tuple[np.ndarray, np.ndarray]],
    row: int,
) -> tuple[tuple[int, int] | None, list[int]]:
    """Put a case in its place; returns its label band and the classes that occur in it."""
    image, mask = unified(row)
    _write_volume(folder / IMAGES, row - cases, image)
    _write_volume(folder / MASKS, row - cases, mask)
    return label_band(mask), np.unique(mask).tolist()


def _reserve(path: Path, shape: tuple[int, ...]) -> None:
    """A .npy file of zero bytes that has its room on the disk, where the system can say so."""
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(size := file.tell() + math.prod(shape))
        if hasattr(os, "posix_fallocate"):  # macOS has none
            os.posix_fallocate(file.fileno(), 0, size)


def _write_volume(path: Path, from_end: int, volume: np.ndarray) -> None:
    """Put a volume in its place, counted from the last (-1).

    By a file, not by mapped memory: writing to that on a full disk kills the process wordlessly.
    """
    with path.open("r+b") as file:
        file.seek(from_end * volume.nbytes, os.SEEK_END)
        file.write(np.ascontiguousarray(volume).data)


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

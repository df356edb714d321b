"""Section 2.1: bring every volume to one shape, 8-bit gray, and crop what holds no label.

The paper resizes all volumes to the most common shape (12 x 880 x 880) and removes the columns left
and right that hold only background (464 remain). Here the most common shape of whatever data is
given takes that part, capped in plane by the profile, and the columns come from the labels of the
training part alone, so that an unlabelled scan is treated alike.
"""

import hashlib
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from joblib import cpu_count

from spineseg import fingerprint, paths
from spineseg.data.sources import Case, read_labelled
from spineseg.data.splits import SplitError, split_folds
from spineseg.data.volume import canonical_shape, geometry_mismatch
from spineseg.files import DamagedFile, alone_in, not_written, read_json, write_json
from spineseg.labels import CLASSES
from spineseg.progress import progress_bar
from spineseg.study import ALL, Study

PERCENTILES = (0.5, 99.5)
COLUMN_STEP = 16  # the networks halve a slice four times
SPLIT = "split.json"
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


def unified_frame(image: sitk.Image, slices: int, size: int) -> sitk.Image:
    """An empty image of slices x size x size voxels over the whole field of view of `image`.

    `image` is canonical. A field of view that is not square is widened, evenly on both sides, to
    the square of its longer side, so that nothing is stretched.
    """
    voxels = np.array(image.GetSize())  # columns, rows, slices
    extent = voxels * image.GetSpacing()  # mm
    extent[:2] = extent[:2].max()
    new_voxels = np.array([size, size, slices])
    spacing = extent / new_voxels
    first = (voxels - 1) / 2 - (new_voxels - 1) / 2 * spacing / image.GetSpacing()
    frame = sitk.Image(new_voxels.tolist(), sitk.sitkUInt8)
    frame.SetSpacing(spacing.tolist())
    frame.SetDirection(image.GetDirection())
    frame.SetOrigin(image.TransformContinuousIndexToPhysicalPoint(first.tolist()))
    return frame


def unify_image(image: sitk.Image, slices: int, size: int) -> np.ndarray:
    """A canonical scan as 8-bit gray on the unified grid: uint8 (slices, size, size).

    Gray 0 and 255 are the volume's 0.5th and 99.5th percentile (Eq. 5 works on 0..255).
    """
    low, high = gray_range(sitk.GetArrayViewFromImage(image))
    frame = unified_frame(image, slices, size)
    smooth = _blur_for(sitk.Cast(image, sitk.sitkFloat32), frame)
    if geometry_mismatch(smooth, frame):
        smooth = sitk.Resample(smooth, frame, defaultPixelValue=low)
    return to_gray(sitk.GetArrayViewFromImage(smooth), low, high)


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


def _blur_for(image: sitk.Image, frame: sitk.Image) -> sitk.Image:
    """Blur in plane by what a coarser grid cannot show, lest detail fold into false patterns."""
    for axis in (0, 1):
        ratio = frame.GetSpacing()[axis] / image.GetSpacing()[axis]
        if ratio > 1.5:
            sigma = 0.3 * np.sqrt(ratio**2 - 1) * image.GetSpacing()[axis]  # mm
            image = sitk.RecursiveGaussian(image, sigma, direction=axis)
    return image


def unify_classes(classes: np.ndarray, image: sitk.Image, slices: int, size: int) -> np.ndarray:
    """The classes of a canonical scan's voxels on the unified grid: uint8 (slices, size, size)."""
    mask = sitk.GetImageFromArray(classes)
    mask.CopyInformation(image)
    frame = unified_frame(image, slices, size)
    if geometry_mismatch(mask, frame):
        mask = sitk.Resample(mask, frame, interpolator=sitk.sitkLabelLinear)
    return sitk.GetArrayFromImage(mask)


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
        """Raises DamagedFile where a single byte is not as it was written."""
        path = self.folder / name
        remedy = f"remove {self.folder} and run this again"
        if not path.is_file():
            raise DamagedFile(path, "does not exist", remedy)
        if _sha256(path) != self.index["sha256"].get(name):
            raise DamagedFile(path, "damaged: not what was written there", remedy)
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


def prepare(study: Study) -> Cache:
    """The cache of a study; made if there is none of exactly these files and settings.

    Raises DataError, listing every problem, before any work when the folder holds bad files.
    """
    scans = data_hash(study.files())
    key = _hash({"code": fingerprint.of_cache(), "data": scans, **study.profile.cache_knobs()})
    folder = paths.root() / "cache" / f"{study.name}-{key}"
    if not (folder / INDEX).is_file():
        cases = study.checked_cases()
        identity = {"data": str(study.data), "key": key, "data_hash": scans}
        with alone_in(folder, wait=True):
            if not (folder / INDEX).is_file():
                _build(study, cases, identity, folder)
    cache = Cache(folder)
    parts = {key: cache.index[key] for key in ("folds", "windows")}
    _write_if_new(study.runs / SPLIT, {"cache": folder.name, **parts})
    return cache


def _write_if_new(path: Path, content: dict) -> None:
    """Leave an equal file untouched: what depends on it is then not made again."""
    if not path.is_file() or read_json(path) != content:
        write_json(path, content)


def data_hash(files: Sequence[Path]) -> str:
    """12 hex digits of these files' names and contents."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(os.fsencode(file.name))
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _hash(content: dict[str, Any] | list) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _build(study: Study, cases: list[Case], identity: dict[str, str], folder: Path) -> None:
    profile = study.profile
    folds = split_folds(cases, profile.folds, profile.seed)
    slices, size = _common_shape(cases)
    size = min(size, profile.max_size)
    temporary = folder.with_name(f".part-{folder.name}")
    for remnant in (temporary, folder):  # of a killed process; a cache without its index is none
        shutil.rmtree(remnant, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        shape = (len(cases), slices, size, size)
        bands: dict[str, tuple[int, int] | None] = {}
        labels: set[int] = set()
        for name in (IMAGES, MASKS):
            _reserve(temporary / name, shape)

        def unify(row: int) -> np.ndarray:
            image, classes = read_labelled(cases[row])
            mask = unify_classes(classes, image, slices, size)
            from_end = row - len(cases)
            _write_volume(temporary / IMAGES, from_end, unify_image(image, slices, size))
            _write_volume(temporary / MASKS, from_end, mask)
            return mask

        with ThreadPoolExecutor(cpu_count()) as pool:
            masks = pool.map(unify, range(len(cases)))
            bar = progress_bar(masks, desc="preprocess", total=len(cases), unit="case")
            for case, mask in zip(cases, bar, strict=True):
                bands[case.id] = label_band(mask)
                labels.update(np.unique(mask).tolist())
        index = {
            **identity,
            "split_hash": _hash(folds),
            "profile": asdict(profile),
            "cases": [case.id for case in cases],
            "folds": folds,
            "slices": slices,
            "size": size,
            "classes": [CLASSES[index] for index in sorted(labels)],
            "bands": bands,
            "windows": _windows(bands, folds, size, profile.margin),
            "sha256": {name: _sha256(temporary / name) for name in (IMAGES, MASKS)},
        }
        write_json(temporary / INDEX, index)
        temporary.rename(folder)
    except OSError as error:
        raise not_written(folder, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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


def _common_shape(cases: list[Case]) -> tuple[int, int]:
    """The most frequent (slices, longer in-plane side) among the scans, larger first in a tie."""
    shapes = [canonical_shape(case.image) for case in cases]
    counts = Counter((slices, max(rows, columns)) for slices, rows, columns in shapes)
    return max(counts, key=lambda shape: (counts[shape], shape))


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

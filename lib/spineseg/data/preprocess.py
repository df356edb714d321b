"""Section 2.1: bring every volume to one shape, 8-bit gray, and crop what holds no label.

The paper resizes all volumes to the most common shape (12 x 880 x 880) and removes the columns left
and right that hold only background (464 remain). Here the most common shape of whatever data is
given takes that part, capped in plane by the profile, and the columns come from the labels of the
training part alone, so that an unlabelled scan is treated alike.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from joblib import cpu_count

from spineseg import fingerprint
from spineseg.data.cache import INDEX, Cache, build, gray_range, hash_of, to_gray
from spineseg.data.layouts import Case, read_labelled
from spineseg.data.volume import canonical_shape, geometry_mismatch
from spineseg.experiment import Experiment
from spineseg.utils import paths
from spineseg.utils.files import folder_lock, read_json, write_json

SPLIT = "split.json"


def target_grid(image: sitk.Image, slices: int, size: int) -> sitk.Image:
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


def image_to_grid(image: sitk.Image, slices: int, size: int) -> np.ndarray:
    """A canonical scan as 8-bit gray on the unified grid: uint8 (slices, size, size).

    Gray 0 and 255 are the volume's 0.5th and 99.5th percentile (Eq. 5 works on 0..255).
    """
    low, high = gray_range(sitk.GetArrayViewFromImage(image))
    frame = target_grid(image, slices, size)
    smooth = _blur_for(sitk.Cast(image, sitk.sitkFloat32), frame)
    if geometry_mismatch(smooth, frame):
        smooth = sitk.Resample(smooth, frame, defaultPixelValue=low)
    return to_gray(sitk.GetArrayViewFromImage(smooth), low, high)


def _blur_for(image: sitk.Image, frame: sitk.Image) -> sitk.Image:
    """Blur in plane by what a coarser grid cannot show, lest detail fold into false patterns."""
    for axis in (0, 1):
        ratio = frame.GetSpacing()[axis] / image.GetSpacing()[axis]
        if ratio > 1.5:
            sigma = 0.3 * np.sqrt(ratio**2 - 1) * image.GetSpacing()[axis]  # mm
            image = sitk.RecursiveGaussian(image, sigma, direction=axis)
    return image


def classes_to_grid(classes: np.ndarray, image: sitk.Image, slices: int, size: int) -> np.ndarray:
    """The classes of a canonical scan's voxels on the unified grid: uint8 (slices, size, size)."""
    mask = sitk.GetImageFromArray(classes)
    mask.CopyInformation(image)
    frame = target_grid(image, slices, size)
    if geometry_mismatch(mask, frame):
        mask = sitk.Resample(mask, frame, interpolator=sitk.sitkLabelLinear)
    return sitk.GetArrayFromImage(mask)


def prepare(experiment: Experiment) -> Cache:
    """The cache of an experiment; made if there is none of exactly these files and settings.

    Raises UserError, listing every problem, before any work when the folder holds bad files.
    """
    scans = data_hash(experiment.files())
    key = hash_of(
        {"code": fingerprint.of_cache(), "data": scans, **experiment.profile.cache_knobs()}
    )
    folder = paths.root() / "cache" / f"{experiment.name}-{key}"
    if not (folder / INDEX).is_file():
        cases = experiment.checked_cases()
        identity = {"data": str(experiment.data), "key": key, "data_hash": scans}
        with folder_lock(folder, wait=True):
            if not (folder / INDEX).is_file():
                _build(experiment, cases, identity, folder)
    cache = Cache(folder)
    parts = {key: cache.index[key] for key in ("folds", "windows")}
    _write_if_new(experiment.runs / SPLIT, {"cache": folder.name, **parts})
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


def _build(
    experiment: Experiment, cases: list[Case], identity: dict[str, str], folder: Path
) -> Cache:
    slices, size = _common_shape(cases)
    size = min(size, experiment.profile.image_size)

    def unified(row: int) -> tuple[np.ndarray, np.ndarray]:
        image, classes = read_labelled(cases[row])
        return image_to_grid(image, slices, size), classes_to_grid(classes, image, slices, size)

    with ThreadPoolExecutor(cpu_count()) as pool:
        return build(folder, identity, experiment.profile, cases, (slices, size), unified, pool)


def _common_shape(cases: list[Case]) -> tuple[int, int]:
    """The most frequent (slices, longer in-plane side) among the scans, larger first in a tie."""
    shapes = [canonical_shape(case.image) for case in cases]
    counts = Counter((slices, max(rows, columns)) for slices, rows, columns in shapes)
    return max(counts, key=lambda shape: (counts[shape], shape))

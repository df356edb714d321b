"""From class probabilities on the target grid to the classes of a scan's voxels.

Interpolating all classes at all voxels of a large scan would take gigabytes and many seconds. A
voxel between pixels of one and the same class gets that class, so only the others are interpolated.
"""

import numpy as np
import SimpleITK as sitk

MIXED = 255  # marks cells between pixels of several classes
VOXELS_AT_ONCE = 2**18  # are interpolated, to bound the memory
ROUNDING = 1e-6  # pixels: indices are no more exact than this

Box = tuple[slice, slice, slice]  # along slices, rows, columns


def interpolated_classes(
    probabilities: np.ndarray, target: sitk.Image, scan: sitk.Image
) -> np.ndarray:
    """The most probable class of each voxel of a canonical scan, uint8 (slices, rows, columns).

    `probabilities` are float32 (slices, rows, columns, classes) on the empty image `target`. They
    are interpolated linearly. Outside of `target` there is background, which is class 0.
    """
    classes = np.zeros(scan.GetSize()[::-1], np.uint8)
    cells = _cells(probabilities.argmax(-1).astype(np.uint8))
    if not cells.any():
        return classes
    image = sitk.GetImageFromArray(cells)
    image.SetSpacing(target.GetSpacing())
    image.SetDirection(target.GetDirection())
    image.SetOrigin(target.TransformContinuousIndexToPhysicalPoint((-0.5, -0.5, -0.5)))
    box = _box_on_scan(cells, image, scan)
    found = classes[box]
    for index, plane in enumerate(found):
        corner = (box[2].start, box[1].start, box[0].start + index)
        plane[:] = _nearest(image, scan, corner, plane.shape)
        rows, columns = np.nonzero(plane == MIXED)
        voxels = np.stack([columns, rows, np.zeros_like(rows)], axis=1) + corner
        for first in range(0, len(voxels), VOXELS_AT_ONCE):
            some = slice(first, first + VOXELS_AT_ONCE)
            indices = _on_target(voxels[some], target, scan)
            plane[rows[some], columns[some]] = _interpolated(probabilities, indices).argmax(-1)
    return classes


def _cells(classes: np.ndarray) -> np.ndarray:
    """The class of each cell between 2 x 2 x 2 pixels of (slices, rows, columns), or MIXED.

    The first and last cells of an axis are beyond the outer pixels: the shape grows by one. The
    outer ones are never a class by themselves, because half of them is outside.
    """
    low = high = np.pad(classes, 1, mode="edge")
    for axis in range(3):
        count = low.shape[axis]
        first, second = (np.arange(start, count - 1 + start) for start in (0, 1))
        low = np.minimum(low.take(first, axis), low.take(second, axis))
        high = np.maximum(high.take(first, axis), high.take(second, axis))
    cells = np.where(low == high, low, np.uint8(MIXED))
    inner = np.zeros(cells.shape, bool)
    inner[1:-1, 1:-1, 1:-1] = True
    cells[~inner & (cells > 0)] = MIXED
    return cells


def _box_on_scan(cells: np.ndarray, image: sitk.Image, scan: sitk.Image) -> Box:
    """The voxels of the scan that may not be background; `cells` are the voxels of `image`."""
    ends = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        found = np.flatnonzero(cells.any(axis=others))
        ends.append((found[0] - 0.5, found[-1] + 0.5))
    corners = np.array(np.meshgrid(*ends)).reshape(3, -1).T[:, ::-1]
    indices = np.array(
        [
            scan.TransformPhysicalPointToContinuousIndex(
                image.TransformContinuousIndexToPhysicalPoint(corner.tolist())
            )
            for corner in corners
        ]
    )
    size = np.array(scan.GetSize())
    first = np.clip(np.floor(indices.min(0)), 0, size).astype(int)
    last = np.clip(np.ceil(indices.max(0)) + 1, 0, size).astype(int)
    columns, rows, slices = (slice(*each) for each in zip(first, last, strict=True))
    return slices, rows, columns


def _nearest(
    image: sitk.Image, scan: sitk.Image, corner: tuple[int, ...], shape: tuple[int, ...]
) -> np.ndarray:
    """`image` at the voxels of one slice of the scan, from `corner` (column, row, slice) on."""
    origin = scan.TransformIndexToPhysicalPoint([int(each) for each in corner])
    return sitk.GetArrayFromImage(
        sitk.Resample(
            image,
            [*shape[::-1], 1],
            sitk.Transform(),
            sitk.sitkNearestNeighbor,
            origin,
            scan.GetSpacing(),
            scan.GetDirection(),
        )
    )[0]


def _on_target(voxels: np.ndarray, target: sitk.Image, scan: sitk.Image) -> np.ndarray:
    """The continuous indices (slice, row, column) on `target` of voxels (column, row, slice)."""

    def matrix(image: sitk.Image) -> np.ndarray:
        return np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()

    to_target = np.linalg.inv(matrix(target))
    shift = to_target @ (np.array(scan.GetOrigin()) - target.GetOrigin())
    return (voxels @ (to_target @ matrix(scan)).T + shift)[:, ::-1]


def _interpolated(values: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Linear interpolation of (slices, rows, columns, n) at indices (m, 3): float32 (m, n).

    Up to half a pixel beyond the outer pixels, their values hold. Further out there is 0.
    """
    shape = np.array(values.shape[:3])
    low = np.floor(indices).astype(np.intp)
    share = indices - low
    flat = values.reshape(-1, values.shape[-1])
    total = np.zeros((len(indices), values.shape[-1]))
    for corner in np.ndindex(2, 2, 2):
        weight = np.where(corner, share, 1 - share).prod(axis=1)
        place = np.clip(low + corner, 0, shape - 1)
        total += flat[np.ravel_multi_index(tuple(place.T), tuple(shape))] * weight[:, None]
    edge = 0.5 + ROUNDING
    outside = ((indices < -edge) | (indices > shape - 1 + edge)).any(axis=1)
    total[outside] = 0
    return total.astype(np.float32)

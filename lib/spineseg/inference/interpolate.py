"""From class probabilities on the target grid to the classes of a scan's voxels.

Interpolating all classes at all voxels of a large scan would take gigabytes and many seconds. A
voxel between pixels of one and the same class gets that class, so only the others are interpolated.
"""

import numpy as np
import SimpleITK as sitk

AT_EDGE = 255  # marks pixels near the edge between two classes
VOXELS_AT_ONCE = 2**18  # are interpolated, to bound the memory

Box = tuple[slice, slice, slice]  # along slices, rows, columns


def interpolated_classes(
    probabilities: np.ndarray, target: sitk.Image, scan: sitk.Image
) -> np.ndarray:
    """The most probable class of each voxel of a canonical scan, uint8 (slices, rows, columns).

    `probabilities` are float32 (slices, rows, columns, classes) on the empty image `target`. They
    are interpolated linearly. Outside of `target` there is background, which is class 0.
    """
    classes = np.zeros(scan.GetSize()[::-1], np.uint8)
    marked = _mark_edges(probabilities.argmax(-1).astype(np.uint8))
    if not marked.any():
        return classes
    box = _box_on_scan(marked, target, scan)
    found = classes[box]
    image = sitk.GetImageFromArray(marked)
    image.CopyInformation(target)
    for index, plane in enumerate(found):
        corner = (box[2].start, box[1].start, box[0].start + index)
        plane[:] = _nearest(image, scan, corner, plane.shape)
        rows, columns = np.nonzero(plane == AT_EDGE)
        voxels = np.stack([columns, rows, np.zeros_like(rows)], axis=1) + corner
        for first in range(0, len(voxels), VOXELS_AT_ONCE):
            some = slice(first, first + VOXELS_AT_ONCE)
            indices = _on_target(voxels[some], target, scan)
            plane[rows[some], columns[some]] = _interpolated(probabilities, indices).argmax(-1)
    return classes


def _mark_edges(classes: np.ndarray) -> np.ndarray:
    """Replace the class of pixels that have a neighbour of another class by AT_EDGE."""
    low, high = classes.copy(), classes.copy()
    for axis in range(3):
        for ends, found in ((low, np.minimum), (high, np.maximum)):
            before = ends.copy()
            along, source = np.moveaxis(ends, axis, 0), np.moveaxis(before, axis, 0)
            found(along[1:], source[:-1], out=along[1:])
            found(along[:-1], source[1:], out=along[:-1])
    return np.where(low == high, classes, np.uint8(AT_EDGE))


def _box_on_scan(marked: np.ndarray, target: sitk.Image, scan: sitk.Image) -> Box:
    """The voxels of the scan that may not be background."""
    ends = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        found = np.flatnonzero(marked.any(axis=others))
        ends.append((found[0] - 0.5, found[-1] + 0.5))
    corners = np.array(np.meshgrid(*ends)).reshape(3, -1).T[:, ::-1]
    indices = np.array(
        [
            scan.TransformPhysicalPointToContinuousIndex(
                target.TransformContinuousIndexToPhysicalPoint(corner.tolist())
            )
            for corner in corners
        ]
    )
    size = np.array(scan.GetSize())
    first = np.clip(np.floor(indices.min(0)), 0, size).astype(int)
    last = np.clip(np.ceil(indices.max(0)) + 1, 0, size).astype(int)
    return tuple(slice(*each) for each in zip(first[::-1], last[::-1], strict=True))  # type: ignore


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
    inside = ((indices >= -0.5) & (indices <= shape - 0.5)).all(axis=1)
    return np.where(inside[:, None], total, 0).astype(np.float32)

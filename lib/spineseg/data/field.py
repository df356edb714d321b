"""The field of view of a scan: the box that holds its image, without padding.

A slab that was resampled to the axes of the scanner is oblique in a padded box. Its own axes are
found from the voxels that are not padding: the normal of the slab is the direction in which they
spread least, and the sides are those of the smallest rectangle around them in plane.
"""

from itertools import permutations
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from spineseg.data.padding import ImagePart, image_part

LEAST_IMAGE = 0.05  # outer planes with less image than this part of the fullest one are dropped
OBLIQUE = 0.9  # the slab's own box must be smaller than this part of the box along the scan's axes
LINES = 128  # per axis are enough to find the axes
ANGLE_STEP = 0.5  # degrees


class Field(NamedTuple):
    """A box of voxels. Vectors are in the order columns, rows, slices."""

    first: sitk.Image  # one voxel: origin, spacing (mm) and direction of the box
    voxels: np.ndarray  # float; those of an oblique slab need not be whole numbers

    @property
    def spacing(self) -> np.ndarray:
        """mm along columns, rows, slices."""
        return np.array(self.first.GetSpacing())

    def image(self, voxels: np.ndarray, spacing: np.ndarray, first: np.ndarray) -> sitk.Image:
        """An empty image along the box's axes; `first` is the index of its first voxel here."""
        image = sitk.Image(voxels.tolist(), sitk.sitkUInt8)
        image.SetSpacing(spacing.tolist())
        image.SetDirection(self.first.GetDirection())
        image.SetOrigin(self.first.TransformContinuousIndexToPhysicalPoint(first.tolist()))
        return image


def field_of_view(scan: sitk.Image) -> Field:
    """The box that holds the image of a canonical scan, along the axes of the slab."""
    part = image_part(scan)
    if part is None:
        return Field(_voxel(scan, scan.GetOrigin()), np.array(scan.GetSize(), float))
    first, last = image_box(part)
    straight = Field(
        _voxel(scan, scan.TransformIndexToPhysicalPoint(first.tolist())), last - first + 1.0
    )
    oblique = _oblique(scan, part, first, last)
    is_smaller = np.prod(oblique.voxels) < OBLIQUE * np.prod(np.maximum(last - first, 1))
    return oblique if is_smaller else straight


def _voxel(scan: sitk.Image, origin: tuple[float, ...], axes: np.ndarray | None = None):
    """One voxel of the scan's spacing at `origin`; `axes` are columns of a matrix."""
    voxel = sitk.Image(1, 1, 1, sitk.sitkUInt8)
    voxel.SetSpacing(scan.GetSpacing())
    voxel.SetDirection(scan.GetDirection() if axes is None else axes.ravel().tolist())
    voxel.SetOrigin(origin)
    return voxel


def image_box(part: ImagePart) -> tuple[np.ndarray, np.ndarray]:
    """The first and last (column, row, slice) of the planes that hold enough image."""
    thickness = part.thickness
    filled = thickness > 0
    changes = np.bincount(part.first[filled], minlength=part.slices + 1)
    changes -= np.bincount(part.last[filled] + 1, minlength=part.slices + 1)
    amounts = (thickness.sum(0), thickness.sum(1), changes.cumsum()[:-1])
    enough = [np.flatnonzero(amount >= LEAST_IMAGE * amount.max()) for amount in amounts]
    return np.array([each[0] for each in enough]), np.array([each[-1] for each in enough])


def _oblique(scan: sitk.Image, part: ImagePart, first: np.ndarray, last: np.ndarray) -> Field:
    """The smallest box around the centres of the voxels with image."""
    spacing = np.array(scan.GetSpacing())
    lines = np.zeros(part.first.shape, bool)
    inner = slice(first[1], last[1] + 1), slice(first[0], last[0] + 1)
    lines[inner] = part.thickness[inner] > 0
    outline = _surface(part, _outline(lines)) * spacing
    axes = _slab_axes(_voxels(part, first, last) * spacing, outline)
    along = _surface(part, lines) * spacing @ axes
    low, high = along.min(0), along.max(0)
    direction = np.reshape(scan.GetDirection(), (3, 3)) @ axes
    voxels = np.maximum((high - low) / spacing, 1)
    corner = (low + high) / 2 - (voxels - 1) / 2 * spacing  # mm along the axes
    index = (axes @ corner) / spacing
    origin = scan.TransformContinuousIndexToPhysicalPoint(index.tolist())
    return Field(_voxel(scan, origin, direction), voxels)


def _surface(part: ImagePart, lines: np.ndarray) -> np.ndarray:
    """The first and last voxel of these lines (rows, columns), (points, 3): column, row, slice."""
    rows, columns = np.nonzero(lines)
    ends = [
        np.stack([columns, rows, plane[rows, columns]], axis=1) for plane in (part.first, part.last)
    ]
    return np.concatenate(ends)


def _outline(lines: np.ndarray) -> np.ndarray:
    """The first and last of these lines in each row and in each column."""
    outline = np.zeros_like(lines)
    for marked, found in ((outline, lines), (outline.T, lines.T)):
        (rows,) = np.nonzero(found.any(1))
        marked[rows, found[rows].argmax(1)] = True
        marked[rows, found.shape[1] - 1 - found[rows, ::-1].argmax(1)] = True
    return outline


def _voxels(part: ImagePart, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Every voxel of some of the lines, (points, 3): column, row, slice."""
    columns, rows = (
        np.unique(np.linspace(first[axis], last[axis], LINES).astype(int)) for axis in (0, 1)
    )
    slices = np.arange(first[2], last[2] + 1)
    lines = np.ix_(rows, columns)
    inside = (part.first[lines][..., None] <= slices) & (slices <= part.last[lines][..., None])
    row, column, level = np.nonzero(inside)
    return np.stack([columns[column], rows[row], slices[level]], axis=1)


def _slab_axes(voxels: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """The axes of a slab as columns of a rotation matrix, each near the scan's own axis.

    `voxels` and `outline` are points (n, 3) in mm along the scan's axes.
    """
    _, directions = np.linalg.eigh(np.cov(voxels.T))
    normal = directions[:, 0]  # of the smallest spread
    plane = _plane_axes(normal)
    plane = plane @ _rectangle_axes(outline @ plane)
    axes = np.column_stack([plane, normal])
    order = max(permutations(range(3)), key=lambda order: np.abs(np.diag(axes[:, order])).sum())
    axes = axes[:, order]
    return axes * np.where(np.diag(axes) < 0, -1, 1)


def _plane_axes(normal: np.ndarray) -> np.ndarray:
    """Two axes (columns, 3 x 2) of the plane at right angles to `normal`, near the scan's own."""
    own = np.delete(np.eye(3), np.abs(normal).argmax(), axis=1)
    first = own[:, 0] - normal * (normal @ own[:, 0])
    first /= np.linalg.norm(first)
    return np.column_stack([first, np.cross(normal, first)])


def _rectangle_axes(points: np.ndarray) -> np.ndarray:
    """The sides (columns, 2 x 2) of the smallest rectangle around points (n, 2) in a plane."""
    turns = [_turn(angle) for angle in np.arange(-45, 45, ANGLE_STEP)]
    areas = [np.prod(np.ptp(points @ turn, axis=0)) for turn in turns]
    return turns[int(np.argmin(areas))]


def _turn(degrees: float) -> np.ndarray:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cosine, -sine], [sine, cosine]])

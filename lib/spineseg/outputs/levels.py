"""Measure each level of a mask: volume, height and position, in mm."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from spineseg.data.padding import ImagePart, image_part
from spineseg.labels import CLASSES, FOREGROUND
from spineseg.utils.files import atomic_write

MIDDLE_MM = 5.0  # slices up to this far from a level's middle show its body
LARGE_PIECE = 0.3  # of the area of the largest piece in the slice
MIDDLE_SHARE = 1 / 3  # of the body's depth, in which its height is measured
TILTS = np.arange(-45.0, 46.0, 3.0)  # degrees against the grid's rows, in which to search
FINER_TILTS = np.arange(-2.0, 3.0)  # degrees around the best of them
LINES = 15  # per slice, along which a height is measured
STEPS_PER_PIXEL = 4

SIDES = (("right", "left"), ("superior", "inferior"), ("anterior", "posterior"))  # of each axis
COLUMNS = (
    *("scan", "level", "volume_mm3", "height_mm"),
    *("left_mm", "posterior_mm", "superior_mm", "i", "j", "k", "cut"),
)

HEADER = ",".join(COLUMNS)  # the first line of a table
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Level:
    """One level of a scan.

    - `volume`: mm³, of all its voxels.
    - `height`: mm, of the vertebral body (see `body_height`). None for the sacrum.
    - `centre`: the middle of the body, in mm to the left, to posterior and to superior (DICOM's
      patient coordinates). `voxel` is the same point as an index into the scan's file, from 0.
    - `cut`: the sides on which the image ends at the largest piece of this level.
    """

    name: str
    volume: float
    height: float | None
    centre: tuple[float, ...]
    voxel: tuple[float, ...]
    cut: tuple[str, ...]


def measure_levels(classes: np.ndarray, scan: sitk.Image, stored: sitk.Image) -> Iterator[Level]:
    """Measure each level that occurs, from the sacrum upwards.

    `classes` (slices, rows, columns) is on the grid of `scan`, the canonical image of `stored`.
    """
    spacing = np.array(scan.GetSpacing())[::-1]  # between slices, rows, columns
    part = image_part(scan)
    for name in FOREGROUND:
        mask = classes == CLASSES.index(name)
        if not mask.any():
            continue
        box = _bounding_box(mask)
        cropped = mask[box]
        body = body_slices(cropped, spacing[0])
        first = [side.start for side in box]
        index = (np.array(first) + _middle(cropped, body))[::-1]
        centre = scan.TransformContinuousIndexToPhysicalPoint(index.tolist())
        yield Level(
            name,
            float(np.count_nonzero(cropped) * spacing.prod()),
            None if name == "S" else body_height(body, (spacing[1], spacing[2])),
            centre,
            stored.TransformPhysicalPointToContinuousIndex(centre),
            _cut_sides(_largest_piece(cropped), _visible(part, box, classes.shape)),
        )


def body_slices(mask: np.ndarray, between: float) -> list[np.ndarray]:
    """The vertebral body in the middle slices of a level's mask (slices, rows, columns).

    Near the midline the canal separates the body from the spinous process behind it. So the body
    is the foremost large piece of a slice: bool (rows, columns). `between` is the distance of
    slices in mm.
    """
    from scipy import ndimage

    found = np.flatnonzero(mask.any((1, 2)))
    middle = np.average(found, weights=mask[found].sum((1, 2)))
    distances = np.abs(found - middle) * between
    near = found[distances <= max(MIDDLE_MM, distances.min())]
    bodies = []
    for plane in mask[near]:
        pieces, _ = ndimage.label(plane)
        areas = np.bincount(pieces.ravel())
        areas[0] = 0
        large = np.flatnonzero(areas >= LARGE_PIECE * areas.max())
        middles = [np.nonzero(pieces == piece)[1].mean() for piece in large]
        bodies.append(pieces == large[np.argmin(middles)])
    return bodies


def body_height(bodies: list[np.ndarray], spacing: tuple[float, float]) -> float:
    """The height of a body in mm, from the slices of `body_slices`.

    It is the mean distance between its endplates over the middle third of its depth, along the
    direction within 45° of the grid's rows in which this is smallest: that is at right angles to
    the endplates. `spacing` is that of rows and columns in mm.
    """
    coarse = min(TILTS, key=lambda tilt: _mean_extent(bodies, spacing, tilt))
    return min(_mean_extent(bodies, spacing, coarse + finer) for finer in FINER_TILTS)


def _mean_extent(bodies: list[np.ndarray], spacing: tuple[float, float], tilt: float) -> float:
    """Mean extent of the bodies along lines that are `tilt` degrees off the direction of rows."""
    angle = np.radians(tilt)
    along = np.array([np.cos(angle), np.sin(angle)])  # mm down the rows, across the columns
    across = np.array([-np.sin(angle), np.cos(angle)])
    step = min(spacing) / STEPS_PER_PIXEL
    extents = []
    for body in bodies:
        pixels = np.argwhere(body) * spacing  # mm
        depths, heights = pixels @ across, pixels @ along
        reach = np.ptp(depths) * MIDDLE_SHARE / 2
        middle = (depths.min() + depths.max()) / 2
        lines = np.linspace(middle - reach, middle + reach, LINES)
        places = np.arange(heights.min() - max(spacing), heights.max() + max(spacing), step)
        points = lines[:, None, None] * across + places[:, None] * along
        rows, columns = np.moveaxis(np.rint(points / spacing).astype(int) + 1, -1, 0)
        padded = np.pad(body, 1)
        size = np.array(padded.shape) - 1
        on_body = padded[rows.clip(0, size[0]), columns.clip(0, size[1])]
        extents.append(on_body.sum(1).mean() * step)
    return float(np.mean(extents))


def _bounding_box(mask: np.ndarray) -> Box:
    sides = []
    for axis in range(3):
        filled = np.flatnonzero(mask.any(tuple({0, 1, 2} - {axis})))
        sides.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return sides[0], sides[1], sides[2]


def _middle(mask: np.ndarray, bodies: list[np.ndarray]) -> np.ndarray:
    """The middle of a level: slice of the whole, row and column of its body."""
    level = np.average(np.arange(len(mask)), weights=mask.sum((1, 2)))
    row, column = np.concatenate([np.argwhere(body) for body in bodies]).mean(0)
    return np.array([level, row, column])


def _visible(part: ImagePart | None, box: Box, shape: tuple[int, ...]) -> np.ndarray:
    """Where there is image in a box and one voxel around it; there is none beyond the volume."""
    wider = [range(side.start - 1, side.stop + 1) for side in box]
    slices, rows, columns = (
        np.array([0 <= place < size for place in places])
        for places, size in zip(wider, shape, strict=True)
    )
    visible = slices[:, None, None] & rows[:, None] & columns
    if part is not None:
        lines = [
            np.clip(places, 0, size - 1) for places, size in zip(wider[1:], shape[1:], strict=True)
        ]
        first, last = (plane[np.ix_(*lines)] for plane in (part.first, part.last))
        places = np.array(wider[0])[:, None, None]
        visible &= (first <= places) & (places <= last)
    return visible


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask; specks at the edge of the image are not in it."""
    from scipy import ndimage

    pieces, _ = ndimage.label(mask)
    volumes = np.bincount(pieces.ravel())
    return pieces == volumes[1:].argmax() + 1


def _cut_sides(mask: np.ndarray, visible: np.ndarray) -> tuple[str, ...]:
    """The sides on which a voxel of the mask has no image beside it."""
    padded = np.pad(mask, 1)
    return tuple(
        side
        for axis, sides in enumerate(SIDES)
        for side, shift in zip(sides, (1, -1), strict=True)
        if (padded & ~np.roll(visible, shift, axis)).any()
    )


def level_rows(scan: str, levels: Iterable[Level]) -> list[dict[str, str]]:
    """The rows of `write_levels` for one scan of that name."""
    rows = []
    for level in levels:
        height = "" if level.height is None else f"{level.height:.1f}"
        numbers = (*(f"{mm:.1f}" for mm in level.centre), *(f"{at:.1f}" for at in level.voxel))
        values = (scan, level.name, f"{level.volume:.0f}", height, *numbers, " ".join(level.cut))
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def write_levels(path: Path, rows: Iterable[dict[str, str]]) -> None:
    """Write rows of `level_rows` as a table with one header line, atomically."""
    with (
        atomic_write(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)

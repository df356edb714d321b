"""The patient's bones and discs in space, and the field of view that shows them."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from spineseg.phantom.anatomy import (
    L3,
    LABELLED_LEVELS,
    LEVELS,
    SEGMENT_WIDTH,
    Patient,
    View,
)
from spineseg.phantom.shapes import Barrel, Frame, Tube

# Share of the lordosis reached at the middle of each body from L5 to T12; it is complete above.
LORDOSIS_SHARE = np.array([0.37, 0.64, 0.81, 0.92, 0.99, 1.0])
KYPHOSIS_PER_LEVEL = 3.3  # degrees, above T12
LORDOTIC_WEDGE = (-0.12, -0.05, -0.02)  # L5, L4, L3: mm of height per mm backwards
SPINOUS_REACH = 26.0  # mm behind the canal
CREST_REACH = 5.0  # mm behind the sacrum
# Of the image's width, as `labelled_extent` measures it. The bones as painted take up to 0.42.
MAX_LABELLED_SHARE = 0.385


@dataclass(frozen=True)
class Curve:
    """A line along the spine: x and z over rising y, each (points,) in mm."""

    y: np.ndarray
    x: np.ndarray
    z: np.ndarray

    @classmethod
    def through(cls, points: np.ndarray) -> "Curve":
        """Smooth line through points (x, y, z), (n, 3) in mm, ordered from the top downwards.

        A point less than 2 mm below the previous one is left out.
        """
        kept = [points[0]]
        for point in points[1:]:
            if point[1] > kept[-1][1] + 2:
                kept.append(point)
        x, y, z = np.array(kept).T
        fine = np.arange(y[0], y[-1], 2.0)
        return cls(fine, PchipInterpolator(y, x)(fine), PchipInterpolator(y, z)(fine))

    def tube(self, half_depth: np.ndarray, half_width: np.ndarray) -> Tube:
        """A tube around the line; its half-axes (mm) are given at each point."""
        return Tube(self.y, self.x, self.z, half_depth, half_width)

    def at(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x and z (mm) at the heights `y`, constant beyond the ends."""
        return np.interp(y, self.y, self.x), np.interp(y, self.y, self.z)


@dataclass(frozen=True)
class Spine:
    """The patient's bones and discs in world coordinates."""

    patient: Patient
    bodies: tuple[Barrel, ...]  # in the order of LEVELS
    discs: tuple[Barrel, ...]  # in the order of LEVELS: the disc below each body
    sacrum: tuple[Barrel, ...]  # in the order of SEGMENTS

    def along(self, behind: float, left: float = 0.0) -> Curve:
        """The line `behind` mm behind the bodies' posterior walls and `left` mm to the left."""
        points = []
        for body in self.bodies[::-1]:
            for v in (-0.5, 0.5):
                points.append(
                    body.frame.point(body.half_depth + behind, v * 2 * body.half_height, left)
                )
        for segment in self.sacrum[:5]:
            points.append(segment.frame.point(segment.half_depth + 0.8 * behind, 0, left))
        return Curve.through(np.array(points))


def build_spine(patient: Patient) -> Spine:
    """Place every body, disc and sacral segment, with the centre of L3 at the origin."""
    tilts = body_tilts(patient)
    centres = body_centres(patient, tilts)
    segment_centres, segment_tilts = sacral_chain(patient)
    origin = centres[L3]
    bodies = tuple(
        vertebral_body(patient, level, bone_frame(patient, centre, tilt))
        for level, (centre, tilt) in enumerate(zip(centres - origin, tilts, strict=True))
    )
    sacrum = tuple(
        sacral_segment(patient, index, bone_frame(patient, centre, tilt))
        for index, (centre, tilt) in enumerate(
            zip(segment_centres - origin, segment_tilts, strict=True)
        )
    )
    below = (sacrum[0], *bodies[:-1])
    discs = tuple(
        disc_between(lower, upper, patient.degeneration[level])
        for level, (lower, upper) in enumerate(zip(below, bodies, strict=True))
    )
    return Spine(patient, bodies, discs, sacrum)


def body_tilts(patient: Patient) -> np.ndarray:
    """Sagittal tilt of each vertebra in radians, (levels,): lordosis up to T12, then kyphosis."""
    share = np.concatenate([LORDOSIS_SHARE, np.ones(len(LEVELS) - len(LORDOSIS_SHARE))])
    above = np.maximum(np.arange(len(LEVELS)) - 5, 0)
    kyphosis = np.radians(KYPHOSIS_PER_LEVEL) * above
    return patient.sacral_slope - patient.lordosis * share + kyphosis


def body_centres(patient: Patient, tilts: np.ndarray) -> np.ndarray:
    """Centres (y, z) of the bodies, (levels, 2) in mm from the middle of S1's endplate.

    A disc's lower half follows the body below it, its upper half the body above it.
    """
    up = np.stack([-np.cos(tilts), -np.sin(tilts)], axis=1)
    back = np.stack([-np.sin(tilts), np.cos(tilts)], axis=1)
    below = np.array([-np.cos(patient.sacral_slope), -np.sin(patient.sacral_slope)])
    point = np.zeros(2)
    centres = []
    for level in range(len(LEVELS)):
        half_gap = patient.disc_height[level] / 2
        half_body = patient.body_height[level] / 2
        point = point + below * half_gap + up[level] * (half_gap + half_body)
        point = point - back[level] * patient.slip[level]
        centres.append(point)
        point, below = point + up[level] * half_body, up[level]
    return np.array(centres)


def sacral_chain(patient: Patient) -> tuple[np.ndarray, np.ndarray]:
    """Centres (y, z) of the sacral segments and their sagittal tilts, downwards.

    Centres are (segments, 2) in mm from the middle of S1's endplate, tilts (segments,) in radians.
    """
    centres: list[np.ndarray] = []
    tilts: list[float] = []
    point, angle = np.zeros(2), patient.sacral_slope
    for height, turn, gap in zip(
        patient.segment_height, patient.segment_turn, patient.segment_disc, strict=True
    ):
        angle = angle + turn if centres else angle
        down = np.array([np.cos(angle), np.sin(angle)])
        centres.append(point + down * (gap + height / 2))
        tilts.append(angle)
        point = point + down * (gap + height)
    return np.array(centres), np.array(tilts)


def bone_frame(patient: Patient, centre: np.ndarray, sagittal: float) -> Frame:
    """The frame of a bone at `centre` (y, z) in mm from L3, with its scoliotic shift and turns."""
    y, z = centre
    shift, slope = lateral_shift(patient, np.array([y]))
    x = shift[0] - lateral_shift(patient, np.zeros(1))[0][0]
    axial = patient.view.roll + patient.torsion * x
    return Frame.tilted((x, y, z), sagittal, float(np.arctan(slope[0])), axial)


def lateral_shift(patient: Patient, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scoliotic sideways shift in mm at the heights `y` (mm), and its slope."""
    phase = np.pi * (y + patient.scoliosis_apex) / patient.scoliosis_length
    amplitude = patient.scoliosis
    return amplitude * np.cos(phase), -amplitude * np.pi / patient.scoliosis_length * np.sin(phase)


def vertebral_body(patient: Patient, level: int, frame: Frame) -> Barrel:
    """The body of one level, with its fracture."""
    return Barrel(
        frame,
        half_depth=patient.body_depth[level] / 2,
        half_height=patient.body_height[level] / 2,
        half_width=patient.body_width[level] / 2,
        top=patient.wedge[level] * patient.body_height[level] / patient.body_depth[level] * 0.8,
        bottom=LORDOTIC_WEDGE[level] if level < len(LORDOTIC_WEDGE) else 0.0,
        concavity=(
            patient.concavity[level, 0] + patient.crush[level] * 12,
            patient.concavity[level, 1] + patient.crush[level] * 7,
        ),
        waist=patient.waist[level],
        roundness=patient.roundness,
    )


def sacral_segment(patient: Patient, index: int, frame: Frame) -> Barrel:
    """One segment of the sacrum or coccyx."""
    return Barrel(
        frame,
        half_depth=patient.segment_depth[index] / 2,
        half_height=patient.segment_height[index] / 2,
        half_width=patient.scale * SEGMENT_WIDTH[index] / 2,
        concavity=(0.8, 0.3) if index == 0 else (0.2, 0.2),
        taper=-0.2 if index == 0 else -0.13,
        waist=0.08,
        roundness=0.6,
        corner=min(3.0, 0.25 * patient.segment_height[index]),
    )


def disc_between(lower: Barrel, upper: Barrel, degeneration: float) -> Barrel:
    """The disc that fills the space between two endplates and extends a little beyond it."""
    top = upper.frame.point(0, upper.half_height, 0)
    bottom = lower.frame.point(0, -lower.half_height, 0)
    axes = upper.frame.axes + lower.frame.axes
    axes = axes / np.sqrt((axes**2).sum(axis=1, keepdims=True))
    frame = Frame((top + bottom) / 2, axes)
    opening = float(np.cross(lower.frame.axes[0], upper.frame.axes[0])[0]) / 2
    height = max(float(((bottom - top) * axes[1]).sum()), 1.5)
    swell = 0.4 + degeneration
    return Barrel(
        frame,
        half_depth=(upper.half_depth + min(lower.half_depth, 1.1 * upper.half_depth)) / 2 + swell,
        half_height=height / 2 + 0.3,
        half_width=0.97 * min(upper.half_width, lower.half_width),
        top=opening - upper.bottom,
        bottom=opening - lower.top,
        concavity=(-(upper.concavity[1] + 0.5), -(lower.concavity[0] + 0.5)),
        waist=-0.03,
        roundness=upper.roundness,
        corner=2.0,
    )


def fit_view(spine: Spine) -> View:
    """Centre the labelled bones in the image's columns and widen the view if they need more room.

    In the challenge they are within 30 to 72 % of the width, whatever the patient's curvature.
    """
    view = spine.patient.view
    for _ in range(2):  # a wider view has more rows, and they may show more bone
        front, back = labelled_extent(spine, view)
        fov = max(view.fov, (back - front) / MAX_LABELLED_SHARE)
        view = view._replace(fov=fov, z=(front + back) / 2)
    return view


def labelled_extent(spine: Spine, view: View) -> tuple[float, float]:
    """Foremost and rearmost z (mm) of the labelled bones within the view's rows."""
    canal, spinous = 2 * spine.patient.canal_depth, spine.patient.spinous
    reach = [(body, canal + SPINOUS_REACH * spinous) for body in spine.bodies[:LABELLED_LEVELS]]
    reach += [(segment, CREST_REACH) for segment in spine.sacrum]
    corners = np.array(
        [
            part.frame.point(u, v, 0)
            for part, behind in reach
            for u in (-part.half_depth, part.half_depth + behind)
            for v in (-part.half_height, part.half_height)
        ]
    )
    z = corners[np.abs(corners[:, 1] - view.y) <= view.fov / 2, 2]
    return float(z.min()), float(z.max())

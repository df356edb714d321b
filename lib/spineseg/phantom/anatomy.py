"""Who lies in the scanner: one patient's spine in millimetres, drawn from a seeded generator.

Sizes follow textbook morphometry of the adult lumbar spine; the distances between centres follow
the challenge's masks (32, 34, 34, 33, 31, 26 mm from L5 up to T11).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator

from spineseg.phantom.shapes import Barrel, Frame, Tube

# Upwards from L5. Only T9 and below have a label; those above keep the scan's top from ending the
# spine.
LEVELS = ("L5", "L4", "L3", "L2", "L1", "T12", "T11", "T10", "T9", "T8", "T7", "T6", "T5")
L3 = LEVELS.index("L3")
LABELLED = 9
SACRUM_LABEL = 1
FIRST_BODY_LABEL = 2  # L5
FIRST_DISC_LABEL = 11  # L5/S

# Millimetres, in the order of LEVELS; a disc is named by the vertebra above it.
BODY_HEIGHT = np.array([25.5, 26, 26.5, 26, 25, 23.5, 21, 20.5, 19.5, 19, 18.5, 18, 18])
BODY_DEPTH = np.array([34, 34, 33.5, 32.5, 31.5, 31, 30, 29.5, 29, 28, 27, 26, 25])
BODY_WIDTH = np.array([51, 49, 47, 45, 43, 42, 39, 36, 34, 32, 31, 30, 29])
DISC_HEIGHT = np.array([10, 9.5, 10, 9.5, 8.5, 7, 4.9, 4.8, 4.5, 4.2, 4, 4, 4])
# Share of the lordosis L1-S1 that has been turned through at each body's middle.
LORDOSIS_TURN = np.array([0.37, 0.64, 0.81, 0.92, 0.99, 1.0])
SPINOUS_REACH = 26.0  # behind the canal
CREST_REACH = 5.0  # behind the sacrum
LABEL_BAND = 0.385  # of the width
KYPHOSIS = 3.3  # degrees a level above T12

SEGMENTS = ("S1", "S2", "S3", "S4", "S5", "Co1", "Co2", "Co3")
SEGMENT_HEIGHT = np.array([29, 23.5, 19.5, 17, 15, 10, 8, 7])
SEGMENT_DEPTH = np.array([29, 21.5, 17, 13, 10, 8, 7, 5])
SEGMENT_WIDTH = np.array([84, 68, 54, 44, 34, 20, 12, 8])
SEGMENT_TURN = np.array([0, 11, 2, -14, -19, -22, -15, -12])  # degrees, before each segment


class View(NamedTuple):
    """What the technician chose: field of view (mm) and its centre relative to that of L3."""

    fov: float  # at least; see `fit_view`
    thickness: float  # mm from slice to slice
    x: float
    y: float
    z: float  # middle of the labelled band, front to back; see `fit_view`
    middle_at: float  # fraction of the width that lies in front of that middle
    roll: float  # radians, the patient's rotation about the long axis


@dataclass(frozen=True)
class Patient:
    """One spine. Angles in radians, lengths in mm; arrays follow LEVELS unless said otherwise."""

    scale: float
    sacral_slope: float
    lordosis: float
    scoliosis: float  # mm that the apex lies off the line
    scoliosis_apex: float  # mm above L3
    scoliosis_length: float  # mm, half a wave
    torsion: float  # radians of axial rotation a mm of lateral shift
    slip: np.ndarray  # forward slip on the level below
    body_height: np.ndarray
    body_depth: np.ndarray
    body_width: np.ndarray
    wedge: np.ndarray  # fraction of the height lost in front
    crush: np.ndarray  # fraction of the height lost in the middle
    concavity: np.ndarray  # (levels, 2): upper and lower endplate
    waist: np.ndarray
    roundness: float
    disc_height: np.ndarray
    degeneration: np.ndarray  # 0 healthy .. 1 black disc
    bulge: np.ndarray  # into the canal
    segment_height: np.ndarray  # SEGMENTS
    segment_depth: np.ndarray  # SEGMENTS
    segment_turn: np.ndarray  # SEGMENTS
    segment_disc: np.ndarray  # SEGMENTS, gap above each
    canal_depth: float  # half, at L3
    canal_width: float  # half, at L3
    spinous: float  # scale of the spinous processes
    view: View


def draw_view(rng: np.random.Generator) -> View:
    usual = rng.random() < 0.7
    fov = 304.0 * rng.normal(1, 0.01) if usual else rng.uniform(250, 400)
    return View(
        fov=float(fov),
        thickness=float(np.clip(rng.normal(4.4, 0.12), 4.0, 5.0)),
        x=float(rng.normal(0, 2.0)),
        y=float(rng.normal(16, 8)),
        z=0.0,
        middle_at=float(0.51 + np.clip(rng.normal(0, 0.004), -0.006, 0.006)),
        roll=float(rng.normal(0, np.radians(2.5))),
    )


def draw_fractures(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Fractions of the height lost in front and in the middle; most spines have none."""
    wedge = np.abs(rng.normal(0, 0.03, len(LEVELS)))
    crush = np.zeros(len(LEVELS))
    thoracolumbar = np.exp(-(((np.arange(len(LEVELS)) - 4.5) / 2.5) ** 2))
    if rng.random() < 0.18:
        count = rng.integers(1, 4)
        broken = rng.choice(
            len(LEVELS), count, replace=False, p=thoracolumbar / thoracolumbar.sum()
        )
        wedge[broken] = rng.uniform(0.1, 0.55, count)
        crush[broken] = rng.uniform(0, 0.4, count)
    return wedge, crush


def draw_slip(rng: np.random.Generator) -> np.ndarray:
    """Millimetres each vertebra lies in front of its place: small steps, at times a listhesis."""
    slip = rng.normal(0, 0.5, len(LEVELS))
    if rng.random() < 0.12:
        slip[rng.choice(3, p=[0.4, 0.45, 0.15])] += rng.uniform(3, 10)
    if rng.random() < 0.12:
        slip[rng.integers(0, 4)] -= rng.uniform(2, 5)
    return slip


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draw one patient; the order of the draws is part of the seed's meaning."""
    levels = len(LEVELS)
    scale = rng.normal(0.985, 0.055)
    sacral_slope = rng.normal(36, 7)
    lordosis = np.clip(0.75 * sacral_slope + rng.normal(19, 8), 10, 75)
    wear = rng.beta(1.3, 1.5)  # of the whole spine
    lowness = np.clip(1.1 - 0.12 * np.arange(levels), 0.2, 1)  # low discs wear first
    degeneration = np.clip(wear * lowness + rng.normal(0, 0.2, levels), 0, 1)
    wedge, crush = draw_fractures(rng)
    collapse = 1 - 0.55 * degeneration * rng.beta(2, 3, levels)
    girth = rng.normal(1, 0.05)
    hourglass = rng.uniform(0.03, 0.14)
    return Patient(
        scale=float(scale),
        sacral_slope=float(np.radians(np.clip(sacral_slope, 15, 52))),
        lordosis=float(np.radians(lordosis)),
        scoliosis=float(rng.normal(0, 3.5)),
        scoliosis_apex=float(rng.uniform(-30, 110)),
        scoliosis_length=float(rng.uniform(130, 260)),
        torsion=float(rng.normal(0.012, 0.006)),
        slip=draw_slip(rng),
        body_height=scale
        * BODY_HEIGHT
        * rng.normal(1, 0.03, levels)
        * (1 - 0.3 * wedge - 0.3 * crush),
        body_depth=scale * girth * BODY_DEPTH * rng.normal(1, 0.03, levels),
        body_width=scale * girth * BODY_WIDTH * rng.normal(1, 0.03, levels),
        wedge=wedge,
        crush=crush,
        concavity=np.abs(rng.normal(rng.uniform(0.6, 2.2), 0.6, (levels, 2))),
        waist=np.abs(rng.normal(hourglass, 0.02, levels)),
        roundness=float(rng.uniform(0.35, 0.8)),
        disc_height=scale * DISC_HEIGHT * rng.normal(1.1, 0.08, levels) * collapse,
        degeneration=degeneration,
        bulge=np.maximum(
            rng.normal(0.3, 0.6, levels) + rng.gamma(1.0, 2.0, levels) * degeneration, 0
        ),
        segment_height=scale * SEGMENT_HEIGHT * rng.normal(1, 0.06, len(SEGMENTS)),
        segment_depth=scale * girth * SEGMENT_DEPTH * rng.normal(1, 0.08, len(SEGMENTS)),
        segment_turn=np.radians(
            SEGMENT_TURN * rng.uniform(0.5, 1.4) + rng.normal(0, 5, len(SEGMENTS))
        ),
        segment_disc=rng.uniform(0.3, 2.0, len(SEGMENTS)) * np.array([0, 1.8, 1, 1, 1, 1, 1, 1]),
        canal_depth=float(rng.normal(7.6, 0.9)),
        canal_width=float(rng.normal(11, 1.0)),
        spinous=float(rng.normal(1, 0.1)),
        view=draw_view(rng),
    )


@dataclass(frozen=True)
class Spine:
    """The patient's bones and discs placed in the world, bottom up."""

    patient: Patient
    bodies: tuple[Barrel, ...]  # LEVELS
    discs: tuple[Barrel, ...]  # LEVELS: the disc below each vertebra
    sacrum: tuple[Barrel, ...]  # SEGMENTS

    def along(self, behind: float, left: float = 0.0) -> "Curve":
        """The line that runs `behind` mm behind the bodies' posterior walls, `left` mm aside."""
        points = []
        for body in self.bodies[::-1]:
            for v in (-0.5, 0.5):
                points.append(
                    body.frame.point(body.half_depth + behind, v * 2 * body.half_height, left)
                )
        for segment in self.sacrum[:5]:
            points.append(segment.frame.point(segment.half_depth + 0.8 * behind, 0, left))
        return Curve.through(np.array(points))


@dataclass(frozen=True)
class Curve:
    """A line along the spine: x and z (mm) over rising y (mm)."""

    y: np.ndarray
    x: np.ndarray
    z: np.ndarray

    @classmethod
    def through(cls, points: np.ndarray) -> "Curve":
        """Smooth line through (x, y, z) points that descend; those that do not are left out."""
        kept = [points[0]]
        for point in points[1:]:
            if point[1] > kept[-1][1] + 2:
                kept.append(point)
        x, y, z = np.array(kept).T
        fine = np.arange(y[0], y[-1], 2.0)
        return cls(fine, PchipInterpolator(y, x)(fine), PchipInterpolator(y, z)(fine))

    def tube(self, half_depth: np.ndarray, half_width: np.ndarray) -> Tube:
        return Tube(self.y, self.x, self.z, half_depth, half_width)

    def at(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x and z at the heights `y`, held constant beyond the ends."""
        return np.interp(y, self.y, self.x), np.interp(y, self.y, self.z)


def tilts(patient: Patient) -> np.ndarray:
    """Sagittal tilt of each vertebra in radians: lordosis up to L1, then kyphosis."""
    turn = np.concatenate([LORDOSIS_TURN, np.ones(len(LEVELS) - len(LORDOSIS_TURN))])
    above = np.maximum(np.arange(len(LEVELS)) - 5, 0)
    return patient.sacral_slope - patient.lordosis * turn + np.radians(KYPHOSIS) * above


def lateral_shift(patient: Patient, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scoliotic shift in mm at heights `y`, and its slope."""
    phase = np.pi * (y + patient.scoliosis_apex) / patient.scoliosis_length
    amplitude = patient.scoliosis
    return amplitude * np.cos(phase), -amplitude * np.pi / patient.scoliosis_length * np.sin(phase)


def sagittal_chain(patient: Patient) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(y, z) and tilt of the bodies, then of the sacral segments; L3's centre is the origin."""
    tilt = tilts(patient)
    up = np.stack([-np.cos(tilt), -np.sin(tilt)], axis=1)
    back = np.stack([-np.sin(tilt), np.cos(tilt)], axis=1)
    sacral_up = np.array([-np.cos(patient.sacral_slope), -np.sin(patient.sacral_slope)])

    bodies = []
    point, direction = np.zeros(2), sacral_up  # the middle of S1's endplate
    for level in range(len(LEVELS)):
        half_gap = patient.disc_height[level] / 2
        half_body = patient.body_height[level] / 2
        point = point + direction * half_gap + up[level] * (half_gap + half_body)
        point = point - back[level] * patient.slip[level]
        bodies.append(point)
        point, direction = point + up[level] * half_body, up[level]

    segments: list[np.ndarray] = []
    segment_tilts: list[float] = []
    point, angle = np.zeros(2), patient.sacral_slope
    for height, turn, gap in zip(
        patient.segment_height, patient.segment_turn, patient.segment_disc, strict=True
    ):
        angle = angle + turn if segments else angle
        down = np.array([np.cos(angle), np.sin(angle)])
        segments.append(point + down * (gap + height / 2))
        segment_tilts.append(angle)
        point = point + down * (gap + height)

    origin = bodies[L3]
    return np.array(bodies) - origin, tilt, np.array(segments) - origin, np.array(segment_tilts)


def build_spine(patient: Patient) -> Spine:
    """Place every body, disc and sacral segment."""
    body_yz, tilt, segment_yz, segment_tilt = sagittal_chain(patient)
    centre_shift = lateral_shift(patient, np.zeros(1))[0][0]

    def frame(centre: np.ndarray, sagittal: float) -> Frame:
        y, z = centre
        shift, slope = lateral_shift(patient, np.array([y]))
        x = shift[0] - centre_shift
        axial = patient.view.roll + patient.torsion * x
        return Frame.tilted((x, y, z), sagittal, float(np.arctan(slope[0])), axial)

    bodies = tuple(
        Barrel(
            frame(body_yz[level], tilt[level]),
            half_depth=patient.body_depth[level] / 2,
            half_height=patient.body_height[level] / 2,
            half_width=patient.body_width[level] / 2,
            top=patient.wedge[level] * patient.body_height[level] / patient.body_depth[level] * 0.8,
            bottom=wedge_below(patient, level),
            concavity=(
                patient.concavity[level, 0] + patient.crush[level] * 12,
                patient.concavity[level, 1] + patient.crush[level] * 7,
            ),
            waist=patient.waist[level],
            roundness=patient.roundness,
        )
        for level in range(len(LEVELS))
    )
    sacrum = tuple(
        Barrel(
            frame(segment_yz[i], segment_tilt[i]),
            half_depth=patient.segment_depth[i] / 2,
            half_height=patient.segment_height[i] / 2,
            half_width=patient.scale * SEGMENT_WIDTH[i] / 2,
            concavity=(0.8, 0.3) if i == 0 else (0.2, 0.2),
            taper=-0.2 if i == 0 else -0.13,
            waist=0.08,
            roundness=0.6,
            corner=min(3.0, 0.25 * patient.segment_height[i]),
        )
        for i in range(len(SEGMENTS))
    )
    below = (sacrum[0], *bodies[:-1])
    discs = tuple(
        disc_between(lower, upper, patient.degeneration[level])
        for level, (lower, upper) in enumerate(zip(below, bodies, strict=True))
    )
    return Spine(patient, bodies, discs, sacrum)


def labelled_extent(spine: Spine, view: View) -> tuple[float, float]:
    """Foremost and rearmost z (mm) of the labelled bones that lie in the view's rows."""
    canal, spinous = 2 * spine.patient.canal_depth, spine.patient.spinous
    reach = [(body, canal + SPINOUS_REACH * spinous) for body in spine.bodies[:LABELLED]]
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


def fit_view(spine: Spine) -> View:
    """The view with the labelled bones amid its columns, wide enough that they take 42 % at most.

    In the challenge they lie in 30 to 72 % of the width, whatever the patient's curvature.
    """
    view = spine.patient.view
    for _ in range(2):  # a wider view holds more rows, and so may hold more bone
        front, back = labelled_extent(spine, view)
        view = view._replace(fov=max(view.fov, (back - front) / LABEL_BAND), z=(front + back) / 2)
    return view


def wedge_below(patient: Patient, level: int) -> float:
    """L5 is higher in front than behind, as is the lumbar spine to a lesser degree above."""
    lordotic = (-0.12, -0.05, -0.02)
    return lordotic[level] if level < len(lordotic) else 0.0


def disc_between(lower: Barrel, upper: Barrel, degeneration: float) -> Barrel:
    """The disc that fills the space between two endplates and swells a little beyond it."""
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

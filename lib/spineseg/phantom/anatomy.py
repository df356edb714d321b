"""One patient's anatomy: sizes, angles and wear, drawn from a seeded generator.

Sizes are typical of the adult lumbar spine. The distances between the vertebrae's centres follow
the challenge's masks: 32, 34, 34, 33, 31 and 26 mm from L5 up to T11.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# From L5 upwards. Labels end at T9; the levels above it fill the top of tall scans.
LEVELS = ("L5", "L4", "L3", "L2", "L1", "T12", "T11", "T10", "T9", "T8", "T7", "T6", "T5")
L3 = LEVELS.index("L3")
LABELLED_LEVELS = 9  # L5 to T9
SACRUM_LABEL = 1
FIRST_BODY_LABEL = 2  # L5
FIRST_DISC_LABEL = 11  # L5/S

# Millimetres, in the order of LEVELS. A disc belongs to the vertebra above it.
BODY_HEIGHT = np.array([25.5, 26, 26.5, 26, 25, 23.5, 21, 20.5, 19.5, 19, 18.5, 18, 18])
BODY_DEPTH = np.array([34, 34, 33.5, 32.5, 31.5, 31, 30, 29.5, 29, 28, 27, 26, 25])
BODY_WIDTH = np.array([51, 49, 47, 45, 43, 42, 39, 36, 34, 32, 31, 30, 29])
DISC_HEIGHT = np.array([10, 9.5, 10, 9.5, 8.5, 7, 4.9, 4.8, 4.5, 4.2, 4, 4, 4])

SEGMENTS = ("S1", "S2", "S3", "S4", "S5", "Co1", "Co2", "Co3")  # sacrum and coccyx, downwards
# Millimetres, in the order of SEGMENTS.
SEGMENT_HEIGHT = np.array([29, 23.5, 19.5, 17, 15, 10, 8, 7])
SEGMENT_DEPTH = np.array([29, 21.5, 17, 13, 10, 8, 7, 5])
SEGMENT_WIDTH = np.array([84, 68, 54, 44, 34, 20, 12, 8])
SEGMENT_TURN = np.array([0, 11, 2, -14, -19, -22, -15, -12])  # degrees, before each segment


class View(NamedTuple):
    """The field of view that the technician chose. Positions are mm from the centre of L3."""

    fov: float  # mm; `spine.fit_view` may widen it
    thickness: float  # mm from slice to slice
    x: float  # centre
    y: float  # centre
    z: float  # middle of the labelled bones, front to back; set by `spine.fit_view`
    middle_at: float  # fraction of the image's width in front of that middle
    roll: float  # radians, the patient's rotation about the long axis


@dataclass(frozen=True)
class Patient:
    """One patient's anatomy. Angles in radians, lengths in mm; arrays follow LEVELS or SEGMENTS."""

    scale: float  # of all bones, 1 for an average adult
    sacral_slope: float
    lordosis: float  # L1 to S1
    scoliosis: float  # sideways deviation at the apex
    scoliosis_apex: float  # height above L3
    scoliosis_length: float  # half a wave
    torsion: float  # radians of axial rotation per mm of sideways deviation
    slip: np.ndarray  # (levels,) forward slip on the level below
    body_height: np.ndarray  # (levels,)
    body_depth: np.ndarray  # (levels,)
    body_width: np.ndarray  # (levels,)
    wedge: np.ndarray  # (levels,) fraction of the height lost in front
    crush: np.ndarray  # (levels,) fraction of the height lost in the middle
    concavity: np.ndarray  # (levels, 2) of the upper and lower endplate
    waist: np.ndarray  # (levels,) see `shapes.Barrel`
    roundness: float  # see `shapes.Barrel`
    disc_height: np.ndarray  # (levels,)
    degeneration: np.ndarray  # (levels,) 0 is a healthy disc, 1 a black one
    bulge: np.ndarray  # (levels,) of the disc into the canal
    segment_height: np.ndarray  # (segments,)
    segment_depth: np.ndarray  # (segments,)
    segment_turn: np.ndarray  # (segments,) before each
    segment_disc: np.ndarray  # (segments,) gap above each
    canal_depth: float  # half, at L3
    canal_width: float  # half, at L3
    spinous: float  # scale of the spinous processes
    view: View


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draw one patient; the order of the draws is part of the seed's meaning."""
    levels, segments = len(LEVELS), len(SEGMENTS)
    scale = rng.normal(0.985, 0.055)
    sacral_slope = rng.normal(36, 7)
    lordosis = np.clip(0.75 * sacral_slope + rng.normal(19, 8), 10, 75)
    degeneration = draw_degeneration(rng)
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
        segment_height=scale * SEGMENT_HEIGHT * rng.normal(1, 0.06, segments),
        segment_depth=scale * girth * SEGMENT_DEPTH * rng.normal(1, 0.08, segments),
        segment_turn=np.radians(SEGMENT_TURN * rng.uniform(0.5, 1.4) + rng.normal(0, 5, segments)),
        segment_disc=rng.uniform(0.3, 2.0, segments) * np.array([0, 1.8, 1, 1, 1, 1, 1, 1]),
        canal_depth=float(rng.normal(7.6, 0.9)),
        canal_width=float(rng.normal(11, 1.0)),
        spinous=float(rng.normal(1, 0.1)),
        view=draw_view(rng),
    )


def draw_degeneration(rng: np.random.Generator) -> np.ndarray:
    """Degeneration of each disc, (levels,) from 0 to 1; low discs wear first."""
    levels = len(LEVELS)
    wear = rng.beta(1.3, 1.5)  # of the whole spine
    share = np.clip(1.1 - 0.12 * np.arange(levels), 0.2, 1)
    return np.clip(wear * share + rng.normal(0, 0.2, levels), 0, 1)


def draw_fractures(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Fractions of the height lost in front and in the middle, (levels,) each.

    Most spines have no fracture; the bodies near T12 break most often.
    """
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
    """Forward slip of each vertebra in mm, (levels,): small steps, sometimes a listhesis."""
    slip = rng.normal(0, 0.5, len(LEVELS))
    if rng.random() < 0.12:
        slip[rng.choice(3, p=[0.4, 0.45, 0.15])] += rng.uniform(3, 10)
    if rng.random() < 0.12:
        slip[rng.integers(0, 4)] -= rng.uniform(2, 5)
    return slip


def draw_view(rng: np.random.Generator) -> View:
    """Draw a field of view: mostly near 304 mm, else from 250 to 400 mm."""
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

"""Domain randomisation: simulated scans of any contrast, resolution, position and quality.

A network that is trained on a wide enough range of simulated scans also works on real ones
(SynthSeg: Billot et al. 2023, doi:10.1016/j.media.2023.102789). The anatomy is the phantom's. The
masks label the vertebral bodies and the sacrum without the posterior elements.
"""

from dataclasses import replace

import numpy as np

from spineseg.phantom.acquisition import Scanner
from spineseg.phantom.anatomy import Patient, draw_patient
from spineseg.phantom.grid import VoxelGrid
from spineseg.phantom.signals import Signals, draw_signals
from spineseg.phantom.simulate import Phantom, Seed, scan
from spineseg.phantom.spine import Spine, build_spine, labelled_extent

SLICE_DISTANCE_MM = (3.2, 6.2)  # twelve slices reach beyond the bodies
CONTRAST_SHARES = (0.5, 0.22, 0.18, 0.1)  # T2, T1, fat-suppressed, none known
HEIGHT_SHIFT_MM = 25.0  # of the field of view along the spine, either way


def simulate_randomised(slices: int, size: int, pixel: float, seed: Seed) -> Phantom:
    """Simulate one scan of slices x size x size voxels with `pixel` mm in plane."""
    seeds = np.random.default_rng(seed).integers(2**63, size=4)
    anatomy_rng, view_rng, tissue_rng, scanner_rng = map(np.random.default_rng, seeds)
    spine = build_spine(draw_any_patient(anatomy_rng))
    grid = draw_grid(spine, slices, size, pixel, view_rng)
    signals, scanner = draw_any_signals(tissue_rng), draw_any_scanner(scanner_rng)
    image, labels = scan(grid, spine, signals, scanner, tissue_rng, scanner_rng, bodies_only=True)
    distance = float(grid.x[1] - grid.x[0]) if slices > 1 else grid.thickness
    return Phantom(image, labels, (distance, pixel, pixel))


def draw_any_patient(rng: np.random.Generator) -> Patient:
    """One patient's anatomy; bodies may be narrower, rounder and more waisted than the phantom's.

    The phantom's widths are at the upper end of those measured in adults (Panjabi et al. 1992,
    Human lumbar vertebrae, Spine 17).
    """
    patient = draw_patient(rng)
    return replace(
        patient,
        body_width=patient.body_width * rng.uniform(0.8, 1.0),
        roundness=float(rng.uniform(0.5, 1.0)),
        waist=patient.waist + rng.uniform(0, 0.12),
    )


def draw_grid(
    spine: Spine, slices: int, size: int, pixel: float, rng: np.random.Generator
) -> VoxelGrid:
    """A field of view with the spine near its middle, and slices of any thickness and distance."""
    distance = rng.uniform(*SLICE_DISTANCE_MM)
    view = spine.patient.view._replace(
        fov=size * pixel, y=spine.patient.view.y + rng.uniform(-1, 1) * HEIGHT_SHIFT_MM
    )
    middle = float(np.mean(labelled_extent(spine, view)))
    offsets = (np.arange(size, dtype=np.float64) + 0.5 - size / 2) * pixel
    x = rng.normal(0, 5) + (np.arange(slices, dtype=np.float64) - (slices - 1) / 2) * distance
    thickness = distance * rng.uniform(0.5, 1)
    return VoxelGrid(x, view.y + offsets, middle + offsets, thickness, pixel)


def draw_any_signals(rng: np.random.Generator) -> Signals:
    """Signals of a T2, T1 or fat-suppressed scan, or of no known contrast."""
    draws = (draw_signals, draw_t1_signals, draw_fat_suppressed_signals, draw_arbitrary_signals)
    return draws[rng.choice(len(draws), p=CONTRAST_SHARES)](rng)


def draw_t1_signals(rng: np.random.Generator) -> Signals:
    """T1-weighted signals relative to fat (near 1): fluid is dark."""
    fat = rng.uniform(0.8, 1.1)
    muscle = rng.uniform(0.22, 0.48)
    cortex = rng.uniform(0.02, 0.12)
    marrow = muscle * rng.uniform(0.8, 1.2) + rng.uniform(0.1, 0.5) * fat
    disc = rng.uniform(0.6, 1.05) * marrow
    return Signals(
        csf=rng.uniform(0.08, 0.3),
        cord=rng.uniform(0.3, 0.6),
        fat=fat,
        epidural_fat=fat * rng.uniform(0.7, 1.0),
        muscle=muscle,
        marrow=marrow,
        sacral_marrow=marrow * rng.uniform(0.85, 1.2),
        posterior_marrow=marrow * rng.uniform(0.85, 1.4),
        cortex=cortex,
        annulus=disc * rng.uniform(0.5, 1.0),
        nucleus=disc,
        ligament=cortex + rng.uniform(0.0, 0.06),
        flow=rng.uniform(0.02, 0.25),
        viscera=rng.uniform(0.2, 0.6),
        skin=rng.uniform(0.2, 0.7),
    )


def draw_fat_suppressed_signals(rng: np.random.Generator) -> Signals:
    """Signals of a fat-suppressed T2 or an inversion-recovery scan: fat and marrow are dark."""
    fat = rng.uniform(0.03, 0.25)
    muscle = rng.uniform(0.15, 0.4)
    cortex = rng.uniform(0.02, 0.09)
    marrow = rng.uniform(0.08, 0.4)
    return Signals(
        csf=rng.uniform(0.7, 1.15),
        cord=rng.uniform(0.3, 0.6),
        fat=fat,
        epidural_fat=fat * rng.uniform(0.6, 1.2),
        muscle=muscle,
        marrow=marrow,
        sacral_marrow=marrow * rng.uniform(0.85, 1.3),
        posterior_marrow=marrow * rng.uniform(0.7, 1.3),
        cortex=cortex,
        annulus=cortex + rng.uniform(0.0, 0.15),
        nucleus=marrow + rng.uniform(0.05, 0.7),
        ligament=cortex + rng.uniform(0.0, 0.06),
        flow=rng.uniform(0.02, 0.5),
        viscera=rng.uniform(0.15, 0.7),
        skin=rng.uniform(0.1, 0.4),
    )


def draw_arbitrary_signals(rng: np.random.Generator) -> Signals:
    """Signals of no known contrast. Cortex and ligaments have little signal in all scans."""
    marrow = rng.uniform(0.15, 1.0)
    cortex = marrow * rng.uniform(0.0, 0.5)

    def tissue() -> float:
        return rng.uniform(0.05, 1.1)

    return Signals(
        csf=tissue(),
        cord=tissue(),
        fat=tissue(),
        epidural_fat=tissue(),
        muscle=tissue(),
        marrow=marrow,
        sacral_marrow=marrow * rng.uniform(0.8, 1.25),
        posterior_marrow=marrow * rng.uniform(0.7, 1.4),
        cortex=cortex,
        annulus=tissue(),
        nucleus=tissue(),
        ligament=cortex * rng.uniform(0.7, 1.3),
        flow=rng.uniform(0.02, 1.1),
        viscera=tissue(),
        skin=tissue(),
    )


def draw_any_scanner(rng: np.random.Generator) -> Scanner:
    """One scan's settings, from wider ranges than those of the phantom."""
    return Scanner(
        blur=rng.uniform(0.4, 2.5),
        matrix=int(rng.integers(128, 449)),
        noise=float(np.exp(rng.normal(np.log(0.016), 0.6))),
        coil_reach=rng.uniform(60, 320),
        coil_power=rng.uniform(0.0, 1.6),
        coil_length=rng.uniform(110, 350),
        shading=rng.uniform(0.02, 0.25),
        texture=rng.uniform(0.0, 0.15),
        saturation=rng.uniform(0.05, 0.6) if rng.random() < 0.5 else 1.0,
        saturation_gap=rng.uniform(22, 60),
        saturation_tilt=rng.normal(0, 0.2),
        ghost=rng.uniform(0, 0.1) if rng.random() < 0.4 else 0.0,
        ghost_shift=rng.uniform(10, 120),
        gain=float(np.exp(rng.uniform(np.log(250), np.log(1600)))),
    )

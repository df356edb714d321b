"""T2 signals of the tissues of one patient."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Signals:
    """T2-weighted signal of each tissue, relative to cerebrospinal fluid (near 1)."""

    csf: float
    cord: float
    fat: float
    epidural_fat: float
    muscle: float
    marrow: float
    sacral_marrow: float
    posterior_marrow: float  # in arches and processes
    cortex: float
    annulus: float
    nucleus: float  # of a healthy disc
    ligament: float
    flow: float  # aorta and vena cava
    viscera: float
    skin: float


def draw_signals(rng: np.random.Generator) -> Signals:
    """Draw one patient's signals; the order of the draws is part of the seed's meaning."""
    fat = rng.uniform(0.5, 1.05)
    muscle = rng.uniform(0.1, 0.32)
    cortex = rng.uniform(0.02, 0.09)
    marrow = muscle * rng.uniform(0.8, 1.1) + rng.uniform(0.05, 0.45) * fat
    return Signals(
        csf=rng.uniform(0.7, 1.15),
        cord=rng.uniform(0.22, 0.5),
        fat=fat,
        epidural_fat=fat * rng.uniform(0.6, 1.0),
        muscle=muscle,
        marrow=marrow,
        sacral_marrow=marrow * rng.uniform(0.85, 1.2),
        posterior_marrow=marrow * rng.uniform(0.85, 1.4),
        cortex=cortex,
        annulus=cortex + rng.uniform(0.0, 0.1),
        nucleus=marrow + rng.uniform(0.05, 0.6),
        ligament=cortex + rng.uniform(0.0, 0.06),
        flow=rng.uniform(0.02, 0.2),
        viscera=rng.uniform(0.15, 0.45),
        skin=rng.uniform(0.2, 0.5),
    )

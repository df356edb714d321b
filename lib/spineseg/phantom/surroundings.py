"""The body around the spine: belly, muscle, fat, skin and the air outside.

It varies slowly in plane, so it is painted on a coarse matrix and then resized. Scalars stay plain
Python numbers, so that float32 arrays stay float32.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from spineseg.phantom.anatomy import L3
from spineseg.phantom.canvas import ramp
from spineseg.phantom.grid import Floats, VoxelGrid, resize
from spineseg.phantom.signals import Signals
from spineseg.phantom.spine import Spine

BACKGROUND_MATRIX = 192
OUTLINE_SMOOTHING = 12.0  # mm; the back's outline does not follow every step of the spine


@dataclass(frozen=True)
class Habitus:
    """The patient's build, in mm unless a comment says otherwise."""

    back_fat: float  # at L3
    low_back_fat: float  # gained from L3 to the sacrum
    back_muscle: float  # from the canal to the fascia
    sacral_muscle: float  # fraction of back_muscle that is left behind the sacrum
    front_fat: float
    girth: float  # from the canal to the front of the belly
    belly: float  # bulge at its roundest
    psoas: float  # half-axis
    fatty_muscle: float  # 0 is lean, 1 streaked with fat all over
    lean_bowel: float  # no unit; the higher, the less fat between the loops
    gas: float  # no unit; the higher, the less gas in the loops
    bladder: float  # half-axis


def draw_habitus(rng: np.random.Generator) -> Habitus:
    """Draw one patient's build; the order of the draws is part of the seed's meaning."""
    return Habitus(
        back_fat=rng.gamma(3, 3.0) + 3,
        low_back_fat=rng.uniform(-4, 14),
        back_muscle=rng.uniform(30, 46),
        sacral_muscle=rng.uniform(0.2, 0.65),
        front_fat=rng.gamma(3, 6) + 4,
        girth=rng.uniform(105, 190),
        belly=rng.uniform(0, 35),
        psoas=rng.uniform(13, 21),
        fatty_muscle=rng.beta(1.5, 4),
        lean_bowel=rng.normal(0, 0.6),
        gas=rng.uniform(1.0, 2.6),
        bladder=rng.uniform(12, 38),
    )


def paint_surroundings(
    grid: VoxelGrid, spine: Spine, signals: Signals, habitus: Habitus, rng: np.random.Generator
) -> Floats:
    """Signal of everything around the spine, air included: float32 (slices, rows, columns)."""
    rows, cols = (min(size, BACKGROUND_MATRIX) for size in grid.shape[1:])
    around = Surroundings(grid.resampled(rows, cols), spine, signals, habitus, rng)
    return resize(around.paint(), *grid.shape[1:])


class Surroundings:
    """Paints back to front: belly, psoas and back, then fat, skin and air.

    All signals are float32 (slices, rows, columns) on `grid`.
    """

    def __init__(
        self,
        grid: VoxelGrid,
        spine: Spine,
        signals: Signals,
        habitus: Habitus,
        rng: np.random.Generator,
    ) -> None:
        self.grid = grid
        self.signals = signals
        self.habitus = habitus
        self.rng = rng
        self.body = spine.bodies[L3]
        canal_x, canal_z = spine.along(7.0).at(grid.y)
        canal_z = gaussian_filter1d(canal_z, OUTLINE_SMOOTHING / grid.pixel, mode="nearest")
        front_z = spine.along(-2.0 * self.body.half_depth).at(grid.y)[1]
        z = grid.z[None, None, :].astype(np.float32)
        self.y = per_row(grid.y)
        self.aside = np.abs(grid.x[:, None, None] - canal_x[:, None]).astype(np.float32)
        self.behind_canal = z - per_row(canal_z)
        self.before_bodies = per_row(front_z) - z
        self.behind_belly = z - per_row(self.belly_wall(float(canal_z.mean())))

    def belly_wall(self, canal: float) -> NDArray[np.float64]:
        """z (mm) of the belly's front, (rows,), for a canal at z = `canal`."""
        bulge = self.habitus.belly * np.exp(-(((self.grid.y - 20) / 90) ** 2))
        return canal - self.habitus.girth - bulge

    def random_field(self, rows: int, cols: int) -> Floats:
        """Standard normal values on a lattice of rows x cols, interpolated to the grid."""
        slices, height, width = self.grid.shape
        return resize(self.rng.standard_normal((slices, rows, cols)), height, width)

    def paint(self) -> Floats:
        """The signal of all surroundings."""
        signal = self.belly()
        signal = self.add_psoas(signal)
        signal = blend(signal, self.back(), ramp(self.behind_canal - 2, 6))
        return self.wrap(signal)

    def belly(self) -> Floats:
        """Bowel loops in fat, some filled with fluid or gas, and fat in front of the spine."""
        fat, habitus = self.signals.fat, self.habitus
        loops, content = self.random_field(26, 26), self.random_field(16, 16)
        signal = self.signals.viscera * (1 + 0.35 * content)
        signal = blend(signal, 0.75 * fat, ramp(loops - habitus.lean_bowel, 0.5))
        signal = blend(signal, 0.8 * self.signals.csf, ramp(content - 1.8, 0.4))
        signal = blend(signal, 0.02, ramp(loops * content - habitus.gas, 0.4))
        return blend(signal, 0.85 * fat, ramp(12 - self.before_bodies, 10))

    def add_psoas(self, signal: Floats) -> Floats:
        """Paint the muscles beside the bodies, which grow downwards."""
        size = self.habitus.psoas * np.clip(0.5 + (self.y + 60) / 200, 0.1, 1.1)
        aside = self.aside - (0.8 * float(self.body.half_width) + 0.6 * size)
        ahead = self.behind_canal + (24 + self.y / 12)
        radius = np.sqrt(aside * aside + 0.45 * (ahead * ahead))
        return blend(signal, self.signals.muscle, ramp(size - radius, 4))

    def back(self) -> Floats:
        """Muscle with streaks of fat, and fat between the spinous processes."""
        fat = 0.8 * self.signals.fat
        grain, streaks = self.random_field(96, 96), self.random_field(40, 110)
        streaky = ramp(streaks - (2.5 - 2.5 * self.habitus.fatty_muscle), 2.5)
        muscle = blend(self.signals.muscle * (1 + 0.15 * grain), fat, streaky)
        midline = ramp(5 - self.aside, 4) * ramp(streaks + 0.6, 2.5)
        return blend(muscle, fat, 0.8 * midline)

    def wrap(self, signal: Floats) -> Floats:
        """Paint subcutaneous fat, the belly's muscle, skin, and the air outside."""
        habitus, y = self.habitus, self.grid.y
        fat = self.signals.fat * (1 + 0.08 * self.random_field(60, 60))
        rounding = (0.006 * self.grid.x[:, None, None] ** 2).astype(np.float32)

        thinning = (1 - habitus.sacral_muscle) * np.clip((y - 30) / 100, 0, 1)
        fascia = habitus.back_muscle * (1 - thinning)
        skin = fascia + habitus.back_fat + habitus.low_back_fat * np.clip((y + 20) / 110, 0, 1)
        signal = blend(signal, fat, ramp(self.behind_canal - per_row(fascia), 2.5))

        depth = self.behind_belly - 2 * rounding
        signal = blend(signal, self.signals.muscle, ramp(habitus.front_fat + 8 - depth, 3))
        signal = blend(signal, fat, ramp(habitus.front_fat - depth, 3))

        inside = np.minimum(per_row(skin) - rounding - self.behind_canal, depth)
        signal = blend(signal, self.signals.skin, ramp(2 - inside, 2))
        return signal * ramp(inside, 1.5)


def blend(base: Floats, over: Floats | float, amount: Floats) -> Floats:
    """Paint `over` on `base` with opacity `amount` (0 to 1)."""
    return base + amount * (over - base)


def per_row(values: NDArray[np.float64]) -> Floats:
    """Values (rows,) as float32 (1, rows, 1), which broadcasts over (slices, rows, columns)."""
    return values[None, :, None].astype(np.float32)

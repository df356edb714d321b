"""Phantoms simulated on the unified grid itself, straight into a cache.

They are the patients of the phantom set (seed 0), each on 12 slices of equal size, whichever of
Table 1's shapes its scan has there. Nothing is resampled, and neither SimpleITK nor files of scans
are needed.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np
from joblib import cpu_count

from spineseg import fingerprint
from spineseg.data.cache import INDEX, Cache, build, gray_range, hash_of, to_gray
from spineseg.labels import challenge_to_class
from spineseg.phantom import simulate
from spineseg.phantom.dataset import plan_cases
from spineseg.profiles import Profile
from spineseg.utils import paths
from spineseg.utils.files import folder_lock
from spineseg.utils.processes import end_with_parent

SLICES, SIZE = 12, 880  # the paper's most common shape (Table 1), to which it brings all
SEED = 0


@dataclass(frozen=True)
class Patient:
    """One simulated patient, who has one scan."""

    id: str
    patient: str


def prepare_simulated(profile: Profile, cases: int) -> Cache:
    """The cache of so many patients on 12 x 880 x 880, or as many pixels as the profile allows.

    It is simulated, by a process on each core, if there is none of this code and these settings.
    """
    size = min(SIZE, profile.image_size)
    settings = {"cases": cases, "seed": SEED, **profile.cache_knobs()}
    key = hash_of({"code": fingerprint.of_simulated(), **settings})
    folder = paths.root() / "cache" / f"simulated-{SLICES}x{size}-{key}"
    with folder_lock(folder, wait=True):
        if (folder / INDEX).is_file():
            return Cache(folder)
        names = [f"Case{plan.number}" for plan in plan_cases(cases, 1.0, SEED, False)]
        patients = [Patient(name, name) for name in names]
        identity = {"data": "simulated", "key": key}
        pool = ProcessPoolExecutor(
            min(cpu_count(), cases), get_context("spawn"), initializer=end_with_parent
        )
        with pool:
            unified = partial(_simulated, cases, size)
            return build(folder, identity, profile, patients, (SLICES, size), unified, pool)


def _simulated(cases: int, size: int, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Gray values and classes of one patient, uint8 (slices, size, size)."""
    plan = plan_cases(cases, 1.0, SEED, False)[row]
    phantom = simulate((SLICES, size, size), plan.seed)
    gray = to_gray(phantom.image, *gray_range(phantom.image))
    return gray, challenge_to_class(phantom.mask)

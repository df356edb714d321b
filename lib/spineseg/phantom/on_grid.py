"""Patients simulated on the target grid itself, straight into a cache.

They are the patients of the phantom (seed 0). Here each has 12 slices of equal size, while the
phantom's scans have the shapes of Table 1. Nothing is resampled. Neither SimpleITK nor files of
scans are needed.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np

from spineseg.data.cache import INDEX, Cache, CachePlan, Volume, build_cache, cache_folder, hash_of
from spineseg.data.gray import gray_range, to_gray
from spineseg.experiment import Experiment
from spineseg.fingerprint import simulated_cache_code
from spineseg.labels import challenge_to_class
from spineseg.phantom import Phantom, simulate
from spineseg.phantom.dataset import plan_cases
from spineseg.phantom.randomised import simulate_randomised
from spineseg.utils.locks import folder_lock
from spineseg.utils.processes import count_cores, end_with_parent

SLICES, SIZE = 12, 880  # the paper's most common shape (Table 1)
RANDOMISED_PIXEL_MM = 2.4
SEED = 0


@dataclass(frozen=True)
class SimulatedScan:
    """The only scan of a simulated patient."""

    id: str
    patient: str


def prepare_simulated(experiment: Experiment) -> Cache:
    """The cache of the simulated patients of an experiment, 12 x 880 x 880 or smaller.

    The profile bounds the size in plane. Randomised scans have pixels of RANDOMISED_PIXEL_MM. The
    patients are simulated, one process per core, if there is no cache of this code and these
    settings.
    """
    profile, cases = experiment.profile, experiment.simulated_patients
    size = min(SIZE, profile.image_size)
    pixel = RANDOMISED_PIXEL_MM if experiment.is_randomised else None
    settings = {"cases": cases, "seed": SEED, "pixel": pixel, **profile.cache_settings()}
    key = hash_of({"code": simulated_cache_code(), **settings})
    data = "randomised" if experiment.is_randomised else "simulated"
    folder = cache_folder(f"{data}-{SLICES}x{size}", key)
    with folder_lock(folder, wait=True):
        if not (folder / INDEX).is_file():
            identity = {"data": data, "key": key}
            _build(CachePlan(folder, identity, profile, _scans(cases), SLICES, size, pixel))
    return Cache(folder)


def _scans(cases: int) -> list[SimulatedScan]:
    names = [f"Case{number}" for number in range(1, cases + 1)]
    return [SimulatedScan(name, name) for name in names]


def _build(plan: CachePlan) -> None:
    cases = len(plan.cases)
    pool = ProcessPoolExecutor(
        min(count_cores(), cases), get_context("spawn"), initializer=end_with_parent
    )
    with pool:
        build_cache(plan, partial(_simulated, cases, plan.size, plan.pixel), pool)


def _simulated(cases: int, size: int, pixel: float | None, row: int) -> Volume:
    phantom = _randomised(size, pixel, row) if pixel else _as_phantom(cases, size, row)
    gray = to_gray(phantom.image, *gray_range(phantom.image))
    return Volume(gray, challenge_to_class(phantom.mask), phantom.spacing)


def _as_phantom(cases: int, size: int, row: int) -> Phantom:
    plan = plan_cases(cases, 1.0, SEED, False)[row]
    return simulate((SLICES, size, size), plan.seed)


def _randomised(size: int, pixel: float, row: int) -> Phantom:
    return simulate_randomised(SLICES, size, pixel, np.random.SeedSequence(SEED, spawn_key=(row,)))

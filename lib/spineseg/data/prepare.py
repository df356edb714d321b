"""From a folder of scans to its cache."""

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from spineseg.data.cache import (
    INDEX,
    Cache,
    CachePlan,
    Grid,
    Volume,
    build_cache,
    cache_folder,
    hash_of,
)
from spineseg.data.check import require_valid
from spineseg.data.layouts import Case, LabelledFolder, open_labelled, read_labelled
from spineseg.data.preprocess import classes_to_grid, image_to_grid, target_of
from spineseg.data.volume import canonical_shape
from spineseg.experiment import Experiment
from spineseg.fingerprint import cache_code
from spineseg.labels import FOREGROUND
from spineseg.utils import paths
from spineseg.utils.errors import UserError
from spineseg.utils.locks import folder_lock
from spineseg.utils.processes import count_cores


def open_scans(experiment: Experiment) -> LabelledFolder:
    """The folder of scans with masks of an experiment. Raises UserError if there is none."""
    if experiment.data == paths.default_data() and not experiment.data.is_dir():
        remedy = "run `make reproduce`, or `spineseg data phantom data/phantom`"
        raise UserError.at(experiment.data, "the phantom is not made yet", remedy)
    return open_labelled(experiment.data)


def scan_files(experiment: Experiment) -> list[Path]:
    """Every image and mask of an experiment, sound or not. Raises UserError if there are none."""
    folder = open_scans(experiment)
    groups = (*folder.images.values(), *folder.masks.values())
    return [file for group in groups for file in group]


def files_hash(files: Sequence[Path]) -> str:
    """12 hex digits of the names and contents of files."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(os.fsencode(file.name))
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def prepare_scans(experiment: Experiment) -> Cache:
    """The cache of an experiment's scans; it is made if there is none of these files and settings.

    Each scan is decoded once. Raises UserError, which lists every problem of the folder, and leaves
    nothing behind.
    """
    scans = files_hash(scan_files(experiment))
    settings = {"code": cache_code(), "data": scans, **experiment.profile.cache_settings()}
    key = hash_of(settings)
    folder = cache_folder(experiment.name, key)
    if not (folder / INDEX).is_file():
        identity = {"data": str(experiment.data), "key": key, "data_hash": scans}
        try:
            plan = _plan(experiment, identity, folder)
            with folder_lock(folder, wait=True):
                if not (folder / INDEX).is_file():
                    _build(plan)
        except UserError:
            _remove_if_empty(folder.parent)
            require_valid(experiment.data, progress=True)  # raises with every problem
            raise
    return Cache(folder)


def _plan(experiment: Experiment, identity: dict[str, str], folder: Path) -> CachePlan:
    """What the cache is to hold, from the names and headers of the scans. Raises UserError."""
    labelled = open_scans(experiment)
    cases = labelled.cases()
    if lone := sorted(set(labelled.masks) - set(labelled.images)):
        raise UserError.at(labelled.masks[lone[0]][0], "mask without a scan", "add the scan")
    slices, size = _common_shape(cases)
    size = min(size, experiment.profile.image_size)
    return CachePlan(folder, identity, experiment.profile, cases, slices, size)


def _build(plan: CachePlan) -> None:
    grid = Grid(plan.slices, plan.size, (0, plan.size))

    def volume_of(row: int) -> Volume:
        image, classes = read_labelled(plan.cases[row])
        target = target_of(image, grid)
        return Volume(
            image_to_grid(image, target),
            classes_to_grid(classes, image, target),
            target.GetSpacing()[::-1],
        )

    with ThreadPoolExecutor(count_cores()) as pool:
        cache = build_cache(plan, volume_of, pool)
    if not set(cache.index["classes"]) & set(FOREGROUND):
        shutil.rmtree(cache.folder)
        what = f"its masks mark none of {', '.join(FOREGROUND)}"
        raise UserError.at(plan.identity["data"], what, "give a folder with labelled vertebrae")


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _common_shape(cases: list[Case]) -> tuple[int, int]:
    """The most frequent (slices, longer in-plane side) of the scans; the larger one in a tie."""
    shapes = [canonical_shape(case.image) for case in cases]
    counts = Counter((slices, max(rows, columns)) for slices, rows, columns in shapes)
    return max(counts, key=lambda shape: (counts[shape], shape))

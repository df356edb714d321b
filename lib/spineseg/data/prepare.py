"""From a folder of scans to its cache."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from joblib import cpu_count

from spineseg.data.cache import INDEX, Cache, CachePlan, Volume, build_cache, cache_folder, hash_of
from spineseg.data.layouts import Case, LabelledFolder, open_labelled, read_labelled
from spineseg.data.check import require_valid
from spineseg.data.preprocess import classes_to_grid, image_to_grid, target_grid
from spineseg.data.volume import canonical_shape
from spineseg.experiment import Experiment
from spineseg.fingerprint import cache_code
from spineseg.utils import paths
from spineseg.utils.errors import UserError
from spineseg.utils.locks import folder_lock


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

    Raises UserError, which lists every problem of the folder, and leaves nothing behind.
    """
    scans = files_hash(scan_files(experiment))
    settings = {"code": cache_code(), "data": scans, **experiment.profile.cache_knobs()}
    key = hash_of(settings)
    folder = cache_folder(experiment.name, key)
    if not (folder / INDEX).is_file():
        cases = require_valid(experiment.data, progress=True)
        identity = {"data": str(experiment.data), "key": key, "data_hash": scans}
        with folder_lock(folder, wait=True):
            if not (folder / INDEX).is_file():
                _build(experiment, cases, identity, folder)
    return Cache(folder)


def _build(
    experiment: Experiment, cases: list[Case], identity: dict[str, str], folder: Path
) -> None:
    slices, size = _common_shape(cases)
    size = min(size, experiment.profile.image_size)
    plan = CachePlan(folder, identity, experiment.profile, cases, slices, size)

    def volume_of(row: int) -> Volume:
        image, classes = read_labelled(cases[row])
        spacing = target_grid(image, slices, size).GetSpacing()[::-1]
        return Volume(
            image_to_grid(image, slices, size),
            classes_to_grid(classes, image, slices, size),
            spacing,
        )

    with ThreadPoolExecutor(cpu_count()) as pool:
        build_cache(plan, volume_of, pool)


def _common_shape(cases: list[Case]) -> tuple[int, int]:
    """The most frequent (slices, longer in-plane side) of the scans; the larger one in a tie."""
    shapes = [canonical_shape(case.image) for case in cases]
    counts = Counter((slices, max(rows, columns)) for slices, rows, columns in shapes)
    return max(counts, key=lambda shape: (counts[shape], shape))

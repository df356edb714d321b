"""The cache of an experiment, whatever its data."""

from pathlib import Path

from spineseg.data.cache import Cache
from spineseg.experiment import Experiment
from spineseg.utils.files import read_json, write_json

SPLIT = "split.json"


def prepare(experiment: Experiment) -> Cache:
    """The cache of an experiment, which is made if it does not exist.

    Raises UserError, which lists every problem of the scans.
    """
    if experiment.is_simulated:
        from spineseg.phantom.on_grid import prepare_simulated

        cache = prepare_simulated(experiment)
    else:
        from spineseg.data.prepare import prepare_scans

        cache = prepare_scans(experiment)
    parts = {key: cache.index[key] for key in ("folds", "windows")}
    _write_if_new(experiment.runs / SPLIT, {"cache": cache.folder.name, **parts})
    return cache


def folds_to_run(experiment: Experiment) -> list[int]:
    """The folds that the profile asks for on this data."""
    if experiment.is_simulated:
        return experiment.profile.folds_to_run(experiment.simulated_patients)
    from spineseg.data.prepare import open_scans

    return experiment.profile.folds_to_run(open_scans(experiment).patients())


def _write_if_new(path: Path, content: dict) -> None:
    """Leave an equal file untouched, so that the steps that depend on it are not repeated."""
    if not path.is_file() or read_json(path) != content:
        write_json(path, content)

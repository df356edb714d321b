"""About how long training takes on this machine, from a few timed batches."""

import heapq
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from spineseg.experiment import ALL, Experiment
from spineseg.methods import METHODS, NNUNET
from spineseg.models.counting import COLUMNS, ROWS, SLICES
from spineseg.profiles import Profile
from spineseg.runs import is_finished
from spineseg.workflow.gather import Run

STEPS = 3  # timed, after one to warm up
MULTIPLE = 16  # of a network's input
MANY = 6  # networks, of which more are not listed
ANY_LENGTH: dict[str, Any] = {"learning_rate": 0.1, "epochs": 1, "nnunet_epochs": 1}
ToTrain = tuple[Experiment, str]  # a run, by its experiment and method


def estimate(experiment: Experiment, runs: Sequence[Run], cores: int) -> str:
    """What is still to be trained and about how long it takes, in one line; see `to_train`."""
    todo = [run for run in runs if not is_finished(experiment.run(*run))]
    models = dict.fromkeys(run.model for run in todo)
    first = [run for model in models for run in _first(experiment, model, todo)]
    return to_train([(experiment, run.model) for run in todo], places_to_train(cores), first)


def to_train(runs: Sequence[ToTrain], places: int, first: Sequence[ToTrain] = ()) -> str:
    """About how long it takes to train these runs after those that come `first`, in one line.

    `places` is the number of runs that are trained at a time. nnU-Net is not timed. The estimate
    assumes that no other program uses the cores.
    """
    if not runs:
        return "nothing to train: no run is missing"
    paces = Paces()
    seconds = sum(_time_together([*map(paces.seconds, each)], places) for each in (first, runs))
    models = list(dict.fromkeys(model for _, model in runs))
    titles = ", ".join(METHODS[name].title for name in models)
    if len(models) > MANY:
        titles = f"{len(models)} networks"
    missing = " (without nnU-Net)" if NNUNET in models else ""
    number = f"{len(runs)} run{'s' * (len(runs) > 1)}"
    return f"to train: {number} ({titles}); this takes about {_words(seconds / 3600)}{missing}"


def places_to_train(cores: int) -> int:
    """How many runs are trained at a time: one per core or, if GPUs are used, one per GPU."""
    from spineseg.training.device import choose_device, gpu_ids

    return min(cores, len(gpu_ids())) if choose_device() == "cuda" else cores


class Paces:
    """How long runs take here. Each network is timed once for images and batches of one size."""

    def __init__(self) -> None:
        self._per_epoch: dict[tuple[str, Profile, str], float] = {}

    def seconds(self, run: ToTrain) -> float:
        """About how long a run takes with one thread; 0 for nnU-Net."""
        experiment, model = run
        if model == NNUNET:
            return 0.0
        alike = replace(experiment.profile, name="", **ANY_LENGTH)
        key = experiment.data_name, alike, model
        if key not in self._per_epoch:
            self._per_epoch[key] = seconds_per_epoch(experiment, model)
        return self._per_epoch[key] * experiment.epochs(model)


def _first(experiment: Experiment, model: str, runs: Sequence[Run]) -> list[ToTrain]:
    """The unfinished runs on simulated patients that a method's runs start from."""
    if not experiment.starts_from_simulated:
        return []
    first = experiment.pretraining
    seeds = {run.seed for run in runs if run.model == model}
    todo = [seed for seed in seeds if not is_finished(first.run(model, ALL, seed))]
    return [(first, model)] * len(todo)


def _time_together(seconds: Sequence[float], places: int) -> float:
    """The seconds until all runs end, if each free place takes the longest one that is left."""
    ends = [0.0] * places
    for each in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def seconds_per_epoch(experiment: Experiment, model: str) -> float:
    """The seconds of an epoch with one thread, from the fastest of a few batches."""
    import torch

    from spineseg.benchmark.networks import training_step
    from spineseg.benchmark.timing import timed
    from spineseg.models import build_model
    from spineseg.training.device import make_fabric

    profile = experiment.profile
    fabric = make_fabric(profile.width)
    network = build_model(model, profile.width, stages=profile.stages)
    step = training_step(network, _batch_shape(model, profile), fabric)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = [timed(fabric, step) for _ in range(STEPS + 1)][1:]
    finally:
        torch.set_num_threads(threads)
    return min(seconds) * _slices(experiment) / _slices_per_batch(model, profile)


def _batch_shape(model: str, profile: Profile) -> tuple[int, ...]:
    """The shape of a batch, with the proportions of the paper's slices."""
    rows, columns = (
        -(-size // MULTIPLE) * MULTIPLE
        for size in (profile.image_size, profile.image_size * COLUMNS / ROWS)
    )
    if METHODS[model].volumetric:
        return profile.volume_batch_size, 1, SLICES, int(rows), int(columns)
    return profile.batch_size, 1, int(rows), int(columns)


def _slices_per_batch(model: str, profile: Profile) -> int:
    return profile.volume_batch_size * SLICES if METHODS[model].volumetric else profile.batch_size


def _slices(experiment: Experiment) -> float:
    """The slices of an epoch."""
    profile = experiment.profile
    if profile.slices_per_epoch is not None:
        return profile.slices_per_epoch
    return SLICES * _patients(experiment) * (1 - 1 / profile.folds)


def _patients(experiment: Experiment) -> int:
    if experiment.is_simulated or experiment == experiment.phantom:
        return experiment.simulated_patients
    from spineseg.data.prepare import open_scans

    return open_scans(experiment).patients()


def _words(hours: float) -> str:
    minutes = max(1, round(60 * hours))
    return f"{hours:.1f} hours" if hours >= 1 else f"{minutes} minute{'s' * (minutes > 1)}"

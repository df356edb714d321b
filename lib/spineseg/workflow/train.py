"""Train one run: one method on one fold of one experiment."""

import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from spineseg.data.cache import Cache
from spineseg.experiment import ALL, Experiment
from spineseg.methods import METHODS, NNUNET, PROPOSED, TABLE3_METHODS, runnable
from spineseg.runs import RunRecord, is_finished, load_record, require_same_record
from spineseg.utils.errors import UserError
from spineseg.utils.locks import folder_lock
from spineseg.workflow.prepare import prepare

DEADLINE = "SPINESEG_DEADLINE"  # Unix time; the graph sets it for all its trainings


def time_limit(minutes: float = math.inf) -> float:
    """The time of `time.monotonic` at which training ends: in `minutes`, or at the DEADLINE."""
    deadline = float(os.environ.get(DEADLINE, math.inf))
    return time.monotonic() + min(60 * minutes, deadline - time.time())


def chosen_models(names: Sequence[str]) -> list[str]:
    """The `known_models` of these names. Raises UserError if none of them is in Table 3."""
    models = known_models(names)
    if not set(models) & set(TABLE3_METHODS):
        raise UserError.at(
            ", ".join(models), "not in Table 3", f"add one of {', '.join(TABLE3_METHODS)}"
        )
    return models


def known_models(names: Sequence[str]) -> list[str]:
    """These methods once each, or all that run here if none is named.

    Raises UserError if a method is unknown.
    """
    models = list(dict.fromkeys(names)) or list(runnable())
    if unknown := sorted(set(models) - set(METHODS)):
        remedy = f"choose from {', '.join(METHODS)}"
        raise UserError.at(", ".join(unknown), "no such method", remedy)
    return models


def train(
    experiment: Experiment,
    model: str = PROPOSED,
    fold: int | str = 0,
    until: float = math.inf,
    seed: int = 0,
) -> Path:
    """Train one run and return its folder.

    A finished run is returned at once. An interrupted one resumes from its last checkpoint and
    ends with the same weights as an uninterrupted one. No epoch begins that would end after `until`
    (of `time.monotonic`), so check `is_finished`. If the profile says so, a run on scans starts
    from the weights of a run on all simulated patients, which is trained first.
    Raises UserError for bad scans, for a finished run of other scans, settings or code, and if
    another process trains the same run.
    """
    if model not in METHODS:
        raise UserError.at(model, "no such method", f"choose one of {', '.join(METHODS)}")
    train_run = _trainer(model)
    cache = prepare(experiment)  # before anything is trained: scans can be bad
    start = None
    if experiment.starts_from_simulated:
        start = train(experiment.pretraining, model, ALL, until, seed)
    folder = experiment.run(model, fold, seed)
    if start and not is_finished(start):
        return folder
    record = RunRecord.of(experiment, cache, model, fold, seed, start)
    if is_finished(folder):
        require_same_record(load_record(folder), record, folder)
        return folder
    with folder_lock(folder):
        train_run(record, cache, folder, start, until)
    return folder


def _trainer(model: str) -> Callable[[RunRecord, Cache, Path, Path | None, float], None]:
    """What trains a method. Raises UserError if nnU-Net is not installed."""
    if model == NNUNET:
        from spineseg.nnunet.train import train_nnunet

        return train_nnunet
    from spineseg.training.loop import train_network

    return train_network

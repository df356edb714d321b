"""The paper's own scale on a GPU: step by step, in pieces of so many minutes.

All that a piece leaves lies in runs/<experiment>/, so that another machine goes on where this one
stopped; once a run is scored, its checkpoint is not needed for that. Scans are simulated where they
are missing. Neither SimpleITK nor files of scans are needed, and surface distances are not scored.
"""

import math
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from spineseg.benchmark.cost import images, measure_cost
from spineseg.benchmark.networks import training_step
from spineseg.benchmark.timing import peak_memory, time_interleaved
from spineseg.data.cache import Cache
from spineseg.evaluation.metrics import overlaps
from spineseg.evaluation.scores import CURVES, SCORES, identify, score_rows
from spineseg.evaluation.summary import SUMMARY, summarise
from spineseg.experiment import Experiment
from spineseg.inference.network import TrainedNetwork
from spineseg.labels import NUM_CLASSES
from spineseg.methods import ABLATION, NNUNET, TABLE3
from spineseg.models import MODELS, build_model
from spineseg.parallel import launch
from spineseg.phantom.on_grid import prepare_simulated
from spineseg.profiles import Profile, load_profile
from spineseg.runs import (
    LOG,
    RUNS,
    finished_facts,
    is_finished,
    require_same_record,
    run_facts,
    without_path,
)
from spineseg.training.device import describe_device, make_fabric
from spineseg.training.loop import batch_size, train_on
from spineseg.utils import paths
from spineseg.utils.files import atomic_write, folder_lock, read_csv, write_csv, write_json
from spineseg.utils.paths import COST
from spineseg.utils.progress import progress_bar
from spineseg.workflow import provenance

BENCHMARK = "benchmark.csv"
BENCHMARK_SECONDS = 3.0  # for each method
FORWARD = 1 / 3  # of a training step's time
SCANS = "simulated on the unified grid and scored there: nothing is resampled"
FIRST = ("aspp_unet", "unet")
ORDER = tuple(name for name in dict.fromkeys((*FIRST, *TABLE3, *ABLATION)) if name != NNUNET)


def full_experiment(profile: str | Path = "full", epochs: int | None = None) -> Experiment:
    """The simulated patients under a profile, whose name says for how many epochs it trains."""
    base = load_profile(profile)
    epochs = epochs or base.epochs
    name = f"{base.name}-{epochs}epoch{'s' * (epochs > 1)}"
    return Experiment(paths.default_data(), replace(base, name=name, epochs=epochs))


def run_full(
    experiment: Experiment, cases: int, folds: Sequence[int], minutes: float = math.inf
) -> bool:
    """Take the steps that are still to do; returns whether all of them are done.

    They are: cost of the networks, benchmark of their training steps, then method by method (see
    ORDER) and fold by fold train and score. After each its numbers stand in results/<experiment>/. No
    epoch is begun that would not end within `minutes`, by the benchmark. What does not fit the
    device's memory is left out, as the benchmark says. Raises RunError where a finished run is of
    other settings or code, and Busy where another process is at the same work.
    """
    end = time.monotonic() + 60 * minutes
    with folder_lock(experiment.runs):
        cache = prepare_simulated(experiment.profile, cases)
        epoch_seconds = _measured(experiment, cache)
        _gather(experiment, cache)
        for fold in folds:
            for model, seconds in epoch_seconds.items():
                if not _scored(experiment, cache, model, fold, end - seconds):
                    words = f"an epoch of {model} fold {fold} takes about {seconds:.0f} s"
                    print(f"{words}: not in this time; the same command goes on", file=sys.stderr)
                    return False
    return True


def _measured(experiment: Experiment, cache: Cache) -> dict[str, float]:
    """Seconds that an epoch takes, of each method that fits into memory, in order."""
    if not (experiment.runs / COST).is_file():
        _write(experiment, COST, measure_cost(experiment))
    if not (experiment.runs / BENCHMARK).is_file():
        _write(experiment, BENCHMARK, _benchmark(experiment, cache))
    found = read_csv(experiment.runs / BENCHMARK, ["model"], ["epoch_seconds"])
    found = found.dropna(subset="epoch_seconds")
    return dict(zip(found["model"], found["epoch_seconds"], strict=True))


def _write(experiment: Experiment, name: str, table: pd.DataFrame) -> None:
    write_csv(experiment.runs / name, experiment.stamp(table, describe_device(make_fabric())))


def _benchmark(experiment: Experiment, cache: Cache) -> pd.DataFrame:
    """One row for each method of ORDER: the median time of a training step on a batch of the
    experiment's own size, a GPU's memory (MiB), and the seconds of an epoch that follow.

    A step is as in training but for drawing and varying the batch, and always by AdamW.
    """
    rows = []
    for model in progress_bar(ORDER, desc="benchmark", unit="network"):
        shape = _batch_shape(experiment.profile, cache, model)
        row = {"model": model, "batch": shape[0], "rows": shape[-2], "columns": shape[-1]}
        try:
            row |= measure_step(model, experiment.profile.width, shape)
            steps = _slices_an_epoch(experiment.profile, cache) / images(shape)
            row |= {"epoch_seconds": steps * row["seconds"], "note": ""}
        except torch.OutOfMemoryError:
            row["note"] = "out of memory, not trained"
        rows.append(row)
    columns = ["rounds", "seconds", "memory_mib", "epoch_seconds", "note"]
    return pd.DataFrame(rows).reindex(columns=["model", "batch", "rows", "columns", *columns])


def _batch_shape(profile: Profile, cache: Cache, model: str) -> tuple[int, ...]:
    grid = cache.grid(0)
    slices = (grid.slices,) if MODELS[model].volumetric else ()
    first, last = grid.columns
    return (batch_size(model, profile), 1, *slices, grid.size, last - first)


def _slices_an_epoch(profile: Profile, cache: Cache) -> float:
    """Slices trained on, and those of the test loss as far as they take time."""
    slices = cache.index["slices"]
    trained = profile.slices_per_epoch or slices * len(cache.train_ids(0))
    tested = profile.test_slices or slices * len(cache.test_ids(0))
    return trained + FORWARD * tested


def measure_step(model: str, width: int, shape: tuple[int, ...]) -> dict[str, float]:
    """Rounds and median seconds of a training step, and, on a GPU, the most memory (MiB)."""
    fabric = make_fabric()
    on_gpu = fabric.device.type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    step = training_step(build_model(model, width), shape, model)
    step()  # starts up what the device computes with
    timed = time_interleaved({model: step}, BENCHMARK_SECONDS)[model]
    memory = peak_memory(fabric) if on_gpu else math.nan
    return {"rounds": timed["rounds"], "seconds": timed["seconds"], "memory_mib": memory}


def _scored(experiment: Experiment, cache: Cache, model: str, fold: int, until: float) -> bool:
    """Train, as far as epochs begin by `until` (of `time.monotonic`), and score what is trained;
    returns whether it is."""
    run = experiment.run(model, fold)
    facts = run_facts(experiment, cache, model, fold, experiment.epochs) | {"scans": SCANS}
    if is_finished(run):
        require_same_record(finished_facts(run), facts, run)
    elif time.monotonic() > until:
        return False
    else:
        with folder_lock(run):
            launch(make_fabric(), train_on, facts, cache, experiment.profile, run, None, until)
        if not is_finished(run):
            return False
    if not (run / SCORES).is_file():
        write_csv(run / SCORES, identify(_scores_of(run, cache), run))
        _gather(experiment, cache)
    return True


def _scores_of(run: Path, cache: Cache) -> pd.DataFrame:
    """DSC and IoU of the cases that a run held out, as `evaluate.evaluate_run` has them."""
    network = TrainedNetwork(run)
    tested = network.facts["test"]
    window = slice(*network.grid.columns)
    rows: list[dict[str, Any]] = []
    pooled = np.zeros((1, NUM_CLASSES, 3), np.int64)
    words = f"score {network.facts['model']} fold {network.facts['fold']}"
    for case, row in zip(progress_bar(tested, desc=words), cache.rows(tested), strict=True):
        predicted = np.zeros_like(cache.masks[row])
        predicted[..., window] = network.classes(cache.images[row][..., window].copy())
        counts = overlaps(cache.masks[row], predicted)
        rows += score_rows(case, "volume", counts.sum(0, keepdims=True))
        rows += score_rows(case, "slice", counts)
        pooled += counts.sum(0, keepdims=True)
    rows += score_rows("all", "pooled", pooled)
    table = pd.DataFrame(rows)
    return table[table["class"].isin(cache.index["classes"])]


def _gather(experiment: Experiment, cache: Cache) -> None:
    """Put what the steps so far came to into results/<experiment>/."""
    for name in (COST, BENCHMARK):
        with atomic_write(experiment.results / name) as temporary:
            shutil.copyfile(experiment.runs / name, temporary)
    runs = [run for run in _runs(experiment) if (run / SCORES).is_file()]
    facts = [finished_facts(run) for run in runs]
    if runs:
        scores = pd.concat([pd.read_csv(run / SCORES) for run in runs], ignore_index=True)
        write_json(experiment.results / RUNS, [without_path(fact) for fact in facts])
        write_csv(experiment.results / SCORES, scores)
        write_csv(experiment.results / SUMMARY, summarise(scores))
        write_csv(
            experiment.results / CURVES, pd.concat(identify(_losses(run), run) for run in runs)
        )
    devices = "; ".join(sorted({fact["device"] for fact in facts}))
    provenance.record(experiment.results, provenance.origin_of(experiment, [cache.index]), devices)


def _runs(experiment: Experiment) -> list[Path]:
    """The runs of every method and fold, in order, whether or not they are there."""
    return [
        experiment.run(model, fold) for fold in range(experiment.profile.folds) for model in ORDER
    ]


def _losses(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / LOG).drop(columns="seconds")

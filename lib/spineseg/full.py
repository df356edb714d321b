"""The paper's own scale on a GPU: step by step, in pieces of so many minutes.

All that a piece leaves lies in runs/<study>/, so that another machine goes on where this one
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

from spineseg import paths, provenance
from spineseg.bench.networks import training_step
from spineseg.cost import images, measure_cost
from spineseg.data.cache import Cache
from spineseg.data.simulated import prepare_simulated
from spineseg.device import describe_device, make_fabric
from spineseg.files import alone_in, read_csv, whole_file, write_csv, write_json
from spineseg.inference import TrainedNetwork
from spineseg.labels import NUM_CLASSES
from spineseg.methods import ABLATION, NNUNET, TABLE3
from spineseg.metrics import overlaps
from spineseg.models import MODELS, build_model
from spineseg.parallel import launch
from spineseg.paths import COST
from spineseg.profiles import Profile, load_profile
from spineseg.progress import progress_bar
from spineseg.runs import (
    LOG,
    RUNS,
    finished_facts,
    is_finished,
    refuse_other,
    run_facts,
    without_path,
)
from spineseg.scores import CURVES, SCORES, identify, score_rows
from spineseg.study import Study
from spineseg.summary import SUMMARY, summarise
from spineseg.timing import peak_memory, side_by_side
from spineseg.train import batch_size, train_on

BENCHMARK = "benchmark.csv"
BENCHMARK_SECONDS = 3.0  # for each method
FORWARD = 1 / 3  # of a training step's time
SCANS = "simulated on the unified grid and scored there: nothing is resampled"
FIRST = ("aspp_unet", "unet")
ORDER = tuple(name for name in dict.fromkeys((*FIRST, *TABLE3, *ABLATION)) if name != NNUNET)


def full_study(profile: str | Path = "full", epochs: int | None = None) -> Study:
    """The simulated patients under a profile, whose name says for how many epochs it trains."""
    base = load_profile(profile)
    epochs = epochs or base.epochs
    name = f"{base.name}-{epochs}epoch{'s' * (epochs > 1)}"
    return Study(paths.default_data(), replace(base, name=name, epochs=epochs))


def run_full(study: Study, cases: int, folds: Sequence[int], minutes: float = math.inf) -> bool:
    """Take the steps that are still to do; returns whether all of them are done.

    They are: cost of the networks, benchmark of their training steps, then method by method (see
    ORDER) and fold by fold train and score. After each its numbers stand in results/<study>/. No
    epoch is begun that would not end within `minutes`, by the benchmark. What does not fit the
    device's memory is left out, as the benchmark says. Raises RunError where a finished run is of
    other settings or code, and Busy where another process is at the same work.
    """
    end = time.monotonic() + 60 * minutes
    with alone_in(study.runs):
        cache = prepare_simulated(study.profile, cases)
        epoch_seconds = _measured(study, cache)
        _gather(study, cache)
        for fold in folds:
            for model, seconds in epoch_seconds.items():
                if not _scored(study, cache, model, fold, end - seconds):
                    words = f"an epoch of {model} fold {fold} takes about {seconds:.0f} s"
                    print(f"{words}: not in this time; the same command goes on", file=sys.stderr)
                    return False
    return True


def _measured(study: Study, cache: Cache) -> dict[str, float]:
    """Seconds that an epoch takes, of each method that fits into memory, in order."""
    if not (study.runs / COST).is_file():
        _write(study, COST, measure_cost(study))
    if not (study.runs / BENCHMARK).is_file():
        _write(study, BENCHMARK, _benchmark(study, cache))
    found = read_csv(study.runs / BENCHMARK, ["model"], ["epoch_seconds"])
    found = found.dropna(subset="epoch_seconds")
    return dict(zip(found["model"], found["epoch_seconds"], strict=True))


def _write(study: Study, name: str, table: pd.DataFrame) -> None:
    write_csv(study.runs / name, study.stamp(table, describe_device(make_fabric())))


def _benchmark(study: Study, cache: Cache) -> pd.DataFrame:
    """One row for each method of ORDER: the median time of a training step on a batch of the
    study's own size, a GPU's memory (MiB), and the seconds of an epoch that follow.

    A step is as in training but for drawing and varying the batch, and always by AdamW.
    """
    rows = []
    for model in progress_bar(ORDER, desc="benchmark", unit="network"):
        shape = _batch_shape(study.profile, cache, model)
        row = {"model": model, "batch": shape[0], "rows": shape[-2], "columns": shape[-1]}
        try:
            row |= measure_step(model, study.profile.width, shape)
            steps = _slices_an_epoch(study.profile, cache) / images(shape)
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
    trained = profile.images_per_epoch or slices * len(cache.train_ids(0))
    tested = profile.test_images or slices * len(cache.test_ids(0))
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
    timed = side_by_side({model: step}, BENCHMARK_SECONDS)[model]
    memory = peak_memory(fabric) if on_gpu else math.nan
    return {"rounds": timed["rounds"], "seconds": timed["seconds"], "memory_mib": memory}


def _scored(study: Study, cache: Cache, model: str, fold: int, until: float) -> bool:
    """Train, as far as epochs begin by `until` (of `time.monotonic`), and score what is trained;
    returns whether it is."""
    run = study.run(model, fold)
    facts = run_facts(study, cache, model, fold, study.epochs) | {"scans": SCANS}
    if is_finished(run):
        refuse_other(finished_facts(run), facts, run)
    elif time.monotonic() > until:
        return False
    else:
        with alone_in(run):
            launch(make_fabric(), train_on, facts, cache, study.profile, run, None, until)
        if not is_finished(run):
            return False
    if not (run / SCORES).is_file():
        write_csv(run / SCORES, identify(_scores_of(run, cache), run))
        _gather(study, cache)
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


def _gather(study: Study, cache: Cache) -> None:
    """Put what the steps so far came to into results/<study>/."""
    for name in (COST, BENCHMARK):
        with whole_file(study.results / name) as temporary:
            shutil.copyfile(study.runs / name, temporary)
    runs = [run for run in _runs(study) if (run / SCORES).is_file()]
    facts = [finished_facts(run) for run in runs]
    if runs:
        scores = pd.concat([pd.read_csv(run / SCORES) for run in runs], ignore_index=True)
        write_json(study.results / RUNS, [without_path(fact) for fact in facts])
        write_csv(study.results / SCORES, scores)
        write_csv(study.results / SUMMARY, summarise(scores))
        write_csv(study.results / CURVES, pd.concat(identify(_losses(run), run) for run in runs))
    devices = "; ".join(sorted({fact["device"] for fact in facts}))
    provenance.record(study.results, provenance.origin_of(study, [cache.index]), devices)


def _runs(study: Study) -> list[Path]:
    """The runs of every method and fold, in order, whether or not they are there."""
    return [study.run(model, fold) for fold in range(study.profile.folds) for model in ORDER]


def _losses(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / LOG).drop(columns="seconds")

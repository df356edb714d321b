"""How time and memory grow: with cases, with the image, with the width, with jobs side by side."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import torch
from joblib import cpu_count

from spineseg.benchmark.networks import inference_step, training_step
from spineseg.benchmark.timing import peak_memory, run_in_subprocess, time_interleaved, timed
from spineseg.benchmark.volumes import workspace
from spineseg.data.preprocess import prepare
from spineseg.experiment import Experiment
from spineseg.models import build_model
from spineseg.phantom import write_dataset
from spineseg.profiles import load_profile
from spineseg.training.device import make_fabric

CASES = (20, 60, 200)
ROWS = (110, 220, 440, 880)
WIDTHS = (8, 16, 32, 64)
SCALE = 0.0625  # of the cases
STEPS = 20


def with_cases(cases: int) -> list[dict[str, Any]]:
    """Checking and preprocessing so many small scans, and the memory that it adds."""
    with workspace() as root:
        write_dataset(root / "scans", cases, SCALE, progress=False)
        experiment = Experiment(root / "scans", replace(load_profile("quick"), image_size=64))
        return [
            _row("cases", cases, "preprocessing", run_in_subprocess(_prepare, experiment, cases))
        ]


def _prepare(experiment: Experiment, cases: int) -> dict[str, float]:
    fabric = make_fabric()
    before = peak_memory(fabric)
    seconds = timed(fabric, lambda: prepare(experiment))
    return {"seconds": seconds / cases, "memory_mib": peak_memory(fabric) - before}


def with_rows(rows: int) -> list[dict[str, Any]]:
    """ASPP-UNet of quick's width on one slice of so many rows, half as wide; training on two."""
    shape = (1, 1, rows, rows // 2)
    return [
        _row("rows", rows, "inference", run_in_subprocess(_one, inference_step, 16, shape)),
        _row("rows", rows, "training", run_in_subprocess(_one, training_step, 16, (2, *shape[1:]))),
    ]


def with_width(width: int) -> list[dict[str, Any]]:
    """ASPP-UNet of so many channels on slices of quick's size."""
    shape = (4, 1, 112, 64)
    return [
        _row("width", width, "inference", run_in_subprocess(_one, inference_step, width, shape)),
        _row("width", width, "training", run_in_subprocess(_one, training_step, width, shape)),
    ]


def _one(step: Callable, width: int, shape: tuple[int, ...]) -> dict[str, float]:
    """Seconds an image, and the memory that the network and its work add."""
    fabric = make_fabric()
    before = peak_memory(fabric)
    work = step(build_model("aspp_unet", width), shape, "aspp_unet")
    found = time_interleaved({"": work}, budget=4)[""]
    return {
        "rounds": found["rounds"],
        "seconds": found["seconds"] / shape[0],
        "memory_mib": peak_memory(fabric) - before,
    }


def with_jobs(jobs: int) -> list[dict[str, Any]]:
    """Seconds a trained image of the machine, its cores shared by so many runs at once."""
    threads = max(1, cpu_count() // jobs)
    context = get_context("forkserver")
    with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (threads,)) as pool:
        list(pool.map(_steps, [1] * jobs))  # all are up and warm
        seconds = max(pool.map(_steps, [STEPS] * jobs))
    numbers = {"seconds": seconds / (4 * STEPS * jobs), "rounds": STEPS}
    return [_row("jobs", jobs, f"training, {threads} threads each", numbers)]


def _steps(count: int) -> float:
    step = training_step(build_model("aspp_unet", 16), (4, 1, 112, 64), "aspp_unet")
    step()
    return timed(make_fabric(), lambda: [step() for _ in range(count)])


def _row(axis: str, value: int, what: str, numbers: dict[str, float]) -> dict[str, Any]:
    return {"axis": axis, "value": value, "what": what, **numbers}


def measurements() -> Iterator[tuple[Callable, tuple]]:
    """Each function of this module that measures, with its arguments."""
    for cases in CASES:
        yield with_cases, (cases,)
    for rows in ROWS:
        yield with_rows, (rows,)
    for width in WIDTHS:
        yield with_width, (width,)
    for jobs in sorted({1, cpu_count()}):
        yield with_jobs, (jobs,)

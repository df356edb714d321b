"""How time and memory grow with cases, image size, network width and parallel runs."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import torch

from spineseg.benchmark.networks import inference_step, training_step
from spineseg.benchmark.timing import peak_memory, run_in_subprocess, time_interleaved, timed
from spineseg.benchmark.volumes import workspace
from spineseg.data.prepare import prepare_scans
from spineseg.experiment import Experiment
from spineseg.methods import PROPOSED
from spineseg.models import build_model
from spineseg.phantom import write_dataset
from spineseg.profiles import load_profile
from spineseg.training.device import describe_device, make_fabric
from spineseg.utils.processes import count_cores

CASES = (20, 60, 200)
ROWS = (110, 220, 440, 880)
WIDTHS = (8, 16, 32, 64)
PHANTOM_SCALE = 0.0625  # of the challenge's 880 pixels
BATCH_SHAPE = (4, 1, 112, 64)  # about that of training in profile `laptop`
LAPTOP_WIDTH = 16  # of networks in profile `laptop`
STEPS = 20


def with_cases(cases: int) -> list[dict[str, Any]]:
    """Seconds per case and memory to check and preprocess small scans."""
    with workspace() as root:
        write_dataset(root / "scans", cases, PHANTOM_SCALE, progress=False)
        experiment = Experiment(root / "scans", replace(load_profile("laptop"), image_size=64))
        numbers = run_in_subprocess(_measure_preprocessing, experiment, cases)
    return [_row("cases", cases, "preprocessing", numbers)]


def _measure_preprocessing(experiment: Experiment, cases: int) -> dict[str, Any]:
    fabric = make_fabric()
    before = peak_memory(fabric)
    seconds = timed(fabric, lambda: prepare_scans(experiment))
    return {"seconds": seconds / cases, "memory_mib": peak_memory(fabric) - before}


def with_rows(rows: int) -> list[dict[str, Any]]:
    """ASPP-UNet on slices of the given rows and half as many columns: inference on one slice,
    training on two."""
    one, two = ((batch, 1, rows, rows // 2) for batch in (1, 2))
    return [
        _measure_step("rows", rows, "inference", LAPTOP_WIDTH, one),
        _measure_step("rows", rows, "training", LAPTOP_WIDTH, two),
    ]


def with_width(width: int) -> list[dict[str, Any]]:
    """ASPP-UNet with the given channels in its first stage."""
    return [
        _measure_step("width", width, what, width, BATCH_SHAPE)
        for what in ("inference", "training")
    ]


def _measure_step(
    axis: str, value: int, what: str, width: int, shape: tuple[int, ...]
) -> dict[str, Any]:
    return _row(axis, value, what, run_in_subprocess(_time_step, what, width, shape))


def _time_step(what: str, width: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """Seconds per image, and the memory (MiB) that the network and its work add."""
    fabric = make_fabric(width)
    before = peak_memory(fabric)
    make_step = training_step if what == "training" else inference_step
    step = make_step(build_model(PROPOSED, width), shape, fabric)
    found = time_interleaved({what: step}, budget=4)[what]
    return {
        "device": describe_device(fabric),
        "rounds": found["rounds"],
        "seconds": found["seconds"] / shape[0],
        "memory_mib": peak_memory(fabric) - before,
    }


def with_jobs(jobs: int) -> list[dict[str, Any]]:
    """Seconds per training image when this number of runs share the cores."""
    threads = max(1, count_cores() // jobs)
    context = get_context("spawn")  # on every system
    with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (threads,)) as pool:
        list(pool.map(_time_training, [1] * jobs))  # starts and warms up all processes
        seconds = max(pool.map(_time_training, [STEPS] * jobs))
    numbers = {
        "device": describe_device(make_fabric(LAPTOP_WIDTH)),
        "seconds": seconds / (BATCH_SHAPE[0] * STEPS * jobs),
        "rounds": STEPS,
    }
    return [_row("jobs", jobs, f"training, {threads} threads each", numbers)]


def _time_training(steps: int) -> float:
    """Seconds of training steps, after one to warm up."""
    fabric = make_fabric(LAPTOP_WIDTH)
    step = training_step(build_model(PROPOSED, LAPTOP_WIDTH), BATCH_SHAPE, fabric)
    step()
    return timed(fabric, lambda: [step() for _ in range(steps)])


def _row(axis: str, value: int, what: str, numbers: dict[str, Any]) -> dict[str, Any]:
    return {"axis": axis, "value": value, "what": what, **numbers}


def measurements() -> Iterator[tuple[Callable, tuple]]:
    """Each function of this module that measures, with its arguments."""
    for cases in CASES:
        yield with_cases, (cases,)
    for rows in ROWS:
        yield with_rows, (rows,)
    for width in WIDTHS:
        yield with_width, (width,)
    for jobs in sorted({1, count_cores()}):
        yield with_jobs, (jobs,)

"""Measure everything and write results/benchmark/."""

import sys
from collections.abc import Callable, Iterable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from spineseg.benchmark import folder, growth, networks, start_up, volumes
from spineseg.benchmark.timing import run_in_subprocess
from spineseg.evaluation import provenance
from spineseg.experiment import Experiment
from spineseg.training.device import describe_device, make_fabric
from spineseg.utils.files import write_csv
from spineseg.utils.progress import progress_bar
from spineseg.utils.versions import PACKAGES, commit, versions

Measurement = tuple[Callable[..., list[dict[str, Any]]], tuple]


def run_benchmark(experiment: Experiment, predict_scan: volumes.PredictScan) -> Path:
    """Measure everything, each comparison in a process of its own; return the tables' folder.

    Writes speed.csv, growth.csv, start.csv and provenance.json. Some rows of speed.csv need
    finished runs of `experiment`. If there are none, these rows are missing and stderr says so.
    `predict_scan(scan, mask, run)` writes the mask file of a scan file.
    """
    tables = {
        "speed": [*networks.measurements(), *volumes.measurements(experiment, predict_scan)],
        "growth": [*growth.measurements()],
        "start": [*start_up.measurements()],
    }
    device = describe_device(make_fabric())
    for name, measurements in tables.items():
        bar = progress_bar(measurements, desc=f"bench {name}", unit="comparison")
        write_csv(folder() / f"{name}.csv", _measure(bar, device))
    origin = {"commit": commit(), "versions": versions((*PACKAGES, "nnunetv2"))}
    provenance.record(folder(), origin, device)
    return folder()


def _measure(measurements: Iterable[Measurement], device: str) -> pd.DataFrame:
    """The rows of all measurements. A row that does not name its device gets the given one."""
    rows: list[dict[str, Any]] = []
    for function, arguments in measurements:
        shown = [argument for argument in arguments if isinstance(argument, str | int)]
        words = " ".join(map(str, (function.__name__, *shown)))
        try:
            found = run_in_subprocess(function, *arguments)
        except (BrokenProcessPool, torch.OutOfMemoryError):
            print(f"{words}: out of memory, left out", file=sys.stderr)
            continue
        if not found:
            print(f"{words}: nothing to measure it on, left out", file=sys.stderr)
        rows += [{"device": device, **row} for row in found]
    return pd.DataFrame(rows)

"""Measure all of it and write results/benchmark/, or read what was measured."""

import sys
from collections.abc import Callable, Iterable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from spineseg.benchmark import folder, growth, networks, start, volumes
from spineseg.benchmark.timing import run_in_subprocess
from spineseg.experiment import Experiment
from spineseg.training.device import describe_device, make_fabric
from spineseg.utils.files import write_csv
from spineseg.utils.progress import progress_bar
from spineseg.workflow import provenance

PACKAGES = (*provenance.PACKAGES, "nnunetv2")
Measurement = tuple[Callable[..., list[dict[str, Any]]], tuple]


def bench(experiment: Experiment) -> Path:
    """Measure everything, a process for each comparison, and return the folder of the tables.

    Writes speed.csv, growth.csv, start.csv and provenance.json. What rests on finished runs (the
    labels' agreement, scan to mask) takes those of `experiment`; without them those rows are missing,
    and stderr says so.
    """
    tables = {
        "speed": [*networks.measurements(), *volumes.measurements(experiment)],
        "growth": [*growth.measurements()],
        "start": [*start.measurements()],
    }
    device = describe_device(make_fabric())
    for name, measurements in tables.items():
        table = _measured(progress_bar(measurements, desc=f"bench {name}", unit="row"))
        table.insert(0, "device", device)
        write_csv(folder() / f"{name}.csv", table)
    origin = {"commit": provenance.commit(), "versions": provenance.versions(PACKAGES)}
    provenance.record(folder(), origin, device)
    return folder()


def _measured(measurements: Iterable[Measurement]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for function, arguments in measurements:
        words = " ".join(map(str, (function.__name__, *arguments)))
        try:
            found = run_in_subprocess(function, *arguments)
        except (BrokenProcessPool, torch.OutOfMemoryError):
            print(f"{words}: out of memory, left out", file=sys.stderr)
            continue
        if not found:
            print(f"{words}: nothing to measure it on, left out", file=sys.stderr)
        rows += found
    return pd.DataFrame(rows)

"""Measure all of it and write results/benchmark/, or read what was measured."""

import sys
from collections.abc import Callable, Iterable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from spineseg import paths, plots
from spineseg.bench import growth, networks, start, volumes
from spineseg.device import describe_device, make_fabric
from spineseg.files import write_csv
from spineseg.progress import progress_bar
from spineseg.study import Study
from spineseg.timing import in_own_process

Measurement = tuple[Callable[..., list[dict[str, Any]]], tuple]


def bench(study: Study) -> Path:
    """Measure everything, a process for each comparison, and return the folder of the tables.

    Writes speed.csv, growth.csv and start.csv and their figures. What rests on finished runs (the
    labels' agreement, scan to mask) takes those of `study`; without them those rows are missing,
    and stderr says so.
    """
    tables = {
        "speed": [*networks.measurements(), *volumes.measurements(study)],
        "growth": [*growth.measurements()],
        "start": [*start.measurements()],
    }
    device = describe_device(make_fabric())
    folder = paths.root() / "results" / "benchmark"
    for name, measurements in tables.items():
        table = _measured(progress_bar(measurements, desc=f"bench {name}", unit="row"))
        table.insert(0, "device", device)
        write_csv(folder / f"{name}.csv", table)
    draw(folder)
    return folder


def draw(folder: Path) -> None:
    """Draw speed and growth from the tables in a folder into figures/benchmark/."""
    figures = paths.root() / "figures" / "benchmark"
    plots.save(plots.speed(pd.read_csv(folder / "speed.csv")), figures / "speed")
    plots.save(plots.growth(pd.read_csv(folder / "growth.csv")), figures / "growth")


def _measured(measurements: Iterable[Measurement]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for function, arguments in measurements:
        words = f"{function.__name__} {' '.join(map(str, arguments))}"
        try:
            found = in_own_process(function, *arguments)
        except (BrokenProcessPool, torch.OutOfMemoryError):
            print(f"{words}: out of memory, left out", file=sys.stderr)
            continue
        if not found:
            print(f"{words}: nothing to measure it on, left out", file=sys.stderr)
        rows += found
    return pd.DataFrame(rows)

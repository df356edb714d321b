"""Measure how fast this machine runs the project."""

from pathlib import Path

from spineseg.experiment import Experiment


def benchmark(experiment: Experiment) -> Path:
    """Measure everything and return the folder of the tables; see `run_benchmark`."""
    from spineseg.benchmark.run import run_benchmark
    from spineseg.workflow.predict import predict_scan

    return run_benchmark(experiment, predict_scan)

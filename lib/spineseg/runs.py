"""What a run is made from, and whether it came to its end."""

import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from spineseg.data.preprocess import Cache
from spineseg.files import read_json, write_json
from spineseg.study import Study

FINISHED = "run.json"
LOG = "log.csv"
ORIGIN = ("study", "model", "fold", "data_key")
PACKAGES = ("spineseg", "torch", "SimpleITK")


class RunError(RuntimeError):
    """A run that cannot be trained, resumed or used."""


def run_facts(
    study: Study,
    cache: Cache,
    model: str,
    fold: int | str,
    epochs: int,
    start: Path | None = None,
) -> dict[str, Any]:
    """What a run is made from; two runs of equal facts are the same run. Plain JSON values."""
    train_ids, test_ids = cache.train_ids(fold), cache.test_ids(fold)
    grid = asdict(cache.grid(fold))
    return {
        "study": study.name,
        "model": model,
        "fold": str(fold),
        "data": str(study.data),
        "data_key": cache.index["key"],
        "profile": asdict(study.profile),
        "grid": {**grid, "columns": list(grid["columns"])},
        "epochs": epochs,
        "started_from": start and {key: read_json(start / FINISHED)[key] for key in ORIGIN},
        "train": train_ids,
        "test": test_ids,
    }


def is_finished(folder: Path) -> bool:
    """Whether the run in this folder came to its end."""
    return (folder / FINISHED).is_file()


def finished_facts(folder: Path) -> dict[str, Any]:
    """The run.json of a finished run; raises RunError for any other folder."""
    if not is_finished(folder):
        raise RunError(f"{folder}: not a finished run; train it to its end first")
    return read_json(folder / FINISHED)


def refuse_other(found: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    """Raise RunError when `folder` holds a run that was made from something else."""
    differing = [key for key in wanted if key != "data" and found.get(key) != wanted[key]]
    if differing:
        raise RunError(
            f"{folder}: holds a run that differs in {', '.join(differing)}; remove the folder, or "
            "give the data folder or the profile another name"
        )


def finish_run(
    folder: Path, facts: dict[str, Any], device: str, seconds: float, packages: tuple[str, ...] = ()
) -> None:
    """Write run.json: the facts, and with what, on what and for how long it was trained."""
    versions = {package: version(package) for package in (*PACKAGES, *packages)}
    run = {
        **facts,
        "device": device,
        "versions": {"python": platform.python_version(), **versions},
        "training_seconds": round(seconds, 1),
    }
    write_json(folder / FINISHED, run)

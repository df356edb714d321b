"""What a run is made from, and whether it came to its end."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spineseg import fingerprint
from spineseg.data.cache import Cache
from spineseg.experiment import Experiment
from spineseg.profiles import Profile
from spineseg.utils.files import read_json, write_json
from spineseg.workflow.provenance import PACKAGES, commit, versions

FINISHED = "run.json"
LOG = "log.csv"
RUNS = "runs.json"  # in the results of an experiment
ORIGIN = ("experiment", "model", "fold", "data_key", "code")
FACTS = (*ORIGIN, "data", "profile", "grid", "epochs", "train", "test", "device")


class RunError(RuntimeError):
    """A run that cannot be trained, resumed or used."""


def run_facts(
    experiment: Experiment,
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
        "experiment": experiment.name,
        "model": model,
        "fold": str(fold),
        "data": str(experiment.data),
        "data_key": cache.index["key"],
        "data_hash": cache.index["data_hash"],
        "split_hash": cache.index["split_hash"],
        "code": fingerprint.of_training(model),
        "profile": asdict(experiment.profile),
        "grid": {**grid, "columns": list(grid["columns"])},
        "epochs": epochs,
        "started_from": start and {key: finished_facts(start)[key] for key in ORIGIN},
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
    remedy = "remove it and run the same training again"
    return read_json(folder / FINISHED, FACTS, remedy)


def without_path(facts: dict[str, Any]) -> dict[str, Any]:
    """Where the data lay is this machine's business."""
    return {key: value for key, value in facts.items() if key != "data"}


def retrain_remedy(folder: Path) -> str:
    """What to do about a run of which a file is lost."""
    return f"remove {folder} and train it again"


def differing(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """In which of the `wanted` facts a run differs; of its profile only the knobs it rests on."""
    names = []
    for key, value in wanted.items():
        other = found.get(key)
        if key == "profile" and isinstance(other, dict):
            knobs = Profile(**value).training_knobs(found["model"])
            names += [knob for knob in knobs if other.get(knob) != knobs[knob]]
        elif key != "data" and other != value:
            names.append(key)
    return list(dict.fromkeys(names))  # the epochs are a knob and a fact


def require_same_record(found: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    """Raise RunError when `folder` holds a finished run that was made from something else."""
    if names := differing(found, wanted):
        raise RunError(
            f"{folder}: holds a run that differs in {', '.join(names)}; remove the folder, or "
            "give the data folder or the profile another name"
        )


def can_resume(begun: dict[str, Any], wanted: dict[str, Any], folder: Path) -> bool:
    """Whether an unfinished run is the one that is wanted; says on stderr when it is not."""
    names = differing(begun, wanted)
    if names:
        print(f"{folder}: begun with other {', '.join(names)}; trained afresh", file=sys.stderr)
    return not names


def finish_run(
    folder: Path, facts: dict[str, Any], device: str, seconds: float, packages: tuple[str, ...] = ()
) -> None:
    """Write run.json: the facts, and with what, on what and for how long it was trained."""
    run = {
        **facts,
        "device": device,
        "commit": commit(),
        "versions": versions((*PACKAGES, *packages)),
        "training_seconds": round(seconds, 1),
    }
    write_json(folder / FINISHED, run)

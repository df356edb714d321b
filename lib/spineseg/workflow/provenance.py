"""Where results come from: commit, versions, devices, data, profile, and a hash of each file."""

import hashlib
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from spineseg.experiment import Experiment
from spineseg.utils import paths
from spineseg.utils.files import read_json, write_json

PROVENANCE = "provenance.json"
PACKAGES = ("spineseg", "torch", "SimpleITK", "monai", "numpy", "pandas", "scipy", "scikit-learn")
CODE = ("lib", "profiles")  # what a commit has to hold for the code to be the committed one
NO_COMMIT = "unknown"


def commit() -> str:
    """The git commit of the code, `+changes` behind it where the code is not quite that."""
    try:
        return _git("rev-parse", "HEAD")[:12] + "+changes" * bool(_git("status", "-s", *CODE))
    except (OSError, subprocess.CalledProcessError):  # no git here, or not a clone
        return NO_COMMIT


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(paths.REPOSITORY), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Of Python and of these packages."""
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def origin_of(experiment: Experiment, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What all results of an experiment have in common; `runs` is the content of its runs.json."""
    return {
        "data": paths.dataset_name(experiment.data),
        "data_hash": _only(runs, "data_hash"),
        "split_hash": _only(runs, "split_hash"),
        "profile": asdict(experiment.profile),
        "seed": experiment.profile.seed,
        "commit": commit(),
        "versions": versions(),
    }


def _only(runs: list[dict[str, Any]], key: str) -> str:
    values = {run[key] for run in runs}
    if len(values) != 1:
        raise ValueError(f"the runs differ in {key}: {', '.join(sorted(values))}; train them again")
    return values.pop()


def record(folder: Path, origin: dict[str, Any], device: str) -> None:
    """Write provenance.json: the origin, device and hash of each file in a results folder.

    A file that is as it was recorded keeps what was recorded. `device` is that of the runs, for
    files that do not say so themselves.
    """
    before = _recorded(folder)
    origins: dict[str, Any] = {}
    files: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if path.name == PROVENANCE or path.name.startswith("."):
            continue
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        entry = before["files"].get(path.name, {})
        if entry.get("sha256") == sha256:
            key = entry["origin"]
            origins[key] = before["origins"][key]
        else:
            key = origin["commit"]
            while origins.get(key, before["origins"].get(key, origin)) != origin:
                key += "'"
            origins[key] = origin
            entry = {"sha256": sha256, "device": _devices(path, device), "origin": key}
        files[path.name] = entry
    write_json(folder / PROVENANCE, {"origins": origins, "files": files})


def _recorded(folder: Path) -> dict[str, Any]:
    path = folder / PROVENANCE
    return read_json(path) if path.is_file() else {"origins": {}, "files": {}}


def _devices(path: Path, device: str) -> str:
    """Those in a table's own column; else that of the runs."""
    if path.suffix != ".csv":
        return device
    table = pd.read_csv(path, dtype=str)
    named = sorted(set(table["device"].dropna())) if "device" in table else []
    return "; ".join(named) or device


def changed_files(folder: Path) -> list[str]:
    """Files of a results folder that are not as provenance.json recorded them, or missing.

    Raises ValueError where nothing was recorded.
    """
    recorded = _recorded(folder)["files"]
    if not recorded:
        raise ValueError(f"{folder}: lacks {PROVENANCE}; run `make reproduce` with this data")
    return [
        name
        for name, entry in recorded.items()
        if not (folder / name).is_file()
        or hashlib.sha256((folder / name).read_bytes()).hexdigest() != entry["sha256"]
    ]

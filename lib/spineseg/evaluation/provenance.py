"""Where results come from: commit, versions, devices, data, profile, and a hash of each file."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from spineseg.evaluation.result_files import PROVENANCE
from spineseg.experiment import Experiment
from spineseg.runs import RunRecord
from spineseg.utils.errors import UserError
from spineseg.utils.files import read_json, write_json
from spineseg.utils.versions import commit, versions


def origin_of(experiment: Experiment, records: Sequence[RunRecord]) -> dict[str, Any]:
    """What all results of an experiment have in common."""
    return origin(
        experiment,
        _only({record.data_hash for record in records}, "data_hash"),
        _only({record.split_hash for record in records}, "split_hash"),
    )


def origin(experiment: Experiment, data_hash: str, split_hash: str) -> dict[str, Any]:
    """Data, profile, commit and versions."""
    return {
        "data": experiment.data_name,
        "data_hash": data_hash,
        "split_hash": split_hash,
        "profile": asdict(experiment.profile),
        "commit": commit(),
        "versions": versions(),
    }


def _only(values: set[str], key: str) -> str:
    if len(values) != 1:
        what = f"the runs differ in {key}: {', '.join(sorted(values))}"
        raise UserError.at("runs", what, "train them again")
    return values.pop()


def record(folder: Path, origin: dict[str, Any], device: str) -> None:
    """Write provenance.json: the origin, device and hash of each file in a results folder.

    An unchanged file keeps its entry. `device` is that of the runs, for files that do not name
    their own.
    """
    before = _recorded(folder)
    origins: dict[str, Any] = {}
    files: dict[str, Any] = {}
    for path in sorted(each for each in folder.iterdir() if each.is_file()):
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
    nothing: dict[str, Any] = {"origins": {}, "files": {}}
    recorded: Any = read_json(path) if path.is_file() else nothing
    try:
        complete = all(entry["origin"] in recorded["origins"] for entry in _entries(recorded))
    except (LookupError, TypeError, AttributeError):
        complete = False
    if not complete:
        remedy = "restore it with git, or remove it and run this again"
        raise UserError.at(path, "damaged: not the origins of files", remedy)
    return recorded


def _entries(recorded: dict[str, Any]) -> list[dict[str, str]]:
    """The entry of each recorded file; an error of Python if one lacks its hash."""
    return [entry for entry in recorded["files"].values() if entry["sha256"]]


def device_names(devices: Iterable[str]) -> str:
    """The distinct devices in one text. Each of `devices` may itself be such a text."""
    return "; ".join(sorted({name for text in devices for name in text.split("; ")}))


def _devices(path: Path, device: str) -> str:
    """The devices in a table's own column, otherwise that of the runs."""
    if path.suffix != ".csv":
        return device
    try:
        table = pd.read_csv(path, dtype=str)
    except ValueError:  # not one of our tables
        return device
    return device_names(table["device"].dropna() if "device" in table else []) or device


def scored_scans(folder: Path) -> set[str]:
    """The hashes of the scans that the files of a results folder come from, if it has a record."""
    recorded = _recorded(folder)
    return {recorded["origins"][each["origin"]]["data_hash"] for each in _entries(recorded)}


def changed_files(folder: Path) -> dict[str, str]:
    """What became of the files of a results folder that are not as provenance.json recorded them.

    By name: that it is missing, or that it was changed. Raises UserError if nothing was recorded,
    or if the record is damaged.
    """
    recorded = _recorded(folder)["files"]
    if not recorded:
        remedy = "restore it with git, or run `spineseg tables` with this data and profile"
        raise UserError.at(folder, f"lacks {PROVENANCE}", remedy)
    found: dict[str, str] = {}
    for name, entry in recorded.items():
        if not (folder / name).is_file():
            found[name] = "does not exist any more"
        elif hashlib.sha256((folder / name).read_bytes()).hexdigest() != entry["sha256"]:
            found[name] = "changed since it was recorded"
    return found

"""What a run was made from, and whether it is finished."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from spineseg.data.cache import Cache, Grid
from spineseg.experiment import Experiment
from spineseg.fingerprint import training_code
from spineseg.methods import METHODS
from spineseg.profiles import Profile
from spineseg.utils.errors import UserError
from spineseg.utils.files import read_csv, read_json, write_json
from spineseg.utils.versions import PACKAGES, commit, versions

FINISHED = "run.json"
LOG = "log.csv"
ORIGIN = ("experiment", "model", "fold", "seed", "data_key", "code")


@dataclass(frozen=True)
class RunRecord:
    """What a run is made from and, once it is finished, how it was trained.

    Two runs of equal records, the part about the training aside, are the same run.
    """

    experiment: str  # its name
    model: str  # the method's name
    fold: str  # 0, 1, …, all or validation
    seed: int  # of the first weights, and of what is drawn in training
    data: str  # the folder of the scans on this machine
    data_key: str  # of the cache: scans, settings and code
    data_hash: str  # of the scans
    split_hash: str
    code: str  # fingerprint of the code that trains
    profile: Profile
    grid: Grid
    epochs: int
    started_from: dict[str, Any] | None  # ORIGIN of the run whose weights it starts from
    train: tuple[str, ...]  # case ids
    test: tuple[str, ...]
    # Known when the run is finished:
    device: str = ""
    precision: str = ""
    commit: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    training_seconds: float = 0.0

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        cache: Cache,
        model: str,
        fold: int | str,
        seed: int = 0,
        start: Path | None = None,
    ) -> RunRecord:
        """The record of a run to be trained, perhaps from the weights of the run `start`."""
        origin = asdict(load_record(start)) if start else {}
        return cls(
            experiment=experiment.name,
            model=model,
            fold=str(fold),
            seed=seed,
            data=str(experiment.data),
            data_key=cache.index["key"],
            data_hash=cache.index["data_hash"],
            split_hash=cache.index["split_hash"],
            code=training_code(model),
            profile=experiment.profile.tuned(model),
            grid=cache.grid(fold),
            epochs=experiment.epochs(model),
            started_from={key: origin[key] for key in ORIGIN} if start else None,
            train=tuple(cache.train_ids(fold)),
            test=tuple(cache.test_ids(fold)),
        )

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> RunRecord:
        """The record of plain values. Raises LookupError, TypeError or ValueError for others."""
        known = {"data": "", **{key: content[key] for key in REQUIRED}}
        known |= {each.name: content[each.name] for each in fields(cls) if each.name in content}
        grid = known["grid"]
        columns = tuple(grid["columns"])
        known["grid"] = Grid(grid["slices"], grid["size"], columns, grid.get("pixel"))
        known["profile"] = Profile(**known["profile"])
        known["train"], known["test"] = tuple(known["train"]), tuple(known["test"])
        record = _VALIDATOR.validate_python(known)
        if record.model not in METHODS or record.epochs < 1:
            raise ValueError(f"no such method, or no epochs: {record.title}")
        return record

    def to_json(self) -> dict[str, Any]:
        """Plain values, lists in place of tuples."""
        content = asdict(self)
        content["grid"]["columns"] = list(self.grid.columns)
        if self.grid.pixel is None:  # records of an older version lack it
            del content["grid"]["pixel"]
        return content | {"train": list(self.train), "test": list(self.test)}

    def what_to_train(self) -> dict[str, Any]:
        """`to_json` without what is known only when the run is finished."""
        return {key: value for key, value in self.to_json().items() if key in WHAT_TO_TRAIN}

    def without_path(self) -> dict[str, Any]:
        """`to_json` without the data's path, which differs between machines."""
        return {key: value for key, value in self.to_json().items() if key != "data"}

    @property
    def title(self) -> str:
        """The run in words, for progress bars."""
        return f"{self.model} fold {self.fold} seed {self.seed}"

    @property
    def data_name(self) -> str:
        """The name of the data set."""
        return self.as_experiment.data_name

    @property
    def as_experiment(self) -> Experiment:
        """The experiment that the run belongs to."""
        return Experiment(Path(self.data), self.profile)

    def differences(self, wanted: RunRecord) -> list[str]:
        """What differs from the wanted run. Only the settings that training depends on count."""
        names = []
        for key in WHAT_TO_TRAIN:
            if key == "profile":
                mine, theirs = (
                    each.profile.training_settings(self.model) for each in (self, wanted)
                )
                names += [setting for setting in theirs if mine[setting] != theirs[setting]]
            elif key != "data" and getattr(self, key) != getattr(wanted, key):
                names.append(key)
        return list(dict.fromkeys(names))  # `epochs` is a setting and a fact


_VALIDATOR = TypeAdapter(RunRecord)
AFTERWARDS = ("device", "precision", "commit", "versions", "training_seconds")
WHAT_TO_TRAIN = tuple(each.name for each in fields(RunRecord) if each.name not in AFTERWARDS)
REQUIRED = (*(name for name in WHAT_TO_TRAIN if name != "data"), "device")


def is_finished(folder: Path) -> bool:
    """Whether this folder holds a finished run."""
    return (folder / FINISHED).is_file()


def load_record(folder: Path) -> RunRecord:
    """The record of a finished run. Raises UserError for any other folder, and if there is none."""
    if not folder.exists():
        raise UserError.at(folder, "no such folder", "check the name, or train this run first")
    if not is_finished(folder):
        raise UserError.at(folder, "not a finished run", "train it to its end first")
    path = folder / FINISHED
    remedy = "remove it and run the same training again"
    content = read_json(path, (*REQUIRED, "data"), remedy)
    try:
        return RunRecord.from_json(content)
    except (LookupError, TypeError, ValueError):
        raise UserError.at(path, "damaged: not the record of a run", remedy) from None


def retrain_remedy(folder: Path) -> str:
    """What to do about a run of which a file is lost."""
    return f"remove {folder} and train it again"


def require_same_record(found: RunRecord, wanted: RunRecord, folder: Path) -> None:
    """Raise UserError if `folder` holds a finished run that was made from something else."""
    if names := found.differences(wanted):
        what = f"holds a run that differs in {', '.join(names)}"
        remedy = "remove the folder, or give the data folder or the profile another name"
        raise UserError.at(folder, what, remedy)


def can_resume(begun: RunRecord, wanted: RunRecord, folder: Path) -> bool:
    """Whether an unfinished run is the wanted one; if not, say so on stderr."""
    names = begun.differences(wanted)
    if names:
        words = f"begun with other {', '.join(names)}; training starts from scratch"
        print(f"{folder}: {words}", file=sys.stderr)
    return not names


def _require_finite(folder: Path) -> None:
    """Raise UserError if a loss of a run is infinite or not a number."""
    log = read_csv(folder / LOG, ("epoch",), ("train_loss",), retrain_remedy(folder))
    diverged = log[~np.isfinite(log["train_loss"])]
    if len(diverged):
        what = f"training diverged: its loss is not a number in epoch {diverged['epoch'].iloc[0]}"
        raise UserError.at(folder, what, "remove it, and lower the learning rate in the profile")


def finish_run(
    folder: Path,
    record: RunRecord,
    device: str,
    precision: str,
    seconds: float,
    packages: tuple[str, ...] = (),
) -> None:
    """Write run.json, which marks the run as finished. Raises UserError if training diverged."""
    _require_finite(folder)
    finished = replace(
        record,
        device=device,
        precision=precision,
        commit=commit(),
        versions=versions((*PACKAGES, *packages)),
        training_seconds=round(seconds, 1),
    )
    write_json(folder / FINISHED, finished.to_json())

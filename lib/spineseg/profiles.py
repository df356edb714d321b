"""Settings: every setting of an experiment, read from profiles/*.yaml and validated."""

import csv
import math
import reprlib
from collections.abc import Hashable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from spineseg.methods import NNUNET
from spineseg.utils.errors import Problem, UserError
from spineseg.utils.paths import PROFILES, slug

CACHE_SETTINGS = ("image_size", "margin", "folds", "split_seed")
NNUNET_SETTINGS = ("nnunet_epochs", "nnunet_iterations")
SETTINGS_AFTER_TRAINING = ("name", "min_test_patients", "benchmark_rows")
LARGEST_FILE = 1 << 16  # bytes
TUNED = PROFILES / "tuned.csv"  # profile, model, learning_rate, epochs
ONE_PER_LINE = "write one `setting: value` per line"
UNKNOWN = ("unexpected_keyword_argument", "multiple_argument_values")  # errors of pydantic

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Slices = Annotated[int, Field(ge=1, le=1_000_000_000)]
Rows = Annotated[int, Field(ge=16, le=4096)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class Profile:
    """The settings of an experiment. `paper` has the paper's; each file says how it differs.

    The bounds only exclude values without meaning: a value within them may still be slow or train
    badly. Raises pydantic.ValidationError, a ValueError, for any other value.
    """

    name: str
    image_size: Rows  # largest rows (= columns) of a unified slice, pixels
    margin: Annotated[float, Field(ge=0, le=1)]  # kept on each side of the labels, share of width
    width: Annotated[int, Field(ge=1, le=1024)]  # channels of the first stage of a network
    stages: Annotated[int, Field(ge=2, le=6)]  # how often a U-Net or a SegNet halves its maps
    folds: Annotated[int, Field(ge=2, le=10_000)]  # parts of the cross-validation
    min_test_patients: Count | None  # run folds until this many patients are tested; None: all
    epochs: Count
    slices_per_epoch: Slices | None  # slices drawn per epoch; None: each training slice once
    test_slices: Slices | None  # held-out slices in the test loss of an epoch; None: all
    batch_size: Annotated[int, Field(ge=2, le=10_000)]  # slices; image pooling with BN needs two
    volume_batch_size: Annotated[int, Field(ge=1, le=10_000)]  # volumes, for U-Net-3D
    optimizer: Literal["sgd", "adamw"]
    learning_rate: Annotated[float, Field(ge=1e-12, le=100)]
    weight_decay: Annotated[float, Field(ge=0, le=100)]
    schedule: Literal["exponential", "onecycle"]  # exponential: x 0.99 per epoch (Eq. 4)
    augment: bool
    finetune_epochs: Count | None  # from weights of simulated patients; None: from scratch
    nnunet_epochs: Count
    nnunet_iterations: Count  # batches per epoch of nnU-Net
    benchmark_rows: Rows  # rows of the slices for time and memory, 880 in the paper
    split_seed: Annotated[int, Field(ge=0, le=4000)]  # of the folds

    def cache_settings(self) -> dict[str, Any]:
        """The settings that preprocessed scans depend on."""
        return {setting: getattr(self, setting) for setting in CACHE_SETTINGS}

    def training_settings(self, model: str) -> dict[str, Any]:
        """The settings that the weights of a method depend on, given the cache.

        They are those of this profile as it is; see `tuned`.
        """
        if model == NNUNET:
            return {setting: getattr(self, setting) for setting in NNUNET_SETTINGS}
        others = {*CACHE_SETTINGS, *NNUNET_SETTINGS, *SETTINGS_AFTER_TRAINING}
        return {setting: value for setting, value in asdict(self).items() if setting not in others}

    def run_settings(self, model: str) -> dict[str, Any]:
        """The settings that a run of a method depends on: its cache's and its training's.

        They are those of this profile as it is; see `tuned`.
        """
        return self.cache_settings() | self.training_settings(model)

    def tuned(self, model: str) -> "Profile":
        """The profile with the learning rate and the epochs that were chosen for a method, if any.

        They are in profiles/tuned.csv; `spineseg study` searched for them.
        """
        try:
            return replace(self, **tuned_settings().get((self.name, model), {}))
        except ValidationError as error:
            raise UserError(*_problems(error, TUNED)) from None

    def folds_to_run(self, patients: int) -> list[int]:
        """The first folds that together test at least `min_test_patients` patients, or all folds.

        Smaller folds come first (see `split_folds`).
        """
        smaller, larger = divmod(patients, self.folds)
        sizes = [smaller] * (self.folds - larger) + [smaller + 1] * larger
        if self.min_test_patients is None:
            return list(range(self.folds))
        return [fold for fold in range(self.folds) if sum(sizes[:fold]) < self.min_test_patients]


def load_profile(name: str | Path) -> Profile:
    """Read the profile of that name in profiles/, or the given .yaml file.

    Raises UserError for an unknown name and for a file that cannot be read. For a file with bad
    settings, the error has one problem for all unknown ones, one for all missing ones, and one for
    each bad value.
    """
    path = Path(name) if str(name).endswith(".yaml") else PROFILES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PROFILES.glob("*.yaml")))
        raise UserError.at(name, "no such profile", f"choose one of {known}, or give a .yaml file")
    settings = _read_settings(path)
    name = slug(path.stem)
    if not name:
        raise UserError.at(path, "its name has no letters or digits", "rename the file")
    if (PROFILES / f"{name}.yaml").is_file() and path.resolve().parent != PROFILES:
        what = f"{name} is the name of a profile of the project"
        raise UserError.at(path, what, "rename the file")
    try:
        return Profile(name, **settings)
    except ValidationError as error:
        raise UserError(*_problems(error, path)) from None


def tuned_settings() -> dict[tuple[str, str], dict[str, Any]]:
    """The settings chosen for a profile's name and a method. None are chosen for other pairs.

    Raises UserError for a line that cannot be read and for one that repeats another.
    """
    if not TUNED.is_file():
        return {}
    chosen: dict[tuple[str, str], dict[str, Any]] = {}
    with TUNED.open(encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file)
        for row in lines:
            try:
                pair = row["profile"], row["model"]
                settings = {
                    "learning_rate": float(row["learning_rate"]),
                    "epochs": int(row["epochs"]),
                }
            except (KeyError, TypeError, ValueError):
                what = f"line {lines.line_num} lacks a profile, a model, a rate or epochs"
                raise UserError.at(TUNED, what, "correct it") from None
            if pair in chosen:
                what = f"line {lines.line_num} repeats {', '.join(pair)}"
                raise UserError.at(TUNED, what, "remove one of the two lines")
            chosen[pair] = settings
    return chosen


class _FlatLoader(yaml.SafeLoader):
    """Reads one map of plain keys to plain values.

    YAML can also nest, tag and repeat by alias, so that a short text gets endless, large or code.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        event = self.peek_event()
        expected = yaml.ScalarEvent if parent else yaml.MappingStartEvent
        if not isinstance(event, expected) or event.tag is not None:
            line = event.start_mark.line + 1  # type: ignore[union-attr]
            raise yaml.YAMLError(f"line {line} is more than a setting and its value")
        node = super().compose_node(parent, index)
        assert node is not None
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        if repeated := sorted({key for key in keys if keys.count(key) > 1}):
            raise yaml.YAMLError(f"repeated settings: {_listed(repeated)}")
        return super().construct_mapping(node, deep)


def _read_settings(path: Path) -> dict[str, Any]:
    """The settings of a file and their values, not validated yet."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise UserError.at(path, f"larger than {LARGEST_FILE // 1024} KiB", ONE_PER_LINE)
        settings = yaml.load(data.decode("utf-8-sig"), _FlatLoader)
    except OSError as error:
        what, remedy = f"cannot be read ({error.strerror})", "check its permissions"
        raise UserError.at(path, what, remedy) from None
    except UnicodeDecodeError:
        raise UserError.at(path, "not UTF-8 text", "save it as UTF-8") from None
    except UserError:
        raise
    # Python cannot hold every number and date that YAML can write.
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:400]
        raise UserError.at(path, f"not readable as a profile ({reason})", ONE_PER_LINE) from None
    if settings is None:
        raise UserError.at(path, "has no settings", ONE_PER_LINE)
    return {str(setting): value for setting, value in settings.items()}


def _problems(error: ValidationError, path: Path) -> list[Problem]:
    faults = error.errors(include_url=False)
    unknown = sorted(str(fault["loc"][0]) for fault in faults if fault["type"] in UNKNOWN)
    missing = [str(fault["loc"][0]) for fault in faults if fault["type"] == "missing"]
    problems = [_bad_value(f, path) for f in faults if f["type"] not in (*UNKNOWN, "missing")]
    if unknown:
        problems.append(Problem(path, f"unknown settings: {_listed(unknown)}", "remove them"))
    if missing:
        remedy = "add them as in profiles/laptop.yaml"
        problems.append(Problem(path, f"missing settings: {_listed(missing)}", remedy))
    return problems


def _bad_value(fault: ErrorDetails, path: Path) -> Problem:
    """pydantic says `Input should be ...`."""
    remedy = fault["msg"].replace("Input", "it", 1)
    if fault["type"] == "float_type" and (number := _number(fault["input"])) is not None:
        remedy = f"{remedy}: write {number}"
    return Problem(path, f"{fault['loc'][0]} is {_shown(fault['input'])}", remedy)


def _number(text: object) -> float | None:
    """The number that a text means to Python, such as 4e-3."""
    try:
        return float(str(text))
    except ValueError:
        return None


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 9} more" if len(names) > 9 else ""
    return ", ".join(name[:40] for name in names[:9]) + more


def _shown(value: object) -> str:
    """A value as Python writes it, shortened; large numbers as a power of ten."""
    if isinstance(value, int) and abs(value) > 10**15:
        return f"about 10^{math.floor(abs(value).bit_length() * math.log10(2))}"
    return reprlib.repr(value)

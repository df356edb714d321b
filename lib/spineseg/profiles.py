"""How much work a run does: every knob, read from profiles/*.yaml."""

import dataclasses
import math
import reprlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

import yaml

from spineseg.methods import NNUNET
from spineseg.utils.errors import UserError
from spineseg.utils.paths import PROFILES, slug

CACHE_KNOBS = ("image_size", "margin", "folds", "seed")
NNUNET_KNOBS = ("optimizer", "nnunet_epochs", "nnunet_iterations", "seed")
LATER_KNOBS = ("name", "min_test_patients", "benchmark_rows")  # no run's weights rest on them
LARGEST_FILE = 1 << 16  # bytes
PLAIN = "write one `knob: value` a line"
# Lowest and highest value that makes sense. What lies between may still be slow or train badly.
LIMITS = {
    "image_size": (16, 4096),
    "margin": (0, 1),
    "width": (1, 1024),
    "folds": (2, 10_000),
    "min_test_patients": (1, 1_000_000),
    "epochs": (1, 1_000_000),
    "slices_per_epoch": (1, 1_000_000_000),
    "test_slices": (1, 1_000_000_000),
    "batch_size": (2, 10_000),  # image pooling with BN needs two
    "volume_batch_size": (1, 10_000),
    "learning_rate": (1e-12, 100),
    "weight_decay": (0, 100),
    "finetune_epochs": (1, 1_000_000),
    "nnunet_epochs": (1, 1_000_000),
    "nnunet_iterations": (1, 1_000_000),
    "benchmark_rows": (16, 4096),
    "seed": (0, 4000),  # times a million it is still a seed of 32 bits
}


@dataclass(frozen=True)
class Profile:
    """One amount of work. `full` is the paper's; the others say in their file how they differ."""

    name: str
    image_size: int  # largest rows (= columns) of a unified slice, pixels
    margin: float  # kept beside the label band on either side, as a fraction of the width
    width: int  # channels of the first stage of a network
    folds: int  # parts of the cross-validation
    min_test_patients: int | None  # run folds until this many patients were tested; None: all folds
    epochs: int
    slices_per_epoch: int | None  # slices drawn an epoch; None: each training slice once
    test_slices: int | None  # held-out slices in the epoch's test loss; None: all
    batch_size: int  # slices
    volume_batch_size: int  # volumes, for U-Net-3D
    optimizer: Literal["sgd", "adamw"]
    learning_rate: float
    weight_decay: float
    schedule: Literal["exponential", "onecycle"]  # exponential: x 0.99 an epoch (Eq. 4)
    augment: bool
    finetune_epochs: int | None  # on scans, from phantom weights on; None: from scratch
    nnunet_epochs: int
    nnunet_iterations: int  # batches an epoch of nnU-Net
    benchmark_rows: int  # rows of the slices that time and memory are measured on, 880 in the paper
    seed: int

    def cache_knobs(self) -> dict[str, Any]:
        """The knobs that preprocessed scans rest on."""
        return {knob: getattr(self, knob) for knob in CACHE_KNOBS}

    def training_knobs(self, model: str) -> dict[str, Any]:
        """The knobs that the weights of a method's runs rest on, given the cache."""
        if model == NNUNET:
            return {knob: getattr(self, knob) for knob in NNUNET_KNOBS}
        others = {*CACHE_KNOBS, *NNUNET_KNOBS, *LATER_KNOBS} - {"optimizer", "seed"}
        return {knob: value for knob, value in asdict(self).items() if knob not in others}

    def folds_to_run(self, patients: int) -> list[int]:
        """The first folds that together hold out at least `min_test_patients` patients, or all of them.

        Smaller folds come first (see `split_folds`).
        """
        smaller, larger = divmod(patients, self.folds)
        sizes = [smaller] * (self.folds - larger) + [smaller + 1] * larger
        if self.min_test_patients is None:
            return list(range(self.folds))
        return [fold for fold in range(self.folds) if sum(sizes[:fold]) < self.min_test_patients]


def load_profile(name: str | Path) -> Profile:
    """Read the profile of that name in profiles/, or the given .yaml file.

    Raises UserError, with one clear line, for an unknown name, a missing or unknown knob, or a
    value of the wrong type.
    """
    path = Path(name) if str(name).endswith(".yaml") else PROFILES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PROFILES.glob("*.yaml")))
        raise UserError.at(name, "no such profile", f"choose one of {known}, or give a .yaml file")
    knobs = _read_knobs(path)
    wanted = {field.name for field in dataclasses.fields(Profile)} - {"name"}
    if odd := sorted(map(str, set(knobs) ^ wanted)):
        remedy = "give those of profiles/quick.yaml"
        raise UserError.at(path, f"missing or unknown knobs: {_listed(odd)}", remedy)
    name = slug(path.stem)
    if (PROFILES / f"{name}.yaml").is_file() and path.resolve().parent != PROFILES:
        raise UserError.at(
            path, f"{name} is the name of a profile of the project", "rename the file"
        )
    profile = Profile(name=name, **knobs)
    _check_values(profile, path)
    return profile


def _read_knobs(path: Path) -> dict[str, Any]:
    """The knobs of a file that holds them flat: no list, no alias, no tag, none twice.

    YAML can nest, repeat and tag, and so make a short file endless, large or code.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise UserError.at(path, f"larger than {LARGEST_FILE // 1024} KiB", PLAIN)
        text = data.decode("utf-8-sig")
        keys = _plain_keys(text, path)
        knobs = yaml.safe_load(text)
    except OSError as error:
        what, remedy = f"cannot be read ({error.strerror})", "check its permissions"
        raise UserError.at(path, what, remedy) from None
    except UnicodeDecodeError:
        raise UserError.at(path, "not UTF-8 text", "save it as UTF-8") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError.at(path, f"not readable as YAML ({reason})", PLAIN) from None
    except ValueError as error:  # a number or date that Python cannot hold
        if isinstance(error, UserError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError.at(path, f"a value cannot be read ({reason})", PLAIN) from None
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise UserError.at(path, f"says twice: {_listed(twice)}", "keep one of the two")
    return knobs


def _plain_keys(text: str, path: Path) -> list[str]:
    """The keys in a text that maps plain keys to plain values; UserError for any other."""
    scalars: list[str] = []
    maps = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        maps += isinstance(event, yaml.MappingStartEvent)
        if (
            isinstance(event, yaml.AliasEvent | yaml.SequenceStartEvent)
            or maps > 1
            or getattr(event, "tag", None) is not None
            or (isinstance(event, yaml.ScalarEvent) and not maps)
        ):
            line = event.start_mark.line + 1  # type: ignore[union-attr]
            what = f"line {line} is more than a knob and its value"
            raise UserError.at(path, what, PLAIN)
        if isinstance(event, yaml.ScalarEvent):
            scalars.append(event.value)
    if not maps:
        raise UserError.at(path, "has no knobs", PLAIN)
    return scalars[::2]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 9} more" if len(names) > 9 else ""
    return ", ".join(name[:40] for name in names[:9]) + more


def _check_values(profile: Profile, path: Path) -> None:
    for knob, hint in get_type_hints(Profile).items():
        value = getattr(profile, knob)
        allowed = getattr(hint, "__args__", (hint,))
        fits = value in allowed if isinstance(allowed[0], str) else _is_one_of(value, allowed)
        if not fits:
            expected = " or ".join(getattr(a, "__name__", str(a)) for a in allowed)
            raise UserError.at(path, f"{knob} is {_shown(value)}", f"it should be {expected}")
        if knob in LIMITS and value is not None:
            low, high = LIMITS[knob]
            if not low <= value <= high:
                remedy = f"it should be between {low} and {high}"
                raise UserError.at(path, f"{knob} is {_shown(value)}", remedy)


def _is_one_of(value: object, types: tuple[type, ...]) -> bool:
    return type(value) in types or (type(value) is int and float in types)


def _shown(value: object) -> str:
    """A value as Python writes it, shortened; large numbers roughly."""
    if isinstance(value, int) and abs(value) > 10**15:
        return f"about 10^{math.floor(abs(value).bit_length() * math.log10(2))}"
    return reprlib.repr(value)

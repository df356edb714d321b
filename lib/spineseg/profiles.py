"""How much work a run does: every knob, read from profiles/*.yaml."""

import dataclasses
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

import yaml

from spineseg.methods import NNUNET
from spineseg.paths import PROFILES, slug

CACHE_KNOBS = ("max_size", "margin", "folds", "seed")
NNUNET_KNOBS = ("optimizer", "nnunet_epochs", "nnunet_iterations", "seed")
LATER_KNOBS = ("name", "held_out", "cost_rows")  # no run's weights rest on them


class ProfileError(ValueError):
    """A profile that does not exist or says something unknown."""


@dataclass(frozen=True)
class Profile:
    """One amount of work. `full` is the paper's; the others say in their file how they differ."""

    name: str
    max_size: int  # largest rows (= columns) of a unified slice, pixels
    margin: float  # kept beside the label band on either side, as a fraction of the width
    width: int  # channels of the first stage of a network
    folds: int  # parts of the cross-validation
    held_out: int | None  # run folds until this many patients were tested; None: all folds
    epochs: int
    images_per_epoch: int | None  # slices drawn an epoch; None: each training slice once
    test_images: int | None  # held-out slices in the epoch's test loss; None: all
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
    cost_rows: int  # rows of the slices that time and memory are measured on, 880 in the paper
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
        """The first folds that together hold out at least `held_out` patients, or all of them.

        Smaller folds come first (see `split_folds`).
        """
        smaller, larger = divmod(patients, self.folds)
        sizes = [smaller] * (self.folds - larger) + [smaller + 1] * larger
        if self.held_out is None:
            return list(range(self.folds))
        return [fold for fold in range(self.folds) if sum(sizes[:fold]) < self.held_out]


def load_profile(name: str | Path) -> Profile:
    """Read the profile of that name in profiles/, or the given .yaml file.

    Raises ProfileError, with one clear line, for an unknown name, a missing or unknown knob, or a
    value of the wrong type.
    """
    path = Path(name) if str(name).endswith(".yaml") else PROFILES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PROFILES.glob("*.yaml")))
        raise ProfileError(f"{name}: no such profile; choose one of {known}, or give a .yaml file")
    try:
        knobs = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ProfileError(
            f"{path}: not readable as YAML; {' '.join(str(error).split())}"
        ) from None
    if not isinstance(knobs, dict):
        raise ProfileError(f"{path}: not a list of knobs; write one `knob: value` a line")
    wanted = {field.name for field in dataclasses.fields(Profile)} - {"name"}
    if odd := sorted(map(str, set(knobs) ^ wanted)):
        raise ProfileError(f"{path}: missing or unknown knobs: {', '.join(odd)}")
    name = slug(path.stem)
    if (PROFILES / f"{name}.yaml").is_file() and path.resolve().parent != PROFILES:
        raise ProfileError(
            f"{path}: {name} is the name of a profile of the project; rename the file"
        )
    profile = Profile(name=name, **knobs)
    _check_types(profile, path)
    if profile.batch_size < 2:
        raise ProfileError(f"{path}: batch_size is 1; image pooling with BN needs at least 2")
    return profile


def _check_types(profile: Profile, path: Path) -> None:
    for knob, hint in get_type_hints(Profile).items():
        value = getattr(profile, knob)
        allowed = getattr(hint, "__args__", (hint,))
        fits = value in allowed if isinstance(allowed[0], str) else _is_one_of(value, allowed)
        if not fits:
            expected = " or ".join(getattr(a, "__name__", str(a)) for a in allowed)
            raise ProfileError(f"{path}: {knob} is {value!r}; it should be {expected}")


def _is_one_of(value: object, types: tuple[type, ...]) -> bool:
    return type(value) in types or (type(value) is int and float in types)

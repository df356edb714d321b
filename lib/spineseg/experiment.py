"""An experiment: one data set under one profile. Everything made from the pair has both names."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from spineseg.methods import NNUNET
from spineseg.profiles import Profile, load_profile
from spineseg.utils import paths
from spineseg.utils.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

# In place of a fold's number:
ALL = "all"  # train on every case
VALIDATION = "validation"  # fold 0 with its test cases left out, and those of fold 1 held out
# In place of a folder: patients simulated on the target grid, 172 or the given number of them,
# as the phantom shows them or with any contrast (see `phantom/randomised.py`).
SIMULATED = re.compile(r"(simulated|randomised)(?:-([1-9][0-9]{0,3}))?")
PATIENTS = 172  # of the paper
PHANTOM_RECORD = "phantom.json"  # is in the folder of every complete phantom set
CLEANED_UP = "-cleaned-up"  # ends the name of a results folder with repaired levels


@dataclass(frozen=True)
class Experiment:
    """The names and folders of one (data, profile) pair. It reads no scans."""

    data: Path
    profile: Profile

    @classmethod
    def of(cls, data: str | Path | None = None, profile: str | Path = "laptop") -> Experiment:
        """The experiment of a data folder and a profile's name or file.

        `data` may also be empty (the phantom), `simulated` or, for fewer patients, `simulated-20`,
        and likewise `randomised`.
        Raises UserError if there is no such folder or profile.
        """
        if SIMULATED.fullmatch(str(data)):
            return cls(Path(str(data)), load_profile(profile))
        folder = paths.dataset_folder(data) if data else paths.default_data()
        if folder == paths.default_data().resolve():  # data/ can be a link to another disk
            folder = paths.default_data()
        if data and not folder.is_dir():
            a_file = "a file, not a folder of scans with masks"
            what = a_file if folder.exists() else "no such folder"
            raise UserError.at(folder, what, "check the name")
        name = paths.dataset_name(folder)
        if folder != paths.default_data() and (name == "phantom" or SIMULATED.fullmatch(name)):
            what = "its name is that of one of the project's own data sets"
            raise UserError.at(folder, what, "rename it")
        return cls(folder, load_profile(profile))

    @property
    def phantom(self) -> Experiment:
        """The default phantom under the same profile."""
        return Experiment(paths.default_data(), self.profile)

    @property
    def pretraining(self) -> Experiment:
        """Where the weights come from that runs on scans start with: as many rows, simulated."""
        return Experiment(Path("simulated"), self.profile)

    @property
    def is_simulated(self) -> bool:
        """Whether the data are simulated on the target grid itself, without files of scans."""
        return SIMULATED.fullmatch(str(self.data)) is not None

    @property
    def is_synthetic(self) -> bool:
        """Whether the data are simulated patients or the default phantom.

        A run of the phantom that was handed on has the phantom's name in place of its folder.
        """
        return self.is_simulated or self.data_name == paths.default_data().name

    @property
    def simulated_patients(self) -> int:
        """The number of patients to simulate on the target grid."""
        found = SIMULATED.fullmatch(str(self.data))
        return int(found[2]) if found and found[2] else PATIENTS

    @property
    def is_randomised(self) -> bool:
        """Whether the simulated scans have any contrast, resolution and quality."""
        found = SIMULATED.fullmatch(str(self.data))
        return found is not None and found[1] == "randomised"

    @property
    def starts_from_simulated(self) -> bool:
        """Whether runs start from the weights of a run on all simulated patients."""
        synthetic = self == self.phantom or self.is_simulated
        return self.profile.finetune_epochs is not None and not synthetic

    def epochs(self, model: str) -> int:
        """The number of epochs of a method's run.

        From weights of simulated patients, nnU-Net takes the same share of its epochs as the other
        networks take of the profile's.
        """
        profile = self.profile
        finetune = profile.finetune_epochs if self.starts_from_simulated else None
        if model == NNUNET:
            share = 1 if finetune is None else finetune / profile.epochs
            return max(1, round(profile.nnunet_epochs * share))
        return profile.tuned(model).epochs if finetune is None else finetune

    @property
    def data_name(self) -> str:
        return str(self.data) if self.is_simulated else paths.dataset_name(self.data)

    @property
    def name(self) -> str:
        return f"{self.data_name}-{self.profile.name}"

    @property
    def runs(self) -> Path:
        return paths.root() / "runs" / self.name

    @property
    def results(self) -> Path:
        return paths.root() / "results" / self.name

    def results_on(self, data: str, clean_up: bool) -> Path:
        """The folder of the scores of the experiment's runs on the data set of that name."""
        ending = CLEANED_UP if clean_up else ""
        return paths.root() / "results" / f"{self.name}-on-{data}{ending}"

    @property
    def results_cleaned_up(self) -> Path:
        """The folder of the scores of the experiment's test cases with repaired levels."""
        return paths.root() / "results" / f"{self.name}{CLEANED_UP}"

    @property
    def figures(self) -> Path:
        return paths.root() / "figures" / self.name

    def run(self, model: str, fold: int | str, seed: int = 0) -> Path:
        """The folder of one run; `fold` is 0, 1, …, ALL or VALIDATION."""
        return self.runs / f"{model}-fold-{fold}-seed-{seed}"

    def with_settings(self, **settings: float) -> Experiment:
        """The experiment of the same data with other settings, which its name tells."""
        changes = [f"{setting}-{value:g}" for setting, value in settings.items()]
        name = "-".join([self.profile.name, *changes])
        profile = replace(self.profile, name=name, **settings)  # type: ignore[arg-type]
        return replace(self, profile=profile)

    def stamp(self, table: pd.DataFrame, device: str | pd.Series = "any") -> pd.DataFrame:
        """Put the columns data, profile and device before those of a table.

        The device `any` means that the numbers do not depend on it.
        """
        import pandas as pd

        keys = {"data": self.data_name, "profile": self.profile.name}
        return pd.DataFrame({**keys, "device": device}, index=table.index).join(table)

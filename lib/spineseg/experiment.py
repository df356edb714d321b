"""An experiment: one data set under one profile. All that is made from the pair carries both names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from spineseg.profiles import Profile, load_profile
from spineseg.utils import paths
from spineseg.utils.errors import UserError

if TYPE_CHECKING:
    from spineseg.data.layouts import Case, LabelledFolder

ALL = "all"


@dataclass(frozen=True)
class Experiment:
    """Where the cache, runs, results and figures of one (data, profile) pair lie."""

    data: Path
    profile: Profile

    @classmethod
    def of(cls, data: str | Path | None = None, profile: str | Path = "quick") -> Experiment:
        """The experiment of a data folder (None or '': the phantom) and a profile's name or file."""

        folder = paths.dataset_folder(data) if data else paths.default_data()
        if data and not folder.is_dir():
            what = (
                "a file, not a folder of scans with masks" if folder.exists() else "no such folder"
            )
            raise UserError.at(folder, what, "check the name")
        if folder != paths.default_data() and paths.dataset_name(folder) == "phantom":
            raise UserError.at(folder, "its name is that of the project's own phantom", "rename it")
        return cls(folder, load_profile(profile))

    @property
    def phantom(self) -> Experiment:
        """The default phantom under the same profile."""
        return Experiment(paths.default_data(), self.profile)

    @property
    def starts_from_phantom(self) -> bool:
        """Whether runs start from the weights of a run on the whole phantom."""
        return self.profile.finetune_epochs is not None and self != self.phantom

    @property
    def name(self) -> str:
        return f"{paths.dataset_name(self.data)}-{self.profile.name}"

    @property
    def runs(self) -> Path:
        return paths.root() / "runs" / self.name

    @property
    def results(self) -> Path:
        return paths.root() / "results" / self.name

    @property
    def figures(self) -> Path:
        return paths.root() / "figures" / self.name

    def cases(self) -> list[Case]:
        """The scans of the data folder, sorted; UserError where there are none or two of a case."""
        return self._folder().cases()

    def checked_cases(self) -> list[Case]:
        """The scans, after every file was read; UserError lists all that is wrong."""
        from spineseg.data.check import require_valid

        self._folder()
        return require_valid(self.data, progress=True)

    def files(self) -> list[Path]:
        """Every image and mask, sound or not; UserError where there are none."""
        folder = self._folder()
        groups = (*folder.images.values(), *folder.masks.values())
        return [file for group in groups for file in group]

    def folds_to_run(self) -> list[int]:
        """The folds that the profile asks for on this data."""
        return self.profile.folds_to_run(self._folder().patients())

    def _folder(self) -> LabelledFolder:
        from spineseg.data.layouts import open_labelled

        if self.data == paths.default_data() and not self.data.is_dir():
            remedy = "run `make reproduce`, or `spineseg data phantom data/phantom`"
            raise UserError.at(self.data, "the phantom is not made yet", remedy)
        return open_labelled(self.data)

    def stamp(self, table: pd.DataFrame, device: str | pd.Series = "any") -> pd.DataFrame:
        """The table behind the columns data, profile, device (`any`: the device plays no part)."""
        keys = {"data": paths.dataset_name(self.data), "profile": self.profile.name}
        return pd.DataFrame({**keys, "device": device}, index=table.index).join(table)

    @property
    def epochs(self) -> int:
        """How long a run of this experiment trains."""
        if self.starts_from_phantom and self.profile.finetune_epochs is not None:
            return self.profile.finetune_epochs
        return self.profile.epochs

    def run(self, model: str, fold: int | str) -> Path:
        """The folder of one run; `fold` is 0, 1, … or 'all'."""
        return self.runs / f"{model}-fold-{fold}"

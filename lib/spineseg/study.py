"""A study: one data set under one profile. All that is made from the pair carries both names."""

from dataclasses import dataclass
from pathlib import Path

from spineseg import paths
from spineseg.profiles import Profile, load_profile

ALL = "all"


@dataclass(frozen=True)
class Study:
    """Where the cache, runs, results and figures of one (data, profile) pair lie."""

    data: Path
    profile: Profile

    @classmethod
    def of(cls, data: str | Path | None = None, profile: str | Path = "quick") -> "Study":
        """The study of a data folder (None or '': the phantom) and a profile's name or file."""
        folder = Path(data).expanduser().resolve() if data else paths.default_data()
        return cls(folder, load_profile(profile))

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

    def run(self, model: str, fold: int | str) -> Path:
        """The folder of one run; `fold` is 0, 1, … or 'all'."""
        return self.runs / f"{model}-fold-{fold}"

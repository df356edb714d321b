"""Where files are. SPINESEG_ROOT moves data, cache, runs, results and figures elsewhere."""

import os
import re
import unicodedata
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
PROFILES = REPOSITORY / "profiles"
PAPER = REPOSITORY / "results" / "paper"
BUNDLED = REPOSITORY / "weights"  # the network for those who have no run of their own


def root() -> Path:
    """The folder that holds data/, cache/, runs/, results/ and figures/."""
    return Path(os.environ.get("SPINESEG_ROOT") or REPOSITORY).resolve()


def default_data() -> Path:
    """The phantom that everything runs on unless told otherwise."""
    return root() / "data" / "phantom"


def dataset_folder(data: str | Path) -> Path:
    """The folder that names a data set: `train` itself says nothing, its parent does."""
    folder = Path(data).expanduser().resolve()
    return folder.parent if folder.name == "train" else folder


def dataset_name(data: Path) -> str:
    """A data folder's name as results carry it."""
    return slug(dataset_folder(data).name) or "data"


def slug(name: str) -> str:
    """Lower-case letters of any alphabet, digits and single hyphens; empty if there are none."""
    return re.sub(r"[\W_]+", "-", unicodedata.normalize("NFKC", name).lower()).strip("-")

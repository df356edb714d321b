"""How fast the machine is put to use: `spineseg bench` measures, notebook 11 shows."""

from pathlib import Path

import pandas as pd

from spineseg.utils import paths

TABLES = ("speed", "growth", "start")


def folder() -> Path:
    """Where this machine's own tables lie, once `spineseg bench` has written them."""
    return paths.root() / "results" / "benchmark"


def table_file(name: str) -> Path:
    """A table of TABLES: this machine's own, or where there is none the one that comes along."""
    own = folder() / f"{name}.csv"
    return own if own.is_file() else paths.REPOSITORY / "results" / "benchmark" / own.name


def read(name: str) -> pd.DataFrame:
    """A table of TABLES; its column `device` says what it was measured on."""
    return pd.read_csv(table_file(name))

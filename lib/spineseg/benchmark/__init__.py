"""How fast this machine runs the project: `spineseg bench` measures, notebook A2 shows it."""

from pathlib import Path

import pandas as pd

from spineseg.utils import paths

TABLES = ("speed", "growth", "start")


def folder() -> Path:
    """Where `spineseg bench` writes this machine's tables."""
    return paths.root() / "results" / "benchmark"


def table_file(name: str) -> Path:
    """The file of one of TABLES: this machine's if there is one, else the committed one."""
    own = folder() / f"{name}.csv"
    return own if own.is_file() else paths.REPOSITORY / "results" / "benchmark" / own.name


def read(name: str) -> pd.DataFrame:
    """One of TABLES. Its column `device` names the device that it was measured on."""
    return pd.read_csv(table_file(name))

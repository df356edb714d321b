"""What Cai et al. 2023 printed, as tables read from results/paper/."""

import pandas as pd

from spineseg.utils.paths import PAPER


def table1() -> pd.DataFrame:
    """Shapes of the 172 volumes: slices, rows, columns, volumes."""
    return pd.read_csv(PAPER / "table1.csv")


def table2() -> pd.DataFrame:
    """DSC and MIoU by the positions that hold an ASPP module ("3+4"), in per cent: mean and SD."""
    return pd.read_csv(PAPER / "table2.csv", dtype={"positions": str})


def table3() -> pd.DataFrame:
    """DSC and MIoU by model and class, in per cent: mean and SD over five folds."""
    return pd.read_csv(PAPER / "table3.csv")


def table4() -> pd.DataFrame:
    """Parameters (millions) and inference time (seconds an image) by model."""
    return pd.read_csv(PAPER / "table4.csv")


def claims() -> pd.DataFrame:
    """Numbers that the text states: claim, metric, subject (model or class), value, section.

    A lead is ASPP-UNet's over the subject, in per cent; a rank is ASPP-UNet's on that class.
    """
    return pd.read_csv(PAPER / "claims.csv")

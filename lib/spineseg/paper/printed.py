"""The numbers that Cai et al. 2023 printed, read from results/paper/."""

import pandas as pd

from spineseg.utils.paths import PAPER


def table1() -> pd.DataFrame:
    """Shapes of the 172 volumes: slices, rows, columns, volumes."""
    return pd.read_csv(PAPER / "table1.csv")


def table2() -> pd.DataFrame:
    """DSC and MIoU in per cent (mean, sd) by the positions of the ASPP modules, such as "3+4"."""
    return pd.read_csv(PAPER / "table2.csv", dtype={"positions": str})


def table3() -> pd.DataFrame:
    """DSC and MIoU in per cent (mean, sd over five folds) by model and class.

    The class `all` is the printed mean over the classes.
    """
    return pd.read_csv(PAPER / "table3.csv")


def table4() -> pd.DataFrame:
    """Parameters (millions) and inference time (seconds per image) by model."""
    return pd.read_csv(PAPER / "table4.csv")


def stated() -> pd.DataFrame:
    """Numbers in the paper's text: claim, metric, subject (model or class), value, section.

    A lead is that of ASPP-UNet over the subject, in per cent. A rank is that of ASPP-UNet on the
    subject. A headline is a score in 0..1.
    """
    return pd.read_csv(PAPER / "stated.csv")


def stated_leads() -> pd.Series:
    """The leads of ASPP-UNet in the paper's text, in points, by metric and title of the method."""
    return stated().query("claim == 'lead'").set_index(["metric", "subject"])["value"]

"""What Cai et al. 2023 printed, as tables read from results/paper/."""

import pandas as pd

from spineseg.paths import PAPER

MODEL_NAMES = {"aspp_unet": "ASPP-UNet", "unet": "U-Net-2D"}


def table1() -> pd.DataFrame:
    """Shapes of the 172 volumes: slices, rows, columns, volumes."""
    return pd.read_csv(PAPER / "table1.csv")


def table3() -> pd.DataFrame:
    """DSC and MIoU by model and class, in per cent: mean and SD over five folds."""
    return pd.read_csv(PAPER / "table3.csv")


def beside_table3(summary: pd.DataFrame, aggregation: str = "volume") -> pd.DataFrame:
    """Our scores beside the printed ones: model, metric, class, paper, ours, difference; per cent.

    `summary` is that of one study (see `evaluate.summarise`); `aggregation` says which of ours to
    take, since the paper does not say how it averaged. Classes that the data lack stay empty.
    """
    ours = summary[summary["aggregation"] == aggregation].copy()
    ours["model"] = ours["model"].map(MODEL_NAMES)
    ours["ours"] = 100 * ours["mean"]
    printed = table3().rename(columns={"mean": "paper"})
    printed = printed[printed["model"].isin(set(ours["model"]))]
    both = printed.merge(ours[["model", "metric", "class", "ours"]], how="left")
    both["difference"] = both["ours"] - both["paper"]
    return both[["model", "metric", "class", "paper", "ours", "difference"]].round(2)

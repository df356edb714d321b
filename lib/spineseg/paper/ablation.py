"""Table 2 beside the ablation, with the difference of each row to two others."""

import pandas as pd

from spineseg.evaluation.statistics import interval, mean, paired
from spineseg.evaluation.summary import common_runs
from spineseg.methods import ABLATION_METHODS, METHODS, PLAIN, PROPOSED
from spineseg.paper import printed
from spineseg.paper.tables import METHOD_OF_POSITIONS, case_means


def reference_row(scores: pd.DataFrame) -> str:
    """The method that the ablation is compared with: all modules or, if not run, no module."""
    return PROPOSED if PROPOSED in set(scores["model"]) else PLAIN


def ablation_rows(scores: pd.DataFrame) -> pd.DataFrame:
    """Table 2 beside our ablation: mean DSC in per cent, and differences to a reference row.

    `scores` is the scores.csv of an experiment, or no rows of it. Returns one row per method of the
    ablation: `model`, `positions`, `paper` (empty for our own rows), `ours` with its 95 % interval
    (`low`, `high`), the number of `seeds`, and two differences on the same patients with their
    intervals (`above_low`, ...): `above`, our mean minus that of `reference_row`, and `gain`, our
    mean minus that of the network without ASPP. `p_holm` is Wilcoxon's p of `above`, corrected by
    Holm.
    """
    paper = printed.table2().query("metric == 'DSC'")
    rows = pd.DataFrame(
        {"model": ABLATION_METHODS, "positions": [METHODS[m].positions for m in ABLATION_METHODS]}
    )
    means = paper.set_index(paper["positions"].map(METHOD_OF_POSITIONS))["mean"]
    rows["paper"] = rows["model"].map(means)
    cases = case_means(common_runs(scores, ABLATION_METHODS)).query("metric == 'DSC'")
    table = cases.pivot(index=["model", "seed"], columns="case", values="value")
    ran = [name for name in ABLATION_METHODS if name in set(cases["model"])]
    own = {name: table.loc[name].to_numpy() for name in ran}
    ours = [(name, mean(values), *interval(values), len(values)) for name, values in own.items()]
    columns = ["model", "ours", "low", "high", "seeds"]
    rows = rows.merge(pd.DataFrame(ours, columns=columns), how="left")
    above = _differences(cases, reference_row(cases), "above")
    gains = _differences(cases, PLAIN, "gain").drop(columns="p_holm")
    return rows.merge(above, how="left").merge(gains, how="left")


def _differences(cases: pd.DataFrame, reference: str, name: str) -> pd.DataFrame:
    """Each model minus `reference`: model, `name`, its interval and p_holm.

    No rows if there is nothing to compare.
    """
    columns = ["model", name, f"{name}_low", f"{name}_high", "p_holm"]
    models = set(cases["model"])
    if reference not in models or len(models) == 1:
        return pd.DataFrame(columns=columns, dtype=float).astype({"model": object})
    below = paired(cases, reference)  # the reference minus each model
    differences = (below["model"], -below["difference"], -below["high"], -below["low"])
    return pd.DataFrame(dict(zip(columns, (*differences, below["p_holm"]), strict=True)))

"""The paper's Tables 2 and 3 and its noise test, each number beside ours."""

import pandas as pd

from spineseg.evaluation.statistics import interval, paired
from spineseg.evaluation.summary import MEAN, METRICS
from spineseg.labels import FOREGROUND
from spineseg.methods import ABLATION, INSTALL_NNUNET, NNUNET, TABLE3, TITLES
from spineseg.paper.printed import printed as paper

PROPOSED = "aspp_unet"
PER_CENT = ("DSC", "IoU", "NSD")  # HD95 is in mm
POSITIONS = {
    "unet": "none",
    "aspp_unet_1": "1",
    "aspp_unet_2": "2",
    "aspp_unet_3": "3",
    "aspp_unet_4": "4",
    "aspp_unet_12": "1+2",
    "aspp_unet_34": "3+4",
    "aspp_unet_234": "2+3+4",
    "aspp_unet": "1+2+3+4",
    "aspp_unet_wide": "1+2+3+4, full-width branches",
    "aspp_unet_near": "1+2+3+4, rates 1, 2, 3",
}


def beside_table3(summary: pd.DataFrame, aggregation: str = "volume") -> pd.DataFrame:
    """Table 3 beside ours: model, metric, class, paper, paper_sd, ours, sd, low, high, difference.

    DSC, IoU and NSD in per cent, HD95 in mm; `low` and `high` bound the mean (95 %). `summary` is
    that of one experiment (see `summary.summarise`); `aggregation` says which of ours to take, since
    the paper does not say how it averaged. The paper's SD is over folds, ours over cases. What the
    paper, the data or the runs lack is empty; `note` tells how to get a missing run.
    """
    ours = _ours(summary[summary["aggregation"] == aggregation])
    printed = paper.table3().rename(columns={"mean": "paper", "sd": "paper_sd"})
    printed["model"] = printed["model"].map({title: name for name, title in TITLES.items()})
    keys = ["model", "metric", "class"]
    wanted = pd.MultiIndex.from_product([TABLE3, METRICS, [*FOREGROUND, MEAN]], names=keys)
    both = wanted.to_frame(index=False).merge(printed, how="left").merge(ours, how="left")
    both["difference"] = _difference(both, summary, overall=both["class"] == MEAN)
    both["note"] = _notes(both["model"], summary)
    columns = ["paper", "paper_sd", "ours", "sd", "low", "high", "difference", "cases", "note"]
    return both[[*keys, *columns]].round(2)


def beside_table2(summary: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Table 2 beside ours, and the rows it lacks: one row for each net and metric, in per cent.

    Means over classes; `low` and `high` bound ours (95 %). `loss` is what the full ASPP-UNet has
    more than this net over the same cases, with its interval and Holm-corrected p.
    """
    means = summary.query("aggregation == 'volume' and `class` == @MEAN")
    printed = paper.table2().rename(columns={"mean": "paper", "sd": "paper_sd"})
    printed["model"] = printed["positions"].map({row: name for name, row in POSITIONS.items()})
    keys = ["model", "metric"]
    wanted = pd.MultiIndex.from_product([ABLATION, ("DSC", "IoU")], names=keys)
    both = wanted.to_frame(index=False)
    both["positions"] = both["model"].map(POSITIONS)
    both = both.merge(printed[[*keys, "paper", "paper_sd"]], how="left")
    both = both.merge(_ours(means).drop(columns="class"), how="left")
    both["difference"] = _difference(both, summary, overall=pd.Series(True, index=both.index))
    losses = compare(scores, ABLATION).rename(
        columns={"difference": "loss", "low": "loss_low", "high": "loss_high"}
    )
    both = both.merge(losses.drop(columns=["cases", "p"]), how="left")
    both["note"] = _notes(both["model"], summary)
    columns = ["paper", "paper_sd", "ours", "sd", "low", "high", "difference"]
    columns += ["loss", "loss_low", "loss_high", "p_holm", "cases", "note"]
    return both[["positions", *keys, *columns]].round({c: 2 for c in columns if c != "p_holm"})


def compare(scores: pd.DataFrame, models: tuple[str, ...] = TABLE3) -> pd.DataFrame:
    """ASPP-UNet against each of the other models that were scored, case by case.

    `scores` is an experiment's scores.csv. One row for each model and metric (DSC, IoU; means over the
    classes of a case, in per cent): see `statistics.paired`. No rows without ASPP-UNet's scores.
    """
    cases = case_means(scores).query("model in @models")
    columns = ["metric", "model", "cases", "difference", "low", "high", "p", "p_holm"]
    if PROPOSED not in set(cases["model"]):
        return pd.DataFrame(columns=columns)
    tables = [
        paired(cases[cases["metric"] == metric], PROPOSED).assign(metric=metric)
        for metric in ("DSC", "IoU")
    ]
    return pd.concat(tables, ignore_index=True)[columns]


def case_means(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean over the classes of each case, in per cent: model, metric, case, value."""
    volumes = scores.query("aggregation == 'volume' and metric in ('DSC', 'IoU')")
    means = volumes.groupby(["model", "metric", "case"], sort=False)["value"].mean() * 100
    return means.reset_index()


def noise_curves(noise: pd.DataFrame) -> pd.DataFrame:
    """Mean DSC over the cases at each k, with its 95 % interval, in per cent, for each model."""

    def over_cases(values: pd.Series) -> pd.Series:
        low, high = interval(values.to_numpy())
        return pd.Series({"DSC": values.mean(), "low": low, "high": high, "cases": len(values)})

    groups = (noise["DSC"] * 100).groupby([noise["model"], noise["k"]], sort=False)
    curves = groups.apply(over_cases).unstack().reset_index()
    return curves.astype({"cases": int})


def devices(table: pd.DataFrame, summary: pd.DataFrame) -> pd.Series:
    """On what each row's model ran, for `Experiment.stamp`; empty where it did not."""
    by_model = summary.drop_duplicates("model").set_index("model")["device"]
    return table["model"].map(by_model).fillna("")


def wide(table3: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Table 3 as printed, a column a class; for each method the paper, ours, and the difference."""
    rows = table3[table3["metric"] == metric].melt(
        ["model", "class"], ["paper", "ours", "difference"], var_name="whose"
    )
    cells = rows.pivot(index=["model", "whose"], columns="class", values="value")
    order = pd.MultiIndex.from_product([TABLE3, ["paper", "ours", "difference"]])
    return cells.reindex(order)[[*FOREGROUND, MEAN]].rename(index=TITLES)


def _ours(summary: pd.DataFrame) -> pd.DataFrame:
    """Our means, SD and intervals as the paper prints them: per cent, but HD95 in mm."""
    ours = summary[["model", "metric", "class", "mean", "sd", "low", "high", "cases"]]
    ours = ours.rename(columns={"mean": "ours"}).astype({"metric": str, "class": str})
    values = ["ours", "sd", "low", "high"]
    ours.loc[ours["metric"].isin(PER_CENT), values] *= 100
    return ours


def _difference(both: pd.DataFrame, summary: pd.DataFrame, overall: pd.Series) -> pd.Series:
    """Ours less the paper's; none for means (`overall`) over other classes than the paper's."""
    difference = both["ours"] - both["paper"]
    return difference.mask(overall) if _unlabelled(summary) else difference


def _unlabelled(summary: pd.DataFrame) -> list[str]:
    """The paper's classes that the data never label."""
    return [name for name in FOREGROUND if name not in set(summary["class"])]


def _notes(models: pd.Series, summary: pd.DataFrame) -> pd.Series:
    """Which classes ours lacks, and how to get the runs that are not there."""
    ran = set(summary["model"])
    unlabelled = _unlabelled(summary)
    scored = f"without {', '.join(unlabelled)}, so no difference of means" if unlabelled else ""

    def note(model: str) -> str:
        if model in ran:
            return scored
        install = f"`{INSTALL_NNUNET}`, then " if model == NNUNET else ""
        return f"not run: {install}`make reproduce`"

    return models.map(note)

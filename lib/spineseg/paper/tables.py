"""Tables 1-4 of the paper and its noise test, with our results beside the printed numbers."""

from collections.abc import Sequence

import pandas as pd

from spineseg.data.overview import SHAPE
from spineseg.evaluation.statistics import interval, paired
from spineseg.evaluation.summary import METRICS
from spineseg.labels import ALL_CLASSES, FOREGROUND
from spineseg.methods import ABLATION, INSTALL_NNUNET, METHODS, NNUNET, PROPOSED, TABLE3
from spineseg.paper import printed

IN_PER_CENT = ("DSC", "IoU", "NSD")  # HD95 is in mm
PAPER_METRICS = ("DSC", "IoU")
METHOD_OF_TITLE = {method.title: name for name, method in METHODS.items()}
METHOD_OF_POSITIONS = {METHODS[name].positions: name for name in ABLATION}


def with_interval(mean: float, low: float, high: float, number: str = ".1f") -> str:
    """A mean and its interval as text, "84.6 (82.1 to 86.9)"; `number` is the format of each."""
    return f"{mean:{number}} ({low:{number}} to {high:{number}})"


def beside_table1(counts: pd.DataFrame, scale: float = 1.0) -> pd.DataFrame:
    """Table 1 beside the shapes of a data set: slices, rows, columns, paper, ours, difference.

    `counts` is that of `data.overview.shape_counts`. Its in-plane sizes are divided by `scale`,
    which is 1 for scans at the challenge's own size. Most frequent shapes of the paper come first.
    """
    ours = counts.assign(
        rows=(counts["rows"] / scale).round().astype(int),
        columns=(counts["columns"] / scale).round().astype(int),
    ).rename(columns={"volumes": "ours"})
    both = printed.table1().rename(columns={"volumes": "paper"})
    both = both.merge(ours, on=SHAPE, how="outer").fillna(0)
    both[["paper", "ours"]] = both[["paper", "ours"]].astype(int)
    both["difference"] = both["ours"] - both["paper"]
    return both.sort_values(["paper", "ours"], ascending=False, ignore_index=True)


def beside_table2(summary: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Table 2 beside our ablation, and the variants that it lacks, in per cent.

    `summary` is that of one experiment (see `summarise`), `scores` its scores.csv. Returns one row
    per method and metric: `positions` of the ASPP modules, `model`, `metric`, the `paper` and its
    SD, `ours` (mean over the classes) with SD and 95 % interval (`low`, `high`), their
    `difference`, and `loss`: how much lower the method is than ASPP-UNet on the same cases, with
    its interval and Holm-corrected p. Then `cases` and `note`, see `beside_table3`.
    """
    means = summary[(summary["aggregation"] == "volume") & (summary["class"] == ALL_CLASSES)]
    paper = printed.table2().rename(columns={"mean": "paper", "sd": "paper_sd"})
    paper["model"] = paper["positions"].map(METHOD_OF_POSITIONS)
    keys = ["model", "metric"]
    both = pd.MultiIndex.from_product([ABLATION, PAPER_METRICS], names=keys).to_frame(index=False)
    both["positions"] = [METHODS[name].positions for name in both["model"]]
    both = both.merge(paper[[*keys, "paper", "paper_sd"]], how="left")
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


def beside_table3(summary: pd.DataFrame, aggregation: str = "volume") -> pd.DataFrame:
    """Table 3 beside ours: DSC, IoU and NSD in per cent, HD95 in mm.

    `summary` is that of one experiment (see `summarise`). `aggregation` selects ours, because the
    paper does not say how it averaged. Returns one row per method, metric and class: `model`,
    `metric`, `class`, `paper`, `paper_sd` (over folds), `ours`, `sd` (over cases), `low` and `high`
    (the 95 % interval of our mean), `difference`, `cases` and `note`. Values that the paper, the
    data or the runs lack are empty. `note` tells how to get a missing run.
    """
    ours = _ours(summary[summary["aggregation"] == aggregation])
    paper = printed.table3().rename(columns={"mean": "paper", "sd": "paper_sd"})
    paper["model"] = paper["model"].map(METHOD_OF_TITLE)
    keys = ["model", "metric", "class"]
    rows = pd.MultiIndex.from_product([TABLE3, METRICS, [*FOREGROUND, ALL_CLASSES]], names=keys)
    both = rows.to_frame(index=False).merge(paper, how="left").merge(ours, how="left")
    both["difference"] = _difference(both, summary, overall=both["class"] == ALL_CLASSES)
    both["note"] = _notes(both["model"], summary)
    columns = ["paper", "paper_sd", "ours", "sd", "low", "high", "difference", "cases", "note"]
    return both[[*keys, *columns]].round(2)


def as_printed(table3: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One metric of `beside_table3` in the form of the print: one column per class.

    Each method has three rows: paper, ours, difference.
    """
    rows = table3[table3["metric"] == metric].melt(
        ["model", "class"], ["paper", "ours", "difference"], var_name="whose"
    )
    cells = rows.pivot(index=["model", "whose"], columns="class", values="value")
    order = pd.MultiIndex.from_product([TABLE3, ["paper", "ours", "difference"]])
    cells = cells.reindex(order)[[*FOREGROUND, ALL_CLASSES]]
    return cells.rename(index={name: METHODS[name].title for name in TABLE3})


def beside_table4(cost: pd.DataFrame) -> pd.DataFrame:
    """Table 4 beside our measurements (cost.csv), one row per network.

    - `model`: its title, as printed
    - `parameters_*`: millions: `paper`, `ours` and their `difference`
    - `seconds_paper`, `seconds_ours`: per image, on the paper's device and on ours
    - `ratio_*`: seconds relative to U-Net-2D: `paper`, `ours` and their `difference`
    - `gflops`: GFLOP per 880 x 464 image
    - `gflops_ratio`: relative to U-Net-2D. Time follows it if the device is kept busy.
    """
    ours = pd.DataFrame(
        {
            "model": [METHODS[name].title for name in cost["model"]],
            "parameters_ours": cost["parameters"].astype(float) / 1e6,
            "seconds": cost["seconds"],
            "gflops": cost["gflops"],
        }
    )
    both = printed.table4().rename(columns={"parameters_millions": "parameters_paper"})
    both = both.merge(ours, on="model", how="left", suffixes=("_paper", "_ours"))
    unet = both.set_index("model").loc[METHODS["unet"].title]
    both["ratio_paper"] = both["seconds_paper"] / unet["seconds_paper"]
    both["ratio_ours"] = both["seconds_ours"] / unet["seconds_ours"]
    both["gflops_ratio"] = both["gflops"] / unet["gflops"]
    for quantity in ("parameters", "ratio"):
        both[f"{quantity}_difference"] = both[f"{quantity}_ours"] - both[f"{quantity}_paper"]
    columns = [
        *("parameters_paper", "parameters_ours", "parameters_difference"),
        *("seconds_paper", "seconds_ours", "ratio_paper", "ratio_ours", "ratio_difference"),
        *("gflops", "gflops_ratio"),
    ]
    return both[["model", *columns]]


def compare(scores: pd.DataFrame, models: Sequence[str] = TABLE3) -> pd.DataFrame:
    """ASPP-UNet against each of the other `models` that were scored, paired by case.

    `scores` is the scores.csv of an experiment. Returns one row per model and metric (DSC and IoU,
    means over the classes of a case, in per cent); for the columns see `statistics.paired`. There
    are no rows if ASPP-UNet has no scores.
    """
    cases = case_means(scores).query("model in @models")
    columns = ["metric", "model", "cases", "difference", "low", "high", "p", "p_holm"]
    if PROPOSED not in set(cases["model"]):
        return pd.DataFrame(columns=columns)
    tables = [
        paired(cases[cases["metric"] == metric], PROPOSED).assign(metric=metric)
        for metric in PAPER_METRICS
    ]
    return pd.concat(tables, ignore_index=True)[columns]


def case_means(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean DSC and IoU over the classes of each case, per cent: model, metric, case, value."""
    volumes = scores.query("aggregation == 'volume' and metric in @PAPER_METRICS")
    means = volumes.groupby(["model", "metric", "case"], sort=False)["value"].mean() * 100
    return means.reset_index()


def noise_curves(noise: pd.DataFrame) -> pd.DataFrame:
    """Mean DSC over the cases in per cent, by model and noise level.

    `noise` is the noise.csv of an experiment. Columns: model, k, DSC, low, high (the 95 %
    interval), cases.
    """

    def over_cases(values: pd.Series) -> pd.Series:
        low, high = interval(values.to_numpy())
        return pd.Series({"DSC": values.mean(), "low": low, "high": high, "cases": len(values)})

    groups = (noise["DSC"] * 100).groupby([noise["model"], noise["k"]], sort=False)
    curves = groups.apply(over_cases).unstack().reset_index()
    return curves.astype({"cases": int})


def devices(table: pd.DataFrame, summary: pd.DataFrame) -> pd.Series:
    """The device of each row's model, for `Experiment.stamp`; empty if the model was not run."""
    by_model = summary.drop_duplicates("model").set_index("model")["device"]
    return table["model"].map(by_model).fillna("")


def _ours(summary: pd.DataFrame) -> pd.DataFrame:
    """Our means, SDs and intervals in the paper's units: per cent, except HD95 (mm)."""
    ours = summary[["model", "metric", "class", "mean", "sd", "low", "high", "cases"]]
    ours = ours.rename(columns={"mean": "ours"}).astype({"metric": str, "class": str})
    values = ["ours", "sd", "low", "high"]
    ours.loc[ours["metric"].isin(IN_PER_CENT), values] *= 100
    return ours


def _difference(both: pd.DataFrame, summary: pd.DataFrame, overall: pd.Series) -> pd.Series:
    """Ours minus the paper's.

    Empty for means over all classes (`overall`) if the data lack classes of the paper.
    """
    difference = both["ours"] - both["paper"]
    return difference.mask(overall) if _unlabelled(summary) else difference


def _unlabelled(summary: pd.DataFrame) -> list[str]:
    """The paper's classes that the data never label."""
    return [name for name in FOREGROUND if name not in set(summary["class"])]


def _notes(models: pd.Series, summary: pd.DataFrame) -> pd.Series:
    """Which classes ours lacks, or how to get a missing run."""
    ran = set(summary["model"])
    unlabelled = _unlabelled(summary)
    scored = f"without {', '.join(unlabelled)}, so no difference of means" if unlabelled else ""

    def note(model: str) -> str:
        if model in ran:
            return scored
        install = f"`{INSTALL_NNUNET}`, then " if model == NNUNET else ""
        return f"not run: {install}`make reproduce`"

    return models.map(note)

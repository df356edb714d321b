"""Tables 1-4 of the paper and its noise test, with our results beside the printed numbers."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from spineseg.data.overview import SHAPE
from spineseg.evaluation.statistics import (
    by_seed,
    interval,
    interval_of_difference,
    mean,
    paired,
)
from spineseg.evaluation.summary import METRICS, common_runs, summarise
from spineseg.labels import ALL_CLASSES, FOREGROUND
from spineseg.methods import (
    ABLATION_METHODS,
    INSTALL_NNUNET,
    METHODS,
    NNUNET,
    NOISE_METHODS,
    NOISE_TRAINED,
    PLAIN,
    PROPOSED,
    TABLE3_METHODS,
)
from spineseg.paper import printed

IN_PER_CENT = ("DSC", "IoU", "NSD")  # HD95 is in mm
PAPER_METRICS = ("DSC", "IoU")
METHOD_OF_TITLE = {method.title: name for name, method in METHODS.items()}
METHOD_OF_POSITIONS = {METHODS[name].positions: name for name in ABLATION_METHODS}
SEED_OF_FOLDS = 0  # the seed with which all folds are run


def with_interval(
    mean: float, low: float, high: float, number: str = ".1f", missing: str = ""
) -> str:
    """A mean and its interval as text, "84.6 (82.1 to 86.9)"; `missing` if the mean is NaN.

    `number` is the format of each.
    """
    if np.isnan(mean):
        return missing
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


def beside_table2(scores: pd.DataFrame) -> pd.DataFrame:
    """Table 2 beside our ablation, and the variants that it lacks, in per cent.

    `scores` is the scores.csv of an experiment, of which the runs are used that all methods of the
    ablation have in common. Returns one row per method and metric, for the methods that were run
    and those of the paper: `positions` of the ASPP modules, `model`, `metric`, the `paper` and its
    SD, `ours` (mean over the classes) with SD and 95 % interval (`low`, `high`), their
    `difference`, and `above`: the method minus ASPP-UNet on the same cases, with its interval and
    Holm-corrected p. Then `seeds`, `cases` and `note`, see `beside_table3`.
    """
    volumes = scores.query("aggregation == 'volume' and metric in @PAPER_METRICS")
    summary = summarise(common_runs(volumes, ABLATION_METHODS))
    means = summary[summary["class"] == ALL_CLASSES]
    paper = printed.table2().rename(columns={"mean": "paper", "sd": "paper_sd"})
    paper["model"] = paper["positions"].map(METHOD_OF_POSITIONS)
    shown = {*means["model"], *paper["model"]}
    keys = ["model", "metric"]
    rows = [[name for name in ABLATION_METHODS if name in shown], PAPER_METRICS]
    both = pd.MultiIndex.from_product(rows, names=keys).to_frame(index=False)
    both["positions"] = [METHODS[name].positions for name in both["model"]]
    both = both.merge(paper[[*keys, "paper", "paper_sd"]], how="left")
    both = both.merge(_ours(means).drop(columns="class"), how="left")
    both["difference"] = _difference(both, summary, overall=pd.Series(True, index=both.index))
    below = compare(scores, ABLATION_METHODS)
    differences = {"above": "difference", "above_low": "high", "above_high": "low"}
    above = below[[*keys, "p_holm"]].assign(
        **{name: -below[of] for name, of in differences.items()}
    )
    both = both.merge(above, how="left")
    both["note"] = _notes(both["model"], summary, missing="not run with this profile")
    columns = ["paper", "paper_sd", "ours", "sd", "low", "high", "difference"]
    columns += [*differences, "p_holm", "seeds", "cases", "note"]
    return both[["positions", *keys, *columns]].round({c: 2 for c in columns if c != "p_holm"})


def beside_table3(scores: pd.DataFrame, aggregation: str = "volume") -> pd.DataFrame:
    """Table 3 beside ours: DSC, IoU and NSD in per cent, HD95 in mm.

    `scores` is the scores.csv of an experiment, of which the runs are used that all methods of the
    table have in common. `aggregation` selects ours, because the paper does not say how it
    averaged. Returns one row per method, metric and class: `model`, `metric`, `class`, `paper`,
    `paper_sd` (over folds), `ours`, `sd` (over cases), `low` and `high` (the 95 % interval of our
    mean over seeds and patients), `difference`, the numbers of `seeds` and `cases`, and `note`.
    Values that the paper, the data or the runs lack are empty. `note` tells how to get a missing
    run: MODELS is that of `make reproduce`.
    """
    rows = scores[scores["aggregation"] == aggregation]
    summary = summarise(common_runs(rows, TABLE3_METHODS))
    ours = _ours(summary)
    paper = printed.table3().rename(columns={"mean": "paper", "sd": "paper_sd"})
    paper["model"] = paper["model"].map(METHOD_OF_TITLE)
    keys = ["model", "metric", "class"]
    cells = pd.MultiIndex.from_product(
        [TABLE3_METHODS, METRICS, [*FOREGROUND, ALL_CLASSES]], names=keys
    )
    both = cells.to_frame(index=False).merge(paper, how="left").merge(ours, how="left")
    both["difference"] = _difference(both, summary, overall=both["class"] == ALL_CLASSES)
    both["note"] = _notes(both["model"], summary, missing="not run: {install}name it in MODELS")
    columns = ["paper", "paper_sd", "ours", "sd", "low", "high", "difference"]
    columns += ["seeds", "cases", "note"]
    return both[[*keys, *columns]].round(2)


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


def percent_more(values: pd.Series, one: str, other: str) -> float:
    """How much more one of these values is than another, in per cent."""
    return 100 * (float(values[one]) / float(values[other]) - 1)


def compare(scores: pd.DataFrame, models: Sequence[str] = TABLE3_METHODS) -> pd.DataFrame:
    """ASPP-UNet against each of the other `models` that were scored, paired by case.

    `scores` is the scores.csv of an experiment, of which the runs are used that all these models
    have in common. Returns one row per model and metric (DSC and IoU, means over the classes of a
    case, in per cent); for the columns see `statistics.paired`. There are no rows if ASPP-UNet has
    no scores.
    """
    cases = case_means(common_runs(scores, models))
    columns = ["metric", "model", "seeds", "cases", "difference", "low", "high", "p", "p_holm"]
    if PROPOSED not in set(cases["model"]):
        return pd.DataFrame(columns=columns)
    tables = [
        paired(cases[cases["metric"] == metric], PROPOSED).assign(metric=metric)
        for metric in PAPER_METRICS
    ]
    return pd.concat(tables, ignore_index=True)[columns]


def five_folds(scores: pd.DataFrame) -> pd.DataFrame:
    """U-Net-2D against ASPP-UNet over all folds that both have with one seed.

    `scores` is the scores.csv of an experiment. Returns one row per metric (DSC and IoU, means over
    the classes of a case, in per cent): `metric`, `folds`, `seeds` and `cases`; the means of `unet`
    and `aspp_unet`, each with its 95 % interval (`unet_low`, `unet_high`, ...); and their
    `difference` (ASPP-UNet - U-Net-2D) with its interval (`low`, `high`) and `p`, see
    `statistics.paired`. There are no rows if the two have fewer than two folds in common.

    Intervals are over patients only: with one seed, they do not tell how far another training would
    move the means.
    """
    pair = (PLAIN, PROPOSED)
    rows = common_runs(scores[scores["seed"] == SEED_OF_FOLDS], pair)
    means = [f"{name}{end}" for name in pair for end in ("", "_low", "_high")]
    compared = ["difference", "low", "high", "p"]
    columns = ["metric", "folds", "seeds", "cases", *means, *compared]
    if set(rows["model"]) != set(pair) or rows["fold"].nunique() < 2:
        return pd.DataFrame(columns=columns)
    table = compare(rows, pair)
    cases = case_means(rows).groupby(["metric", "model"])["value"]
    for name in pair:
        values = [cases.get_group((metric, name)) for metric in table["metric"]]
        table[name] = [each.mean() for each in values]
        table[[f"{name}_low", f"{name}_high"]] = [interval(each) for each in values]
    return table.assign(folds=rows["fold"].nunique())[columns]


def case_means(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean DSC and IoU over the classes of each case, in per cent.

    Columns: model, metric, seed, case, value.
    """
    volumes = scores.query("aggregation == 'volume' and metric in @PAPER_METRICS")
    keys = ["model", "metric", "seed", "case"]
    return (volumes.groupby(keys, sort=False)["value"].mean() * 100).reset_index()


def noise_curves(noise: pd.DataFrame) -> pd.DataFrame:
    """Mean DSC over seeds and cases in per cent, by model and noise level.

    `noise` is the noise.csv of an experiment, of which the runs are used that all methods have in
    common. Columns: model, k, DSC, low, high (the 95 % interval over seeds and patients), seeds,
    cases.
    """
    rows = []
    levels = common_runs(noise, NOISE_METHODS).groupby(["model", "k"], sort=False)
    for (model, k), level in levels:
        values = 100 * by_seed(level.set_index(["seed", "case"])["DSC"])
        rows.append((model, k, mean(values), *interval(values), *values.shape))
    return pd.DataFrame(rows, columns=["model", "k", "DSC", "low", "high", "seeds", "cases"])


def noise_gain(noise: pd.DataFrame) -> pd.DataFrame:
    """What training with noise changes at each noise level, in per cent of DSC.

    `noise` is the noise.csv of an experiment. Columns: k, the means `without` and `trained` (of
    ASPP-UNet without and with noise in training), their `difference`, and its 95 % interval over
    seeds and patients, `low` and `high`. There are no rows if one of the two was not run.
    """
    both = common_runs(noise, NOISE_METHODS)
    dice = 100 * both.set_index(["model", "k", "seed", "case"])["DSC"].sort_index()
    rows = []
    if {PROPOSED, NOISE_TRAINED} <= set(both["model"]):
        for k in sorted(both["k"].unique()):
            without, trained = (by_seed(dice[name, k]) for name in (PROPOSED, NOISE_TRAINED))
            means = mean(without), mean(trained)
            ends = interval_of_difference(trained, without)
            rows.append((k, *means, means[1] - means[0], *ends))
    return pd.DataFrame(rows, columns=["k", "without", "trained", "difference", "low", "high"])


def halving_levels(curves: pd.DataFrame) -> pd.Series:
    """The noise level at which each model's mean DSC falls to half of that without noise.

    `curves` is that of `noise_curves`. The level is interpolated linearly between two measured
    ones. It is NaN if the DSC stays above half, or is zero without noise.
    """
    return curves.sort_values("k").groupby("model", sort=False).apply(_halving_level)


def halving_by_seed(noise: pd.DataFrame) -> pd.DataFrame:
    """The `halving_levels` of the runs of each seed: one row per model, one column per seed.

    `noise` is the noise.csv of an experiment.
    """
    seeds = noise.groupby("seed")
    return pd.DataFrame({seed: halving_levels(noise_curves(rows)) for seed, rows in seeds})


def _halving_level(curve: pd.DataFrame) -> float:
    k, dsc = (curve[name].to_numpy(dtype=float) for name in ("k", "DSC"))
    below = np.flatnonzero(dsc <= dsc[0] / 2)
    if not len(below) or not dsc[0] > 0:
        return np.nan
    last = int(below[0])
    share = (dsc[last - 1] - dsc[0] / 2) / (dsc[last - 1] - dsc[last])
    return float(k[last - 1] + share * (k[last] - k[last - 1]))


def devices(table: pd.DataFrame, summary: pd.DataFrame) -> pd.Series:
    """The device of each row's model, for `Experiment.stamp`; empty if the model was not run."""
    by_model = summary.drop_duplicates("model").set_index("model")["device"]
    return table["model"].map(by_model).fillna("")


def _ours(summary: pd.DataFrame) -> pd.DataFrame:
    """Our means, SDs and intervals in the paper's units: per cent, except HD95 (mm)."""
    ours = summary[["model", "metric", "class", "mean", "sd", "low", "high", "seeds", "cases"]]
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


def _notes(models: pd.Series, summary: pd.DataFrame, missing: str) -> pd.Series:
    """Which classes ours lacks, or the text `missing` for a method that was not run."""
    ran = set(summary["model"])
    unlabelled = _unlabelled(summary)
    scored = f"without {', '.join(unlabelled)}, so no difference of means" if unlabelled else ""

    def note(model: str) -> str:
        if model in ran:
            return scored
        return missing.format(install=f"`{INSTALL_NNUNET}`, then " if model == NNUNET else "")

    return models.map(note)

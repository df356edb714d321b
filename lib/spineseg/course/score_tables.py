"""Scores as lessons 5 and 6 show them: few columns, numbers with their intervals as text."""

import pandas as pd

from spineseg.course.tables import as_p, titled
from spineseg.evaluation.statistics import interval, mean, paired
from spineseg.evaluation.summary import common_runs
from spineseg.labels import ALL_CLASSES
from spineseg.methods import ABLATION_METHODS, METHODS, PLAIN, PROPOSED, TABLE3_METHODS
from spineseg.paper import printed
from spineseg.paper.tables import METHOD_OF_POSITIONS, PAPER_METRICS, case_means, with_interval
from spineseg.paper.verdicts import lead_claim

NOT_RUN = "not run"
UNKNOWN = "unknown"
NOT_TRIED = "not tried"


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


def ablation_table(rows: pd.DataFrame) -> pd.DataFrame:
    """`ablation_rows` as text, one row per positions of the modules."""
    reference = rows.loc[rows["ours"].notna() & rows["above"].isna(), "positions"]
    against = reference.iloc[0] if len(reference) == 1 else "the reference"
    return pd.DataFrame(
        {
            "paper": rows["paper"].map("{:.1f}".format, na_action="ignore").fillna("no such row"),
            "ours (95 %)": _intervals(rows, "ours", "low", "high", NOT_RUN),
            f"points above {against} (95 %)": _intervals(
                rows, "above", "above_low", "above_high", "", "+.1f"
            ),
            "p": rows["p_holm"].map(as_p),
        }
    ).set_index(pd.Index(rows["positions"], name="modules at"))


def mean_table(table3: pd.DataFrame) -> pd.DataFrame:
    """Mean DSC and IoU of each method in per cent, the paper's and ours, as text.

    `table3` is that of `tables.beside_table3`.
    """
    rows = table3[table3["class"] == ALL_CLASSES].set_index("model")
    columns = {}
    for metric in PAPER_METRICS:
        own = rows[rows["metric"] == metric].reindex(TABLE3_METHODS)
        columns[f"{metric}, paper"] = own["paper"].map("{:.1f}".format)
        columns[f"{metric}, ours (95 %)"] = _intervals(own, "ours", "low", "high", NOT_RUN)
    return titled(pd.DataFrame(columns))


def lead_rows(
    comparison: pd.DataFrame, judged: pd.DataFrame, convergence: pd.DataFrame
) -> pd.DataFrame:
    """The leads of ASPP-UNet with their verdicts, one row per rival that was run.

    `comparison`, `judged` and `convergence` are comparison.csv, verdicts.csv and convergence.csv of
    an experiment; the last may be empty. Columns: `model`, `difference`, `low`, `high`, `p`,
    `p_holm`, `trained_out` (yes, no or unknown, of the rival) and `verdict`.
    """
    rows = comparison[comparison["metric"] == "DSC"].reset_index(drop=True)
    verdicts = judged.set_index("claim")["verdict"]
    claims = pd.Series([lead_claim(model, "DSC") for model in rows["model"]], dtype=object)
    rows = rows.assign(
        trained_out=[_trained_out(convergence, model) for model in rows["model"]],
        verdict=claims.map(verdicts),
    )
    columns = ["model", "difference", "low", "high", "p", "p_holm", "trained_out", "verdict"]
    return rows[columns]


def lead_table(leads: pd.DataFrame) -> pd.DataFrame:
    """`lead_rows` as text, one row per method of Table 3 except ASPP-UNet."""
    rivals = [name for name in TABLE3_METHODS if name != PROPOSED]
    rows = leads.set_index("model").reindex(rivals)
    table = pd.DataFrame(
        {
            "lead of ASPP-UNet (95 %)": _intervals(
                rows, "difference", "low", "high", NOT_RUN, "+.1f"
            ),
            "p (Holm)": rows["p_holm"].map(as_p),
            "rival trained out": rows["trained_out"].fillna(""),
            "verdict": rows["verdict"].fillna(""),
        }
    )
    return titled(table)


def convergence_as_text(convergence: pd.DataFrame) -> pd.DataFrame:
    """What twice the epochs change, one row per method, as text; DSC in per cent.

    `convergence` is convergence.csv of an experiment, or no rows of it.
    """
    rows = convergence.set_index("model").reindex(list(TABLE3_METHODS))
    known = rows["epochs"].notna()
    twice = rows["DSC_twice"].map("{:.1f}".format, na_action="ignore").fillna(NOT_TRIED)
    table = pd.DataFrame(
        {
            "epochs": rows["epochs"].map("{:.0f}".format, na_action="ignore").fillna(UNKNOWN),
            "DSC": rows["DSC"].map("{:.1f}".format, na_action="ignore").fillna(""),
            "DSC, twice the epochs": twice.where(known, ""),
            "change (95 %, over patients)": _intervals(rows, "change", "low", "high", "", "+.1f"),
            "trained out": [_trained_out(convergence, model) for model in rows.index],
        },
        index=rows.index,
    )
    return titled(table)


def _trained_out(convergence: pd.DataFrame, model: str) -> str:
    known = convergence.set_index("model")["trained_out"]
    if model not in known.index:
        return UNKNOWN
    return "yes" if bool(known[model]) else "no"


def _intervals(
    rows: pd.DataFrame, value: str, low: str, high: str, missing: str, number: str = ".1f"
) -> pd.Series:
    texts = [
        missing if pd.isna(row[value]) else with_interval(row[value], row[low], row[high], number)
        for row in rows.to_dict("records")
    ]
    return pd.Series(texts, rows.index, dtype=object)

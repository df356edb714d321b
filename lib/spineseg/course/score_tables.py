"""Scores as lessons 5 and 6 show them: few columns, numbers with their intervals as text."""

import pandas as pd

from spineseg.course.tables import as_p, titled
from spineseg.labels import ALL_CLASSES
from spineseg.methods import PROPOSED, TABLE3_METHODS
from spineseg.paper.search import leads_over_untrained, repeat_table
from spineseg.paper.tables import PAPER_METRICS, with_interval
from spineseg.paper.verdicts import lead_key

NOT_RUN = "not run"
UNKNOWN = "unknown"
NOT_TRIED = "not tried"


def ablation_table(rows: pd.DataFrame) -> pd.DataFrame:
    """`paper.ablation.ablation_rows` as text, one row per positions of the modules."""
    reference = rows.loc[rows["ours"].notna() & rows["above"].isna(), "positions"]
    against = reference.iloc[0] if len(reference) == 1 else "the reference"
    return pd.DataFrame(
        {
            "paper": rows["paper"].map("{:.1f}".format, na_action="ignore").fillna("no such row"),
            "ours (95 %)": _intervals(rows, "ours", "low", "high", NOT_RUN),
            f"points above {against} (95 %)": _intervals(
                rows, "above", "above_low", "above_high", "", "+.2f"
            ),
            "p": rows["p_holm"].map(as_p),
        }
    ).set_index(pd.Index(rows["positions"], name="modules at"))


def gain_table(rows: pd.DataFrame) -> pd.DataFrame:
    """What each row of `paper.ablation.ablation_rows` gains over no module, as text."""
    gains = _intervals(rows, "gain", "gain_low", "gain_high", "", "+.2f")
    table = pd.DataFrame({"points above none (95 %)": gains})
    return table.set_index(pd.Index(rows["positions"], name="modules at"))


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
    verdicts = judged.set_index("key")["verdict"]
    rows = rows.assign(
        trained_out=[_trained_out(convergence, model) for model in rows["model"]],
        verdict=rows["model"].map(lead_key).map(verdicts),
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
            "change (95 %)": _intervals(rows, "change", "low", "high", "", "+.1f"),
            "trained out": [_trained_out(convergence, model) for model in rows.index],
        },
        index=rows.index,
    )
    return titled(table)


def leads_as_text(convergence: pd.DataFrame) -> pd.DataFrame:
    """`leads_over_untrained`, in points of DSC, one row per rival."""
    rows = leads_over_untrained(convergence)
    leads = {
        "lead of ASPP-UNet, points": "lead",
        "twice the epochs for the rival": "rival_longer",
        "twice the epochs for both": "both_longer",
    }
    table = pd.DataFrame({"model": rows["model"], "epochs of the rival": rows["epochs"]})
    for name, column in leads.items():
        table[name] = rows[column].map("{:+.1f}".format, na_action="ignore").fillna(NOT_TRIED)
    return titled(table.set_index("model"))


def repeats_as_text(validation: pd.DataFrame) -> pd.DataFrame:
    """`repeat_table`, one row per trial; DSC in per cent."""
    rows = repeat_table(validation)
    seeds = rows["seed"].astype(str)
    table = pd.DataFrame(
        {
            "model": rows["model"],
            "epochs": rows["epochs"],
            "trial": "seed " + seeds + ", " + rows["device"],
            "DSC": rows["DSC"].map("{:.1f}".format),
            "change with twice the epochs": _intervals(
                rows, "change", "low", "high", NOT_TRIED, "+.1f"
            ),
        }
    )
    return titled(table.set_index("model"))


def _trained_out(convergence: pd.DataFrame, model: str) -> str:
    known = convergence.set_index("model")["trained_out"]
    if model not in known.index:
        return UNKNOWN
    return "yes" if bool(known[model]) else "no"


def _intervals(
    rows: pd.DataFrame, value: str, low: str, high: str, missing: str, number: str = ".1f"
) -> pd.Series:
    values = rows[[value, low, high]].to_numpy(float)
    texts = [with_interval(mean, first, last, number, missing) for mean, first, last in values]
    return pd.Series(texts, rows.index, dtype=object)

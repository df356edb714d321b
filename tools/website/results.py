"""Pages made from the stored results: the tables, the audit of the paper, and its errata."""

import pandas as pd
from tools.readme import stored
from tools.readme.markdown import table
from tools.readme.stored import ABLATED, RESULTS, SHOWN
from tools.readme.tables import controls_table, depths_table, interval_of

from spineseg.course.score_tables import NOT_RUN
from spineseg.evaluation.result_files import AUDIT, TABLE2, TABLE3, VERDICTS
from spineseg.labels import ALL_CLASSES
from spineseg.methods import CONTROL_DEPTH, METHODS, TABLE3_METHODS
from spineseg.paper import consistency, findings, printed
from spineseg.paper.tables import with_interval

SECTIONS = {  # of audit.csv: what is checked, and how
    "volumes": ("The numbers of volumes", "Table 1 and the text are added up."),
    "means": ("The means", "The means and SDs of Table 3 are computed again from its classes."),
    "leads": ("The leads", "The leads in the text are compared with Table 3."),
    "convexity": (
        "DSC and IoU",
        "IoU = DSC / (2 - DSC) is convex, so a mean DSC allows only some mean IoUs.",
    ),
    "ablation": ("Table 2", "What the text says of Table 2 is compared with its rows."),
    "parameters": ("Parameters", "The networks of Table 4 are counted again."),
    "time": ("Time", "The times of Table 4 are compared with what the K80 can compute."),
    "curves": ("The loss curves", "Fig. 8 and 9 are compared with what the text says of them."),
}


def results_page() -> str:
    """Tables 2 and 3, the mechanism, and the verdicts."""
    parts = [
        "# Results",
        "All numbers on this page are computed from the files in `results/`. They come from "
        "simulated scans, so they say nothing about patients. DSC is in per cent. Brackets hold "
        "95 % intervals over seeds and patients.",
        "## Table 3: six methods",
        table3(TABLE3.read(RESULTS / SHOWN)),
        "## Table 2: where the ASPP modules are",
        table2(TABLE2.read(RESULTS / ABLATED)),
        "## The mechanism: when ASPP helps",
        *depths(),
        "## The mechanism: what ASPP's lead comes from",
        *controls(),
        "## Claim by claim",
        verdicts(VERDICTS.read(RESULTS / SHOWN)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table3(rows: pd.DataFrame) -> str:
    """Mean DSC of each method in the paper and here."""
    means = rows[(rows["metric"] == "DSC") & (rows["class"] == ALL_CLASSES)].set_index("model")
    lines = [
        (METHODS[name].title, f"{row['paper']:.1f}", _ours(row), _signed(row["difference"]))
        for name, row in ((name, means.loc[name]) for name in TABLE3_METHODS if name in means.index)
    ]
    ours = means.dropna(subset=["ours"])
    return "\n\n".join(
        [
            table(("Method", "Paper, mean DSC", "Ours", "Ours − paper"), lines),
            _origin(ours.iloc[0]) if len(ours) else "",
        ]
    )


def table2(rows: pd.DataFrame) -> str:
    """Mean DSC by the positions of the ASPP modules in the paper and here."""
    means = rows[rows["metric"] == "DSC"]
    lines = [
        (row["positions"], _number(row["paper"]), _ours(row), interval_of(row, "above", "+.1f"))
        for _, row in means.iterrows()
    ]
    ours = means.dropna(subset=["ours"])
    return "\n\n".join(
        [
            table(("ASPP at", "Paper, mean DSC", "Ours", "Points above all four"), lines),
            _origin(ours.iloc[0]) if len(ours) else "",
        ]
    )


def depths() -> list[str]:
    """ASPP's lead by the share of the image that a plain network sees, and what it says."""
    rows = stored.depths()
    return [depths_table(rows), findings.on_lead(rows), findings.on_sizes(stored.sizes())]


def controls() -> list[str]:
    """How much of ASPP's lead each control network gains, and what it says."""
    rows = stored.controls()
    intro = f"All networks have {CONTROL_DEPTH} stages."
    return [intro, controls_table(rows), findings.on_controls(rows)]


def verdicts(rows: pd.DataFrame) -> str:
    """Each claim of the paper, and whether it came out here."""
    lines = (
        rows[["section", "claim", "paper", "ours", "verdict"]].fillna("").itertuples(index=False)
    )
    return table(("Section", "Claim", "Paper", "Ours", "Verdict"), lines)


def audit_page(audit: pd.DataFrame | None = None) -> str:
    """Every check of the paper against itself."""
    audit = _audit() if audit is None else audit
    counts = audit["holds"].value_counts()
    parts = [
        "# Audit of the paper",
        f"{len(audit)} statements of the paper were checked against its own tables: "
        f"{counts.get('yes', 0)} hold, {counts.get('no', 0)} do not, and {counts.get('open', 0)} "
        "depend on how the text is read. A statement does not hold only if it is wrong for every "
        "value that rounds to the printed digits. [Lesson 10](notebooks/10_audit.ipynb) does each "
        "check step by step. The [errata](errata.md) list what does not add up.",
    ]
    for check, rows in audit.groupby("check", sort=False):
        heading, how = SECTIONS.get(str(check), (str(check), ""))
        lines = rows[["claim", "computed", "holds"]].itertuples(index=False)
        parts += [f"## {heading}", how, table(("Statement", "Found", "Holds"), lines)]
    return "\n\n".join(part for part in parts if part) + "\n"


def errata_page(audit: pd.DataFrame | None = None) -> str:
    """What in the paper does not add up."""
    audit = _audit() if audit is None else audit
    wrong, unclear = audit[audit["holds"] == "no"], audit[audit["holds"] == "open"]
    parts = [
        "# Errata: what in the paper does not add up",
        "These statements of the paper contradict its own tables, or arithmetic. No score of ours "
        "is needed to see it. “23 of 24” means that 23 of 24 checked numbers hold. The list says "
        "nothing about why: a slip in a table looks the same as one in the text. "
        "[Lesson 10](notebooks/10_audit.ipynb) shows each computation, and the [audit](audit.md) "
        "lists the statements that hold too.",
        table(("Where", "Statement", "Found"), map(_erratum, wrong.to_dict("records"))),
    ]
    if len(unclear):
        lines = map(_erratum, unclear.to_dict("records"))
        parts += [
            "## Depends on how the text is read",
            table(("Where", "Statement", "Found"), lines),
        ]
    head = ("Where", "Number", "Printed", "Computed")
    parts += [
        "## Number by number",
        "What is printed, and what follows from other printed numbers.",
    ]
    parts += [
        table(head, single_numbers()),
        "## DSC and IoU, class by class",
        CONVEXITY,
        averages(),
    ]
    return "\n\n".join(parts) + "\n"


def single_numbers() -> list[tuple[str, str, str, str]]:
    """The printed numbers that others contradict: where, what, printed, computed."""
    table2, table3 = printed.table2(), printed.table3()
    stated = printed.stated()
    lines = [
        ("Text", row["claim"], f"{row['stated']}", f"{row['computed']}")
        for row in _failing(consistency.split(printed.table1(), stated))
    ]
    for row in _failing(consistency.means(table3)):
        what = f"{row['model']}, {row['metric']}, {row['statistic']} over the classes"
        lines.append(("Table 3", what, f"{row['printed']:.2f}", f"{row['computed']:.2f}"))
    for row in _failing(consistency.leads(table3, stated)):
        what = f"lead over {row['model']} in {row['metric']}"
        lines.append(("Text", what, f"{row['stated']:.2f}", f"{row['from_classes']:.2f}"))
    for row in _failing(consistency.leaders(table3, stated)):
        what = f"best {row['metric']} of class {row['class']}"
        best = f"{row['best_other_model']} ({row['best_other']} against {row['aspp_unet']})"
        lines.append(("Text", what, consistency.PROPOSED_TITLE, best))
    for row in _failing(consistency.ablation(table2)):
        what = f"step to ASPP at {row['positions']}"
        found = f"DSC {row['DSC_step']:+.1f}, IoU {row['IoU_step']:+.1f}"
        lines.append(("Table 2", what, "both rise or both fall", found))
    counted = consistency.parameters(printed.table4()).query("not guess")
    for name, rows in counted.groupby("row", sort=False):
        if not rows["holds"].any():
            found = ", ".join(f"{value:.1f}" for value in rows["counted"])
            lines.append(
                ("Table 4", f"parameters of {name}, millions", rows["printed"].iloc[0], found)
            )
    return lines


CONVEXITY = (
    "IoU = DSC / (2 − DSC) for one mask. If both are averaged over the same cases, the mean IoU "
    "cannot be below the IoU of the mean DSC. These printed IoUs are."
)


def averages() -> str:
    """The classes whose printed IoU is lower than their printed DSC allows."""
    lines = [
        (
            row["model"],
            row["class"],
            f"{row['DSC']:.1f}",
            f"{row['IoU']:.1f}",
            f"{row['least']:.1f}",
        )
        for row in _failing(consistency.convexity(printed.table3()))
    ]
    return table(("Method", "Class", "DSC", "IoU, printed", "IoU, at least"), lines)


def _failing(rows: pd.DataFrame) -> list[dict]:
    return rows[~rows["holds"].astype(bool)].to_dict("records")


def _erratum(row: dict) -> tuple[str, str, str]:
    return SECTIONS.get(row["check"], (row["check"],))[0], row["claim"], row["computed"]


def _audit() -> pd.DataFrame:
    return AUDIT.read(RESULTS / SHOWN)


def _origin(row: pd.Series) -> str:
    data, profile = row["data"], row["profile"]
    return (
        f"Data: {data}, profile `{profile}`, {row['cases']:.0f} patients tested, "
        f"{row['seeds']:.0f} seeds."
    )


def _ours(row: pd.Series) -> str:
    return with_interval(row["ours"], row["low"], row["high"], missing=NOT_RUN)


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.1f}"


def _signed(value: float) -> str:
    return "" if pd.isna(value) else f"{value:+.1f}"

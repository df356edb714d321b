"""Write the numbers in README.md and docs/ from results/.

With `--check`, write nothing; the exit code is 1 if a page is out of date.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from spineseg.evaluation.result_files import COMPARISON, SUMMARY, TIMES, VERDICTS
from spineseg.labels import ALL_CLASSES, FOREGROUND
from spineseg.methods import METHODS, PROPOSED, TABLE3
from spineseg.paper import printed as paper
from spineseg.paper.tables import with_interval
from spineseg.utils.paths import REPOSITORY

RESULTS = REPOSITORY / "results"
LIBRARY = "lib/spineseg"
SHOWN = "phantom-quick"  # the experiment whose figures and tables are committed
EXPERIMENTS = {SHOWN: "phantom", "real-t2-lumbar-quick": "eleven patients"}
EXPERIMENTS |= {
    table.parent.name: "simulated patients at the paper's scale"
    for table in sorted(RESULTS.glob(f"simulated*-paper*/{SUMMARY.name}"))
}
PHANTOM_ONLY = "phantom-bodies-quick-on-real-t2-lumbar"
BUNDLED_ON_PATIENTS = "randomised-1000-bundled-on-real-t2-lumbar"
UNET = "unet"

# What the speed table shows: (part, what) of speed.csv.
SPEED_ROWS = (
    ("training step", PROPOSED),
    ("inference", PROPOSED),
    ("training iteration", ""),
    ("preprocessing", ""),
)


@dataclass(frozen=True)
class Piece:
    """A table or figure, or several, and the files that hold it."""

    title: str
    figures: tuple[str, ...] = ()
    data: tuple[str, ...] = ()

    def __str__(self) -> str:
        files = [_link(name, f"figures/{SHOWN}/{name}.png") for name in self.figures]
        files += [_link(name, f"results/{SHOWN}/{name}") for name in self.data]
        return f"{self.title}: {', '.join(files)}"


@dataclass(frozen=True)
class Notebook:
    """A row of the table of notebooks; `code` are paths in the library."""

    name: str
    teaches: str
    pieces: tuple[Piece, ...]
    code: tuple[str, ...]


NOTEBOOKS = (
    Notebook(
        "01_data_exploration",
        "what a scan and its labels are",
        (
            Piece("Table 1", (), ("shapes.csv",)),
            Piece("Fig. 1 (a)", ("fig1a",), ("slice.npz",)),
            Piece("ours", ("intensities", "class_sizes"), ("measured.csv",)),
        ),
        ("labels.py", "data/overview.py"),
    ),
    Notebook(
        "02_preprocessing",
        "how scans are resampled and cropped, and what that costs",
        (Piece("Fig. 1", ("fig1",), ("fig1.npz", "preprocessing.csv")),),
        ("data/preprocess.py",),
    ),
    Notebook(
        "03_network",
        "ASPP, U-Net and the receptive field",
        (
            Piece("Fig. 2, 3", ("fig2", "fig3")),
            Piece("Fig. 4", ("fig4",), ("network.csv",)),
            Piece("ours", ("receptive_field",), ("receptive_field.csv", "receptive_field.npz")),
        ),
        ("models/blocks.py", "models/aspp_unet.py", "models/receptive_field.py"),
    ),
    Notebook(
        "04_training",
        "how a network is trained and scored",
        (
            Piece(
                "one method in detail",
                ("training", "scores", "examples"),
                ("curves.csv", "scores.csv", "examples.npz"),
            ),
        ),
        ("training/loop.py", "evaluation/metrics.py"),
    ),
    Notebook(
        "05_ablation",
        "which ASPP modules matter",
        (Piece("Table 2", ("ablation",), ("table2.csv",)),),
        ("methods.py", "paper/tables.py"),
    ),
    Notebook(
        "06_baselines",
        "six methods on the same folds, compared case by case",
        (
            Piece(
                "Table 3",
                ("comparison",),
                ("table3.csv", "comparison.csv", "summary.csv", "failures.csv"),
            ),
            Piece("Fig. 7", ("fig7",), ("examples.npz",)),
        ),
        ("evaluation/statistics.py", "paper/tables.py"),
    ),
    Notebook(
        "07_noise",
        "robustness to noise",
        (
            Piece("Fig. 5, 6", ("fig5", "fig6"), ("noise.npz",)),
            Piece("ours", ("noise",), ("noise_curves.csv", "noise.csv")),
        ),
        ("evaluation/noise.py",),
    ),
    Notebook(
        "08_cost",
        "parameters, arithmetic, time",
        (Piece("Table 4", ("cost",), ("table4.csv", "cost.csv")),),
        ("models/counting.py", "benchmark/cost.py"),
    ),
    Notebook(
        "09_figures",
        "every figure of the paper again",
        (Piece("Fig. 8, 9", ("fig8", "fig9"), ("curves.csv",)),),
        ("figures",),
    ),
    Notebook(
        "10_audit",
        "how to check a paper from its own tables, and what reproduced",
        (
            Piece("audit", ("convexity",), ("audit.csv", "audit_convexity.csv")),
            Piece("verdicts", (), ("verdicts.csv",)),
        ),
        ("paper/consistency.py", "paper/verdicts.py"),
    ),
    Notebook(
        "11_speed",
        "how fast the networks run, and why",
        (Piece("ours", ("speed", "growth")),),
        ("models/fast.py", "benchmark"),
    ),
)


def outcome() -> str:
    """The paper's main claim, and what came out, in words."""
    stated = paper.stated().query("metric == 'DSC'").set_index(["claim", "subject"])["value"]
    leads = stated["lead"]
    title = METHODS[PROPOSED].title
    lines = [
        f"**The paper claims** that {title} reaches a mean DSC of "
        f"{100 * stated['headline', title]:.1f} % on 172 patients, "
        f"{leads[METHODS[UNET].title]:.2f} points above {METHODS[UNET].title} and "
        f"{leads.min():.2f} above {leads.idxmin()}, the second best.\n",
        "**What came out here:**\n",
    ]
    lines += [f"- {_lead(name, words)}" for name, words in EXPERIMENTS.items() if _has_lead(name)]
    alone = _dsc(PHANTOM_ONLY).loc[(PROPOSED, ALL_CLASSES)]
    lines.append(
        f"- {title} trained on phantoms alone reaches {100 * alone['mean']:.1f} % on the eleven "
        f"patients ({alone['profile']}, {alone['device']})."
    )
    bundled = _dsc(f"{BUNDLED_ON_PATIENTS}-cleaned-up").loc[(PROPOSED, ALL_CLASSES)]
    lines.append(
        f"- The network in weights/, trained on simulated scans of any contrast, reaches "
        f"{100 * bundled['mean']:.1f} % on the eleven patients ([how](docs/predict.md))."
    )
    verdicts = pd.read_csv(RESULTS / SHOWN / VERDICTS.name)["verdict"]
    counts = ", ".join(f"{count} {words}" for words, count in verdicts.value_counts().items())
    lines.append(
        f"- Of {len(verdicts)} claims, judged on the phantom under the quick profile: {counts} "
        "([claim by claim](notebooks/10_audit.ipynb))."
    )
    return "\n".join(lines)


def _has_lead(experiment: str) -> bool:
    return (RESULTS / experiment / COMPARISON.name).is_file()


def _lead(experiment: str, words: str) -> str:
    """How ASPP-UNet compares with U-Net-2D, in one experiment."""
    ours = _dsc(experiment)
    proposed, unet = (ours.loc[(name, ALL_CLASSES)] for name in (PROPOSED, UNET))
    table = pd.read_csv(RESULTS / experiment / COMPARISON.name)
    lead = table.query("metric == 'DSC' and model == @UNET").iloc[0]
    points, low, high = (float(lead[column]) for column in ("difference", "low", "high"))
    margin = f"lead of {points:.2f} points (95 % interval {low:.2f} to {high:.2f})"
    if low > 0:
        judged = f"The {margin} reproduced."
    elif high < 0:
        judged = (
            f"It is behind by {-points:.2f} points (95 % interval {-high:.2f} to {-low:.2f}): "
            "the lead did not reproduce."
        )
    else:
        judged = f"The {margin} may be chance."
    return (
        f"On the {words} ({proposed['cases']} tested, {proposed['profile']} profile), "
        f"{METHODS[PROPOSED].title} reaches {100 * proposed['mean']:.1f} % and "
        f"{METHODS[UNET].title} {100 * unet['mean']:.1f} %. {judged}"
    )


def scores_table() -> str:
    """Mean DSC of the six methods: paper, then ours and the difference for each experiment."""
    heads = [
        f"ours: {_origin(experiment, words)} | difference"
        for experiment, words in EXPERIMENTS.items()
    ]
    head = f"| mean DSC, % | paper: 172 patients, five folds, K80 | {' | '.join(heads)} |"
    lines = [head, "|---" * (2 + 2 * len(EXPERIMENTS)) + "|"]
    for name in TABLE3:
        cells = [cell for experiment in EXPERIMENTS for cell in _cells(experiment, name)]
        title = METHODS[name].title
        title = f"**{title}**" if name == PROPOSED else title
        lines.append(f"| {title} | {_printed(name, FOREGROUND):.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _printed(name: str, classes: Sequence[str]) -> float:
    """The paper's DSC of a method, averaged over these classes, in per cent."""
    table = paper.table3().query("metric == 'DSC'").set_index(["model", "class"])["mean"]
    return sum(table[METHODS[name].title, c] for c in classes) / len(classes)


def _dsc(experiment: str) -> pd.DataFrame:
    summary = pd.read_csv(RESULTS / experiment / SUMMARY.name)
    rows = summary.query("aggregation == 'volume' and metric == 'DSC'")
    return rows.set_index(["model", "class"])


def _classes(experiment: str) -> list[str]:
    return [c for c in FOREGROUND if (PROPOSED, c) in _dsc(experiment).index]


def _origin(experiment: str, words: str) -> str:
    classes = _classes(experiment)
    row = _dsc(experiment).loc[(PROPOSED, ALL_CLASSES)]
    tested = f"{row['cases']} tested, {classes[0]}-{classes[-1]}"
    return f"{words} ({tested}), {row['profile']}, {row['device']}"


def _cells(experiment: str, name: str) -> tuple[str, str]:
    """Our mean, and its difference to the paper's mean over the classes that the data label."""
    ours = _dsc(experiment)
    if (name, ALL_CLASSES) not in ours.index:
        return "not run", ""
    row = ours.loc[(name, ALL_CLASSES)]
    mean, low, high = (100 * float(row[column]) for column in ("mean", "low", "high"))
    difference = mean - _printed(name, _classes(experiment))
    return with_interval(mean, low, high), f"{difference:+.1f}"


def notebooks_table() -> str:
    """Each notebook: what it teaches, its seconds, its figures and tables, its code."""
    times = pd.read_csv(RESULTS / SHOWN / TIMES.name).set_index("step")["seconds"]
    lines = ["| notebook | teaches | runs in | figures and tables | code |", "|---" * 5 + "|"]
    for notebook in NOTEBOOKS:
        cells = [
            _link(notebook.name[:2], f"notebooks/{notebook.name}.ipynb"),
            notebook.teaches,
            f"{times[notebook.name]:.0f} s",
            "; ".join(map(str, notebook.pieces)),
            ", ".join(_link(path, f"{LIBRARY}/{path}") for path in notebook.code),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    training = times[times.index.str.startswith("train ")]
    minutes = training.sum() / 60
    lines.append(f"\nBefore that, {len(training)} runs trained for {minutes:.0f} minutes in all.")
    return "\n".join(lines)


def _link(text: str, target: str) -> str:
    return f"[{text}]({target})"


def speed_table() -> str:
    """How much longer ASPP-UNet's plain version, or another package, takes."""
    speed = pd.read_csv(RESULTS / "benchmark" / "speed.csv")
    speed["what"] = speed["what"].fillna("")
    others = speed[~speed["version"].str.startswith("ours")]
    lines = ["| | size | compared with | times as long | share of peak |", "|---" * 5 + "|"]
    for part, what in SPEED_ROWS:
        for row in others.query("part == @part and what == @what").to_dict("records"):
            size = row["size"]
            ours = speed.query("part == @part and size == @size and version == 'ours'")
            share = ours.query("what == @what")["share_of_peak"].iloc[0]
            words = f"{part} of {METHODS[what].title}" if what else part
            share_words = "" if pd.isna(share) else f"{share:.0%}"
            cells = [words, size, row["version"], f"{row['ratio']:.1f}", share_words]
            lines.append(f"| {' | '.join(cells)} |")
    lowest = 100 * speed["agreement"].min()
    lines.append(
        f"\nMeasured on {speed['device'][0]}. At least {lowest:.2f} % of held-out pixels get the "
        "label that the plain version gives them."
    )
    return "\n".join(lines)


def fuzz_table() -> str:
    """What happened to damaged files, by format."""
    lines = ["| format | inputs | refused | accepted | broke a rule | slowest | most memory |"]
    lines.append("|---" * 7 + "|")
    for row in pd.read_csv(RESULTS / "reliability" / "fuzz.csv").to_dict("records"):
        broke = sum(row[rule] for rule in ("crashes", "hangs", "over_memory", "other"))
        cells = [row["format"], row["inputs"], row["refused"], row["accepted"], broke]
        cells += [f"{row['worst_seconds']:.2f} s", f"{row['worst_mib']:.0f} MiB"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def bundled_table() -> str:
    """Mean DSC of the network in weights/ on real patients, class by class."""
    experiments = {
        "as the network labels": BUNDLED_ON_PATIENTS,
        "with repaired levels (as `predict` writes)": f"{BUNDLED_ON_PATIENTS}-cleaned-up",
    }
    classes = [*reversed(_classes(BUNDLED_ON_PATIENTS)), ALL_CLASSES]
    lines = [f"| mean DSC, % | {' | '.join(classes)} |", "|---" * (1 + len(classes)) + "|"]
    for words, experiment in experiments.items():
        ours = _dsc(experiment)
        cells = [
            with_interval(*(100 * float(row[column]) for column in ("mean", "low", "high")))
            for row in (ours.loc[(PROPOSED, name)] for name in classes)
        ]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    row = ours.loc[(PROPOSED, ALL_CLASSES)]
    lines.append(
        f"\nData: {row['data']}, {row['cases']} patients. Profile: bundled, one seed. "
        f"Trained on: {row['device']}."
    )
    return "\n".join(lines)


PAGES = {
    "README.md": {
        "outcome": outcome,
        "scores": scores_table,
        "notebooks": notebooks_table,
    },
    "docs/predict.md": {"bundled": bundled_table},
    "docs/speed.md": {"speed": speed_table},
    "docs/reliability.md": {"fuzz": fuzz_table},
}


def updated(page: str) -> str:
    """The page with the numbers that are in results/ now."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for name, table in PAGES[page].items():
        start, end = f"<!-- {name}: tools/update_readme.py -->", f"<!-- end of {name} -->"
        before, rest = text.split(start)
        text = f"{before}{start}\n{table()}\n{end}{rest.split(end)[1]}"
    return text


if __name__ == "__main__":
    texts = {REPOSITORY / page: updated(page) for page in PAGES}
    if "--check" in sys.argv[1:]:
        sys.exit(any(page.read_text(encoding="utf-8") != text for page, text in texts.items()))
    for page, text in texts.items():
        page.write_text(text, encoding="utf-8", newline="\n")

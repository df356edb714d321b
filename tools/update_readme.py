"""Writes the numbers in README.md and docs/ from results/.

`--check` only tells whether they are current.
"""

import sys
from collections.abc import Sequence
from itertools import product

import pandas as pd

from spineseg.labels import FOREGROUND
from spineseg.methods import TABLE3, TITLES
from spineseg.paper.printed import printed as paper
from spineseg.utils.paths import REPOSITORY

RESULTS = REPOSITORY / "results"
CURVES = RESULTS / "reliability" / "ddp_curves.csv"
FUZZ = RESULTS / "reliability" / "fuzz.csv"
SHOWN = "phantom-quick"  # the experiment whose figures and tables are committed
EXPERIMENTS = {
    SHOWN: "phantom",
    "real-t2-lumbar-quick": "eleven patients",
}
EXPERIMENTS |= {
    folder.parent.name: "phantom at the paper's scale"
    for folder in sorted(RESULTS.glob("phantom-full-*/summary.csv"))
}
SPEED = RESULTS / "benchmark" / "speed.csv"
PHANTOM_ONLY = "phantom-bodies-quick-on-real-t2-lumbar"

SPED_UP = (
    ("training step", "aspp_unet"),
    ("inference", "aspp_unet"),
    ("training iteration", ""),
    ("preprocessing", ""),
)

# What stands in the paper (or is ours alone), its notebook, figures, and data.
PIECES = (
    ("Table 1, shapes", "01_data_exploration", (), ("shapes.csv",)),
    ("Fig. 1 (a), labels", "01_data_exploration", ("fig1a",), ("slice.npz",)),
    (
        "brightness and size of classes (ours)",
        "01_data_exploration",
        ("intensities", "class_sizes"),
        ("measured.csv",),
    ),
    ("Fig. 1, labels and crop", "02_preprocessing", ("fig1",), ("fig1.npz", "preprocessing.csv")),
    ("Fig. 2, ASPP; Fig. 3, DC", "03_network", ("fig2", "fig3"), ()),
    ("Fig. 4, network", "03_network", ("fig4",), ("network.csv",)),
    (
        "receptive field (ours)",
        "03_network",
        ("receptive_field",),
        ("receptive_field.csv", "receptive_field.npz"),
    ),
    (
        "one method in detail (ours)",
        "04_training",
        ("training", "scores", "examples"),
        ("curves.csv", "scores.csv", "examples.npz"),
    ),
    ("Table 2, ablation", "05_ablation", ("ablation",), ("table2.csv",)),
    (
        "Table 3, six methods",
        "06_baselines",
        ("comparison",),
        ("table3.csv", "comparison.csv", "summary.csv", "failures.csv"),
    ),
    ("Fig. 7, three cases", "06_baselines", ("fig7",), ("examples.npz",)),
    ("Fig. 5, 6, noise", "07_noise", ("fig5", "fig6"), ("noise.npz",)),
    ("DSC over noise (ours)", "07_noise", ("noise",), ("noise_curves.csv", "noise.csv")),
    ("Table 4, cost", "08_cost", ("cost",), ("table4.csv", "cost.csv")),
    ("Fig. 8, 9, loss", "09_figures", ("fig8", "fig9"), ("curves.csv",)),
    ("the paper audited", "10_audit", ("convexity",), ("audit.csv", "audit_convexity.csv")),
    ("did it reproduce?", "10_audit", (), ("claims.csv",)),
    ("how fast it runs (ours)", "11_speed", ("speed", "growth"), ()),
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
        title = f"**{TITLES[name]}**" if name == "aspp_unet" else TITLES[name]
        lines.append(f"| {title} | {_printed(name, FOREGROUND):.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _printed(name: str, classes: Sequence[str]) -> float:
    """The paper's DSC of a method, averaged over these classes, per cent."""
    table = paper.table3().query("metric == 'DSC'").set_index(["model", "class"])["mean"]
    return sum(table[TITLES[name], c] for c in classes) / len(classes)


def _dsc(experiment: str) -> pd.DataFrame:
    summary = pd.read_csv(RESULTS / experiment / "summary.csv")
    rows = summary.query("aggregation == 'volume' and metric == 'DSC'")
    return rows.set_index(["model", "class"])


def _classes(experiment: str) -> list[str]:
    return [c for c in FOREGROUND if ("aspp_unet", c) in _dsc(experiment).index]


def _origin(experiment: str, words: str) -> str:
    classes = _classes(experiment)
    first = _dsc(experiment).loc[("aspp_unet", "mean")]
    return (
        f"{words} ({first['cases']} tested, {classes[0]}-{classes[-1]}), {first['profile']}, "
        f"{first['device']}"
    )


def _cells(experiment: str, name: str) -> tuple[str, str]:
    """Ours, and how far it lies from the paper's mean over the classes that the data label."""
    ours = _dsc(experiment)
    if (name, "mean") not in ours.index:
        return "not run", ""
    mean, low, high = 100 * ours.loc[(name, "mean"), ["mean", "low", "high"]].astype(float)
    difference = mean - _printed(name, _classes(experiment))
    return f"{mean:.1f} ({low:.1f} to {high:.1f})", f"{difference:+.1f}"


def verdicts_table() -> str:
    """How many claims of the paper reproduced on the phantom."""
    claims = pd.read_csv(RESULTS / SHOWN / "claims.csv")
    counts = claims["verdict"].value_counts()
    alone = _dsc(PHANTOM_ONLY).loc[("aspp_unet", "mean")]
    return "\n".join(
        [
            f"Of {len(claims)} claims, judged on the phantom under the quick profile: "
            + ", ".join(f"{count} {words}" for words, count in counts.items())
            + " ([claim by claim](notebooks/10_audit.ipynb)).",
            f"ASPP-UNet trained on phantoms alone reaches {100 * alone['mean']:.1f} on the eleven "
            f"patients ({alone['profile']}, {alone['device']}).",
        ]
    )


def pieces_table() -> str:
    """Each figure and table, its notebook, its files, and the seconds the notebook takes."""
    times = pd.read_csv(RESULTS / SHOWN / "times.csv").set_index("step")["seconds"]
    lines = ["| in the paper | notebook | figure | data | time |", "|---" * 5 + "|"]
    for what, notebook, figures, data in PIECES:
        drawn = ", ".join(f"[{name}](figures/{SHOWN}/{name}.png)" for name in figures)
        files = ", ".join(f"[{name}](results/{SHOWN}/{name})" for name in data)
        link = f"[{notebook[:2]}](notebooks/{notebook}.ipynb)"
        lines.append(f"| {what} | {link} | {drawn} | {files} | {times[notebook]:.0f} s |")
    training = times[times.index.str.startswith("train ")]
    minutes = training.sum() / 60
    lines.append(f"\nBefore that, {len(training)} runs trained for {minutes:.0f} minutes in all.")
    return "\n".join(lines)


def speed_table() -> str:
    """How many times as long as here ASPP-UNet's plain version, or another package, takes."""
    speed = pd.read_csv(SPEED)
    others = speed[~speed["version"].str.startswith("ours")]
    lines = ["| | size | beside | times as long | share of peak |", "|---" * 5 + "|"]
    for part, what in SPED_UP:
        rows = others[(others["part"] == part) & (others["what"].fillna("") == what)]
        for row in rows.to_dict("records"):
            ours = speed.query("part == @part and size == @row['size'] and version == 'ours'")
            share = ours[ours["what"].fillna("") == what]["share_of_peak"].iloc[0]
            words = f"{part} of {TITLES[what]}" if what in TITLES else part
            share_words = f"{share:.0%}" if share == share else ""
            cells = [words, row["size"], row["version"], f"{row['ratio']:.1f}", share_words]
            lines.append(f"| {' | '.join(cells)} |")
    lowest = speed["agreement"].min()
    lines.append(
        f"\nMeasured on {speed['device'][0]}. Of held-out pixels at least {100 * lowest:.2f} % get "
        "the label that the plain version gives them."
    )
    return "\n".join(lines)


def curves_table() -> str:
    """How far the loss of two processes lies from that of one at most: train, then test loss."""
    curves, losses = pd.read_csv(CURVES), ["train_loss", "test_loss"]
    keys = ["profile", "precision", "epoch"]
    alone = curves.query("processes == 1 and threads == 1")[[*keys, *losses]]
    both = curves.merge(alone, on=keys, suffixes=("", "_alone"))
    for loss in losses:
        both[loss] = (both[loss] - both[f"{loss}_alone"]).abs()
    apart = both.groupby(["profile", "precision", "processes", "threads"])[losses].max()
    lines = [
        "| optimiser | precision | two processes: train, test loss | one process, two threads |",
        "|---" * 4 + "|",
    ]
    optimisers = {"smoke": "AdamW", "smoke-sgd": "SGD"}
    for profile, precision in product(optimisers, ("float64", "float32", "bf16")):
        cells = [
            ", ".join(f"{value:.1e}" for value in apart.loc[key]) if key in apart.index else ""
            for key in ((profile, precision, 2, 1), (profile, precision, 1, 2))
        ]
        lines.append(f"| {optimisers[profile]} | {precision} | {' | '.join(cells)} |")
    return "\n".join(lines)


def fuzz_table() -> str:
    """What became of damaged files, by format."""
    lines = ["| format | inputs | refused | accepted | broke a rule | slowest | most memory |"]
    lines.append("|---" * 7 + "|")
    for row in pd.read_csv(FUZZ).to_dict("records"):
        broke = sum(row[rule] for rule in ("crashes", "hangs", "over_memory", "other"))
        cells = [row["format"], row["inputs"], row["refused"], row["accepted"], broke]
        cells += [f"{row['worst_seconds']:.2f} s", f"{row['worst_mib']:.0f} MiB"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


PAGES = {
    "README.md": {
        "scores": scores_table,
        "verdicts": verdicts_table,
        "pieces": pieces_table,
        "speed": speed_table,
    },
    "docs/reliability.md": {"fuzz": fuzz_table},
    "docs/scaling.md": {"curves": curves_table},
}


def updated(page: str) -> str:
    """The page with its numbers as they are in results/ now."""
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
        page.write_text(text, encoding="utf-8")

"""Write the numbers in README.md and docs/ from results/.

With `--check`, write nothing; the exit code is 1 if a page is out of date.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from spineseg.course import course_plan
from spineseg.evaluation.provenance import device_names
from spineseg.evaluation.result_files import (
    COMPARISON,
    CONVERGENCE,
    FIVE_FOLDS,
    SCORES,
    SEARCH,
    SUMMARY,
    TABLE3,
    TIMES,
    VERDICTS,
)
from spineseg.evaluation.summary import same_runs
from spineseg.experiment import CLEANED_UP
from spineseg.labels import ALL_CLASSES, FOREGROUND
from spineseg.methods import METHODS, PLAIN, PROPOSED
from spineseg.methods import TABLE3 as METHODS_OF_TABLE3
from spineseg.models.receptive_field import rows_seen
from spineseg.paper import findings, mechanism
from spineseg.paper import printed as paper
from spineseg.paper.findings.words import NUMBERS, joined, points
from spineseg.paper.tables import compare, with_interval
from spineseg.paper.verdicts import (
    CANNOT_ACT,
    CHANCE,
    NEEDS_PATIENTS,
    NOT_REPRODUCED,
    REPRODUCED,
    UNTRAINED,
)
from spineseg.profiles import load_profile
from spineseg.utils.paths import REPOSITORY

RESULTS = REPOSITORY / "results"
LIBRARY = "lib/spineseg"
SHOWN = "phantom-laptop"  # the experiment whose figures and tables are committed
SHOWN_PROFILE = "laptop"
LETTER = "phantom-laptop-sgd"  # the paper's recipe to the letter
MECHANISM = {"simulated-laptop": "laptop", "simulated-laptop-220": "laptop-220"}  # and profiles
JUDGED = (SHOWN, "simulated-laptop-220")  # experiments whose verdicts are counted
BUNDLED_ON_PATIENTS = "randomised-1000-bundled-on-real-t2-lumbar"
TRAINED_ON_PATIENTS = {  # where the training starts from, and the experiment
    "simulated patients": "real-t2-lumbar-patients",
    "random weights": "real-t2-lumbar-patients-scratch",
}

VERDICT_WORDS = {
    REPRODUCED: "are reproduced",
    NOT_REPRODUCED: "are not reproduced",
    CHANCE: "cannot be told from chance",
    UNTRAINED: "compare with networks that are not shown to be trained out",
    CANNOT_ACT: "are of effects that cannot act at this size",
    NEEDS_PATIENTS: "need the paper's patients",
}

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
    experiment: str = SHOWN  # of the data; the figures are in that of the notebooks

    def __str__(self) -> str:
        files = [_link(name, f"figures/{SHOWN}/{name}.png") for name in self.figures]
        files += [_link(name, f"results/{self.experiment}/{name}") for name in self.data]
        return f"{self.title}: {', '.join(files)}"


@dataclass(frozen=True)
class Notebook:
    """A row of the table of notebooks; `code` are paths in the library."""

    name: str
    teaches: str
    pieces: tuple[Piece, ...]
    code: tuple[str, ...]


NOTEBOOKS = (
    Notebook("00_start", "start here: the plan of the course and a glossary", (), ("course",)),
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
            Piece("the search", (), ("search.csv", "convergence.csv")),
        ),
        ("training/loop.py", "evaluation/metrics.py"),
    ),
    Notebook(
        "05_ablation",
        "which ASPP modules matter",
        (Piece("Table 2", ("ablation",), ("table2.csv",), "simulated-laptop-220"),),
        ("methods.py", "paper/tables.py"),
    ),
    Notebook(
        "06_baselines",
        "six methods on the same folds, compared case by case",
        (
            Piece(
                "Table 3",
                ("comparison",),
                ("table3.csv", "comparison.csv", "five_folds.csv", "summary.csv", "failures.csv"),
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
        "09_mechanism",
        "when ASPP helps, and why",
        (
            Piece(
                "ours",
                ("mechanism", "controls", "classes_by_depth", "confusion", "trained_fields"),
                ("scores.csv", "confusion.csv", "trained_fields.csv"),
                "simulated-laptop",
            ),
        ),
        ("paper/mechanism.py", "paper/findings"),
    ),
    Notebook(
        "10_audit",
        "how to check a paper from its own tables",
        (Piece("audit", ("convexity",), ("audit.csv", "audit_convexity.csv")),),
        ("paper/consistency.py",),
    ),
    Notebook(
        "11_verdicts",
        "what reproduced",
        (Piece("verdicts", (), ("verdicts.csv",)),),
        ("paper/verdicts.py",),
    ),
    Notebook(
        "A1_figures",
        "appendix: every figure of the paper again",
        (Piece("Fig. 8, 9", ("fig8", "fig9"), ("curves.csv",)),),
        ("figures",),
    ),
    Notebook(
        "A2_speed",
        "appendix: how fast the networks run, and why",
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
        f"{leads[METHODS[PLAIN].title]:.2f} points above {METHODS[PLAIN].title} and "
        f"{leads.min():.2f} above {leads.idxmin()}, the second best. It explains this by a larger "
        "receptive field, which it does not test.\n",
        "**What came out here**, in the terms of the [glossary](notebooks/00_start.ipynb). "
        "The *phantom* is a set of simulated scans. *Simulated patients* are the same patients, "
        "drawn straight onto the grid that the networks see.\n",
        f"- {_lead()}",
        *[f"- {line}" for line in _findings() if line],
        f"- {_verdicts()}",
        f"- {_on_patients()}",
        f"- {_trained_on_patients()}",
    ]
    return "\n".join(lines)


def _lead() -> str:
    """How ASPP-UNet compares with U-Net-2D on the same fold."""
    table3 = pd.read_csv(RESULTS / SHOWN / TABLE3.name).query("metric == 'DSC'")
    means = table3[table3["class"] == ALL_CLASSES].set_index("model")["ours"]
    row = _compared(PLAIN)
    profile = load_profile(SHOWN_PROFILE)
    seen = f"{rows_seen(profile.stages)} of {profile.image_size} rows"
    labelled, repaired = _leads_on_phantom()
    return (
        f"**On the phantom**, {METHODS[PROPOSED].title} reaches {means[PROPOSED]:.1f} % and "
        f"{METHODS[PLAIN].title}, which sees {seen}, {means[PLAIN]:.1f} %: {_difference(row)} "
        f"points more ({row['seeds']} seeds, {row['cases']} tested). {_judged(row)} A rule that "
        "knows the order of the levels can repair masks after any network. It turns the lead of "
        f"the first seed from {_difference(labelled)} into {_difference(repaired)} points "
        "([more](docs/study.md#with-repaired-levels))."
    )


def _compared(model: str, experiment: str = SHOWN) -> pd.Series:
    table = pd.read_csv(RESULTS / experiment / COMPARISON.name)
    return table.query("metric == 'DSC' and model == @model").iloc[0]


def _difference(row: pd.Series) -> str:
    """The difference of a comparison with its interval, in points."""
    return with_interval(*(float(row[column]) for column in ("difference", "low", "high")), ".2f")


def _judged(row: pd.Series) -> str:
    if row["low"] > 0:
        return "The lead is reproduced; its size is another."
    return "The lead is not reproduced." if row["high"] < 0 else "This may be chance."


def _findings() -> list[str]:
    return [_five_folds(), _letter(), _mechanism(), _controls(), _one_more_stage()]


def _letter() -> str:
    """How far the paper's recipe gets, if it was trained."""
    if not (RESULTS / LETTER / SCORES.name).is_file():
        return ""
    found = findings.on_letter(scores_of(LETTER), scores_of(SHOWN))
    return found and f"Also on the phantom: {found[0].lower()}{found[1:]}"


def _five_folds() -> str:
    """The same over all folds that both methods were trained on, with one seed."""
    row = pd.read_csv(RESULTS / SHOWN / FIVE_FOLDS.name).query("metric == 'DSC'").iloc[0]
    if row["folds"] < load_profile(SHOWN_PROFILE).folds:
        return ""
    return (
        f"On all {NUMBERS[row['folds']]} folds of the phantom ({row['cases']} tested, one seed), "
        f"the lead is {_difference(row)} points. The search for the settings saw patients of all "
        "folds but the first."
    )


def _mechanism() -> str:
    """At which shares of the image ASPP helps, and whether images of two sizes agree."""
    depths = pd.concat(
        mechanism.depth_table(scores_of(name), load_profile(profile))
        for name, profile in MECHANISM.items()
    )
    seeds, cases = depths["seeds"].min(), depths["cases"].min()
    search = pd.read_csv(RESULTS / SHOWN / SEARCH.name)
    sentences = [
        f"**On simulated patients** ({seeds} seeds, {cases} tested): {findings.on_lead(depths)}",
        findings.on_sizes(depths),
        findings.on_longer(search, load_profile(SHOWN_PROFILE).epochs),
    ]
    return " ".join(filter(None, sentences))


def _one_more_stage() -> str:
    """Whether the plain network does as well with one more stage, by image size."""
    deeper = pd.concat(
        mechanism.deeper_table(scores_of(name), load_profile(profile))
        for name, profile in MECHANISM.items()
    )
    if deeper.empty:
        return ""
    times = deeper["deeper_unet_parameters"] / deeper["aspp_unet_parameters"]
    return (
        f"{findings.on_one_more_stage(deeper)} It has {times.min():.1f} to {times.max():.1f} times "
        "as many parameters ([what else speaks against the finding](notebooks/09_mechanism.ipynb))."
    )


def _controls() -> str:
    return findings.on_controls(mechanism.control_table(scores_of(next(iter(MECHANISM)))))


def scores_of(experiment: str) -> pd.DataFrame:
    """The scores of each case that an experiment stores."""
    return pd.read_csv(RESULTS / experiment / SCORES.name, dtype={"fold": str})


def _verdicts() -> str:
    tables = [RESULTS / name / VERDICTS.name for name in JUDGED]
    verdicts = pd.concat(pd.read_csv(table) for table in tables if table.is_file())["verdict"]
    counts = verdicts.value_counts()
    parts = [f"{counts[name]} {words}" for name, words in VERDICT_WORDS.items() if name in counts]
    where = "[claim by claim](notebooks/11_verdicts.ipynb)"
    return f"Of {len(verdicts)} claims that were measured, {joined(parts)} ({where})."


def _on_patients() -> str:
    labelled, repaired = (
        _in_per_cent(_dsc(f"{BUNDLED_ON_PATIENTS}{ending}").loc[(PROPOSED, ALL_CLASSES)])
        for ending in ("", CLEANED_UP)
    )
    return (
        "The network in weights/ was trained on simulated scans alone. On eleven real patients "
        f"(Chu et al. 2015), it reaches {labelled} % and, with repaired levels, {repaired} %. "
        "Limits of the repair were set after a look at these patients ([how](docs/predict.md))."
    )


def _trained_on_patients() -> str:
    """How the two networks do if they train on patients too."""
    experiment = TRAINED_ON_PATIENTS["simulated patients"]
    rows = [
        _dsc(f"{experiment}{ending}").loc[(name, ALL_CLASSES)]
        for ending in ("", CLEANED_UP)
        for name in (PROPOSED, PLAIN)
    ]
    ours, plain, ours_repaired, plain_repaired = map(_in_per_cent, rows)
    lead, lead_repaired = (
        _difference(_compared(PLAIN, f"{experiment}{ending}")) for ending in ("", CLEANED_UP)
    )
    profile = load_profile("patients")
    seen = f"{rows_seen(profile.stages)} of {profile.image_size} rows"
    return (
        f"Trained on simulated patients and then on real ones (these {rows[0]['cases']}, five "
        f"folds, one seed), {METHODS[PROPOSED].title} reaches {ours} % and {METHODS[PLAIN].title}, "
        f"which sees {seen}, {plain} %. The lead is {lead} points. With repaired levels they reach "
        f"{ours_repaired} % and {plain_repaired} %, and the lead is {lead_repaired} points "
        "([class by class](docs/study.md#eleven-patients))."
    )


def scores_table() -> str:
    """Mean DSC of the six methods: paper, ours, the difference, and whether it is trained out."""
    table = pd.read_csv(RESULTS / SHOWN / TABLE3.name).query("metric == 'DSC'")
    table = table[table["class"] == ALL_CLASSES].set_index("model")
    ours = table.loc[PROPOSED]
    head = f"ours: phantom, {ours['cases']:.0f} tested, {ours['seeds']:.0f} seeds"
    lines = [
        f"| mean DSC, % | paper: 172 patients, five folds | {head} | difference "
        "| change with twice the epochs |",
        "|---" * 5 + "|",
    ]
    changes = pd.read_csv(RESULTS / SHOWN / CONVERGENCE.name).set_index("model")["change"]
    for name in METHODS_OF_TABLE3:
        title = METHODS[name].title
        title = f"**{title}**" if name == PROPOSED else title
        cells = _cells(table.loc[name]), _signed(changes.get(name))
        lines.append(f"| {title} | {_printed(name, FOREGROUND):.1f} | {' | '.join(cells)} |")
    lines.append(
        f"\nProfile {SHOWN_PROFILE}. Devices: {device_names(table['device'].dropna())}; the "
        "paper's is a K80. The change is on validation patients, with one seed."
    )
    return "\n".join(lines)


def _cells(row: pd.Series) -> str:
    """Our mean and its difference to the paper's."""
    if pd.isna(row["ours"]):
        return "not run | "
    mean = with_interval(*(float(row[column]) for column in ("ours", "low", "high")))
    return f"{mean} | {row['difference']:+.1f}"


def _signed(change: float | None) -> str:
    return "not known" if change is None or pd.isna(change) else f"{change:+.1f}"


def _printed(name: str, classes: Sequence[str]) -> float:
    """The paper's DSC of a method, averaged over these classes, in per cent."""
    table = paper.table3().query("metric == 'DSC'").set_index(["model", "class"])["mean"]
    return sum(table[METHODS[name].title, c] for c in classes) / len(classes)


def _in_per_cent(row: pd.Series) -> str:
    """The mean of a row of summary.csv with its interval."""
    return with_interval(*(100 * float(row[column]) for column in ("mean", "low", "high")))


def _dsc(experiment: str) -> pd.DataFrame:
    summary = pd.read_csv(RESULTS / experiment / SUMMARY.name)
    rows = summary.query("aggregation == 'volume' and metric == 'DSC'")
    return rows.set_index(["model", "class"])


def _classes(experiment: str) -> list[str]:
    return [c for c in FOREGROUND if (PROPOSED, c) in _dsc(experiment).index]


def notebooks_table() -> str:
    """Each notebook: what it teaches, its seconds, its figures and tables, its code."""
    times = pd.read_csv(RESULTS / SHOWN / TIMES.name).set_index("step")["seconds"]
    lines = ["| notebook | teaches | runs in | figures and tables | code |", "|---" * 5 + "|"]
    for notebook in NOTEBOOKS:
        cells = [
            _link(notebook.name[:2], f"notebooks/{notebook.name}.ipynb"),
            notebook.teaches,
            f"{times[notebook.name]:.0f} s" if notebook.name in times else "",
            "; ".join(map(str, notebook.pieces)),
            ", ".join(_link(path, f"{LIBRARY}/{path}") for path in notebook.code),
        ]
        lines.append(f"| {' | '.join(cells)} |")
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
        "with repaired levels (as `predict` writes)": f"{BUNDLED_ON_PATIENTS}{CLEANED_UP}",
    }
    classes = [*reversed(_classes(BUNDLED_ON_PATIENTS)), ALL_CLASSES]
    lines = [f"| mean DSC, % | {' | '.join(classes)} |", "|---" * (1 + len(classes)) + "|"]
    for words, experiment in experiments.items():
        ours = _dsc(experiment)
        cells = [_in_per_cent(row) for row in (ours.loc[(PROPOSED, name)] for name in classes)]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    row = ours.loc[(PROPOSED, ALL_CLASSES)]
    lines.append(
        f"\nData: {row['data']}, {row['cases']} patients. Profile: bundled, one seed. "
        f"Trained on: {row['device']}."
    )
    return "\n".join(lines)


def repaired_table() -> str:
    """ASPP's lead by the share that a plain network sees, with levels as labelled and repaired."""
    experiment = next(iter(MECHANISM))
    profile = load_profile(MECHANISM[experiment])
    repaired = scores_of(f"{experiment}{CLEANED_UP}")
    table = mechanism.repair_table(scores_of(experiment), repaired, profile)
    endings = {"as the network labels": "", "repaired levels": "_repaired"}
    heads = [f"{what}, {which}" for which in endings for what in ("U-Net-2D", "ASPP-UNet", "lead")]
    lines = [f"| sees | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    for row in table.to_dict("records"):
        cells = [f"{row['rows_seen']} of {row['image_rows']} rows"]
        for end in endings.values():
            cells += [f"{row[f'{name}{end}']:.1f}" for name in (PLAIN, PROPOSED)]
            cells.append(points(row, "lead", end))
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(
        f"\nMean DSC, %. {table['cases'].max()} simulated patients, profile {profile.name}, seed "
        f"{_only(repaired['seed'])}, so the intervals are over patients alone. Device: "
        f"{device_names(repaired['device'])}.\n\n{_repaired_phantom()}"
    )
    return "\n".join(lines)


def _only(values: pd.Series) -> str:
    return ", ".join(map(str, sorted(values.unique())))


def _repaired_phantom() -> str:
    """ASPP's lead on the phantom, with levels as labelled and repaired, in words."""
    rows = _leads_on_phantom()
    before, after = map(_difference, rows)
    return (
        f"On the phantom's scans, with the same profile and seed ({rows[1]['cases']} tested), "
        f"ASPP-UNet's lead is {before} points as the networks label, and {after} with repaired "
        "levels."
    )


def _leads_on_phantom() -> tuple[pd.Series, pd.Series]:
    """ASPP's lead as the networks label, and with repaired levels, in the runs that have both."""
    repaired = scores_of(f"{SHOWN}{CLEANED_UP}")
    labelled = same_runs(scores_of(SHOWN), repaired)
    before, after = (
        compare(scores, (PLAIN, PROPOSED)).query("metric == 'DSC'").iloc[0]
        for scores in (labelled, repaired)
    )
    return before, after


def patients_table() -> str:
    """Mean DSC of the networks that were trained and tested on real patients, in turn."""
    stored = {
        (start, levels): _dsc(f"{name}{ending}")
        for start, name in TRAINED_ON_PATIENTS.items()
        for levels, ending in (("as the network labels", ""), ("repaired levels", CLEANED_UP))
        if (RESULTS / f"{name}{ending}" / SUMMARY.name).is_file()
    }
    classes = [*reversed(_classes(next(iter(TRAINED_ON_PATIENTS.values())))), ALL_CLASSES]
    lines = [f"| mean DSC, % | starts from | scored | {' | '.join(classes)} |"]
    lines.append("|---" * (3 + len(classes)) + "|")
    for (start, levels), table in stored.items():
        for name in (name for name in METHODS_OF_TABLE3 if (name, ALL_CLASSES) in table.index):
            means = [f"{100 * table.loc[(name, each), 'mean']:.1f}" for each in classes[:-1]]
            cells = [METHODS[name].title, start, levels, *means]
            cells.append(_in_per_cent(table.loc[(name, ALL_CLASSES)]))
            lines.append(f"| {' | '.join(cells)} |")
    devices = ", ".join(sorted({device for table in stored.values() for device in table["device"]}))
    first = next(iter(stored.values()))
    lines.append(
        f"\n{first['cases'].max()} patients ({first['data'].iloc[0]}), each tested once, by a "
        f"network that did not train on it; one seed. Device: {devices}."
    )
    return "\n".join(lines)


PAGES = {
    "README.md": {
        "outcome": outcome,
        "course": partial(course_plan, "notebooks/", minutes=False),
        "scores": scores_table,
        "notebooks": notebooks_table,
    },
    "docs/predict.md": {"bundled": bundled_table},
    "docs/speed.md": {"speed": speed_table},
    "docs/study.md": {"repaired": repaired_table, "patients": patients_table},
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

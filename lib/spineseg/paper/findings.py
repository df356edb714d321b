"""What tables of results say, in sentences whose words are chosen by the numbers."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from spineseg.evaluation.statistics import POOR
from spineseg.evaluation.summary import common_runs
from spineseg.experiment import SIMULATED
from spineseg.labels import ALL_CLASSES, CLASSES, FOREGROUND
from spineseg.methods import (
    CONTROL_DEPTH,
    METHODS,
    PLAIN,
    PROPOSED,
    TABLE3,
)
from spineseg.paper.mechanism import (
    ENDS,
    FAILING,
    FIELD_SHARES,
    VERTEBRAE,
    first_failing,
    of_vertebrae,
    same_ratio,
)
from spineseg.paper.tables import halving_levels, with_interval
from spineseg.paper.verdicts import (
    CANNOT_ACT,
    CHANCE,
    NEEDS_PATIENTS,
    NOT_REPRODUCED,
    REPRODUCED,
    UNTRAINED,
    VERDICTS,
)
from spineseg.runs import RunRecord

CONTROLLED = {  # what the control networks are, as the subject of a sentence
    "control_no_pooling": "A network with atrous branches and no image pooling",
    "control_pooling": "A network with image pooling and no atrous branches",
    "control_near": "A network with image pooling and atrous branches of rates 1, 2, 3",
    "control_wide": "A network with more parameters and no more reach",
    "control_rows": "A plain network that gets the row coordinate",
}
Row = Mapping[Hashable, Any]
MOSTLY = 50  # per cent of the wrong voxels: more are mostly of that kind
LEAST_CLEAN_DSC = 20.0  # per cent; a method below it without noise has little to lose
FLOOR_DSC = 5.0  # per cent; below it a method has nearly nothing left to lose
LEAST_FALL = 10.0  # points of DSC; less is no fall of which a share can be explained
SMALL_SHARE = 0.1  # of a fall; what brings back less does not explain it
BUSY_SHARE = 0.8  # of the rate of matrix products; a network above it keeps the device busy
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


def on_scans(measured: pd.DataFrame) -> str:
    """How large and how bright the classes are; `measured` is that of `measure_cases`."""
    voxels = measured.groupby("class")["voxels"].sum()
    sentences = [f"Background takes {100 * voxels['BG'] / voxels.sum():.1f} % of all voxels."]
    medians = measured.groupby("class")[["volume_ml", "gray_mean", "gray_sd"]].median()
    bones = medians.reindex([name for name in FOREGROUND[1:] if name in medians.index])
    if not bones.empty:
        volumes, gray = bones["volume_ml"], bones["gray_mean"]
        largest, smallest = str(volumes.idxmax()), str(volumes.idxmin())
        sentences += [
            f"Of the vertebrae, {largest} is the largest (median volume {volumes.max():.1f} mL) "
            f"and {smallest} the smallest ({volumes.min():.1f} mL): a factor of "
            f"{volumes.max() / volumes.min():.1f}.",
            f"Their median gray values range from {gray.min():.0f} to {gray.max():.0f}. Within one "
            f"vertebra, the gray values have an SD of {bones['gray_sd'].median():.0f}.",
        ]
    if "S" in medians.index:
        sentences.append(f"The sacrum has {medians['volume_ml']['S']:.1f} mL.")
    cases = measured["case"].nunique()
    counts = measured["class"].value_counts().reindex(FOREGROUND, fill_value=0)
    lacking = [
        f"{cases - n} lack{'s' * (cases - n == 1)} {name}"
        for name, n in zip(FOREGROUND, counts, strict=True)
        if n < cases
    ]
    sentences.append(
        f"Of {cases} cases, {_listed(lacking)}." if lacking else "No case lacks a class."
    )
    return " ".join(sentences)


def on_brightness(histograms: np.ndarray) -> str:
    """How much the gray values of neighbouring classes overlap.

    `histograms` has the number of voxels of each class and gray value, (classes, 256).
    """
    shares = histograms / np.maximum(histograms.sum(1, keepdims=True), 1)
    present = [index for index in range(1, len(CLASSES)) if histograms[index].any()]
    overlaps = {
        f"{CLASSES[lower]} and {CLASSES[upper]}": np.minimum(shares[lower], shares[upper]).sum()
        for lower, upper in pairwise(present)
    }
    if not overlaps:
        return ""
    most, least = max(overlaps, key=overlaps.__getitem__), min(overlaps, key=overlaps.__getitem__)
    return (
        f"The histograms of neighbouring classes share at least {100 * overlaps[least]:.0f} % of "
        f"their area ({least}), and at most {100 * overlaps[most]:.0f} % ({most}). A threshold "
        f"between {most} would be right in at most {50 * (2 - overlaps[most]):.0f} % of the "
        "voxels, if it met equally many of both, and in 50 % by chance."
    )


def on_patches(accuracy: pd.Series, one: str, other: str) -> str:
    """How often two vertebrae are told apart: the share that is right by side of the patch, mm."""
    small, large = accuracy.index.min(), accuracy.index.max()
    return (
        f"The most similar patches of other patients tell {one} from {other} in "
        f"{100 * accuracy[small]:.0f} % of the patches of {small} mm, and in "
        f"{100 * accuracy[large]:.0f} % of those of {large} mm. By chance it would be 50 %."
    )


def on_resampling(loss: pd.DataFrame, slices: int, size: int) -> str:
    """What preprocessing costs held-out cases.

    `loss` is that of `preprocessing_loss`, with the columns `rows` and `columns` of each scan.
    Cases are grouped by whether their slices and their longer side are those of the target grid.
    """
    worst = loss["outside"].max()
    sentences = [
        f"The window holds every labelled voxel of the {len(loss)} held-out cases."
        if worst == 0
        else f"The window cuts off labelled voxels in {(loss['outside'] > 0).sum()} of "
        f"{len(loss)} held-out cases, and at most {100 * worst:.1f} % of a case's."
    ]
    depth = loss["slices"] != slices
    plane = loss[["rows", "columns"]].max(axis=1) != size
    groups = {
        "for cases of the unified shape": ~depth & ~plane,
        "if only the number of slices differs": depth & ~plane,
        "if only the size in plane differs": ~depth & plane,
        "if both differ": depth & plane,
    }
    means = {words: loss.loc[rows, "DSC"].mean() for words, rows in groups.items() if rows.any()}
    listed = _listed(
        f"{100 * mean:.1f} % {words} ({groups[words].sum()})" for words, mean in means.items()
    )
    sentences.append(
        f"The mean DSC of a mask that went there and back is {listed}; the number of cases is in "
        "brackets."
    )
    _, through, within, _ = (means.get(words) for words in groups)
    if through is not None and within is not None:
        costs = 100 * (1 - through), 100 * (1 - within)
        more = "more" if costs[0] > costs[1] else "less"
        sentences.append(
            f"So resampling the slices costs {more} than resampling in plane: {costs[0]:.1f} "
            f"against {costs[1]:.1f} points."
        )
    return " ".join(sentences)


def on_noise(curves: pd.DataFrame) -> str:
    """How far noise brings each method down; `curves` is that of `noise_curves`."""
    if curves.empty:
        return ""
    table = curves.pivot(index="model", columns="k", values="DSC")
    clean, most = table[table.columns.min()], table.columns.max()
    best, worst = str(clean.idxmax()), str(clean.idxmin())
    ends = [f"{clean[name]:.1f} % ({METHODS[name].title})" for name in dict.fromkeys((worst, best))]
    sentences = [f"Without noise, the mean DSC is {'between ' * (len(ends) > 1)}{_listed(ends)}."]
    low = clean[clean < LEAST_CLEAN_DSC].index
    if len(low):
        who = "All methods" if len(low) == len(clean) > 1 else _listed(_titles(low))
        sentences.append(
            f"{who} start{'s' * (len(low) == 1)} below {LEAST_CLEAN_DSC:.0f} %, so a fall would "
            "say nothing."
        )
    halved = halving_levels(curves).drop(low).sort_values()
    fallen = [f"{k:.0f} ({METHODS[str(name)].title})" for name, k in halved.dropna().items()]
    if fallen:
        sentences.append(f"It falls to half of its value without noise at k = {_listed(fallen)}.")
    if stay := _titles(halved[halved.isna()].index):
        sentences.append(f"It stays above half up to k = {most} for {_listed(stay)}.")
    floor = table[table[most] < FLOOR_DSC].index.difference(low, sort=False)
    if len(floor):
        sentences.append(
            f"At k = {most}, the DSC is below {FLOOR_DSC:.0f} % for {_listed(_titles(floor))}. "
            "This is the floor: no method can fall further than to 0, so there the curves cannot "
            "be told apart."
        )
    return " ".join(sentences)


def on_scale(scale: pd.DataFrame, clean: float) -> str:
    """Whether a slice is labelled worse because noise changes its scale.

    `scale` has the DSC, in per cent and by noise level, if the noisy slice is standardised by its
    `own` mean and SD and by those `kept` from the slice without noise, whose DSC is `clean`.
    """
    gained, fall = scale["kept"] - scale["own"], clean - scale["own"]
    if fall.max() <= 0:
        return "On this slice, noise does not lower the DSC."
    share = (gained / fall)[fall > LEAST_FALL].max()
    sentences = [
        f"On this slice, noise lowers the DSC by up to {fall.max():.1f} points. The scale of the "
        f"slice without noise changes it by {gained.min():+.1f} to {gained.max():+.1f} points."
    ]
    if share < SMALL_SHARE:
        sentences.append("So the scale is not the reason for the fall.")
    elif share <= 1:
        sentences.append(f"So the scale explains at most {100 * share:.0f} % of the fall.")
    return " ".join(sentences)


def on_noise_training(gain: pd.DataFrame) -> str:
    """What training with noise gains and costs; `gain` is that of `noise_gain`."""
    if gain.empty:
        return ""
    rows = gain.sort_values("k").to_dict("records")
    if max(rows[0]["without"], rows[0]["trained"]) < LEAST_CLEAN_DSC:
        return (
            f"With and without noise in training, the mean DSC starts below {LEAST_CLEAN_DSC:.0f} "
            "%, so there is nothing to protect."
        )
    judged = {
        "It raises the DSC at k = {}.": [row["k"] for row in rows if row["low"] > 0],
        "It lowers the DSC at k = {}.": [row["k"] for row in rows if row["high"] < 0],
        "The difference cannot be told from chance at k = {}.": [
            row["k"] for row in rows if not (row["low"] > 0 or row["high"] < 0)
        ],
    }
    changes = " and by ".join(
        f"{with_interval(row['difference'], row['low'], row['high'], '+.1f')} points at "
        f"k = {row['k']}"
        for row in (rows[0], rows[-1])
    )
    said = [words.format(_listed(map(str, ks))) for words, ks in judged.items() if ks]
    return " ".join([f"Training with noise changes the mean DSC by {changes}.", *said])


def _titles(models: Iterable[Hashable]) -> list[str]:
    return [METHODS[str(name)].title for name in models]


def on_cost(table4: pd.DataFrame) -> str:
    """What ASPP costs; `table4` is that of `beside_table4`."""
    rows = table4.set_index("model")
    plain, proposed = rows.loc[METHODS[PLAIN].title], rows.loc[METHODS[PROPOSED].title]
    more = {
        quantity: 100 * (proposed[column] / plain[column] - 1)
        for quantity, column in (
            ("parameters", "parameters_ours"),
            ("arithmetic", "gflops"),
            ("here", "seconds_ours"),
            ("paper", "seconds_paper"),
        )
    }
    sentences = [
        f"ASPP adds {more['parameters']:.0f} % to the parameters of U-Net-2D and "
        f"{more['arithmetic']:.0f} % to its arithmetic."
    ]
    if not np.isnan(more["here"]):
        sentences.append(
            f"The time per image changes by {more['here']:+.0f} % here, and by "
            f"{more['paper']:+.0f} % in the paper."
        )
    for whose, column in (("In the paper", "ratio_paper"), ("Here", "ratio_ours")):
        rates = (rows["gflops_ratio"] / rows[column]).drop(METHODS[PLAIN].title).dropna()
        if len(rates):
            listed = _listed(f"{name} {rate:.2f}" for name, rate in rates.items())
            sentences.append(
                f"{whose}, the networks compute at these multiples of U-Net-2D's rate: {listed}."
            )
    return " ".join(sentences)


def on_peak(cost: pd.DataFrame) -> str:
    """How busy the networks keep the device; `cost` is that of `measure_cost`."""
    shares = cost.set_index("model")["share_of_peak"].dropna()
    if shares.empty:
        return ""
    listed = _listed(
        f"{100 * share:.0f} % ({METHODS[str(name)].title})" for name, share in shares.items()
    )
    sentences = [f"The networks reach these shares of the rate of matrix products: {listed}."]
    if PLAIN in shares:
        waits = shares[PLAIN] < BUSY_SHARE
        sentences.append(
            f"So U-Net-2D {'leaves' if waits else 'hardly leaves'} the device waiting, and another "
            f"network {'can' if waits else 'cannot'} be much faster per operation."
        )
    once = cost.loc[cost["rounds"] == 1, "model"]
    if len(once):
        sentences.append(
            f"The times of {_listed(_titles(once))} are those of a single pass, and may move when "
            "they are measured again."
        )
    return " ".join(sentences)


def on_printed_times(rates: pd.Series, peak: float) -> str:
    """Whether printed times can be; `rates` (by network) and the device's `peak` in TFLOP/s."""
    above, within = rates[rates > peak], rates[rates <= peak]
    parts = []
    for part, words in ((above, "more than"), (within, "no more than")):
        if len(part):
            listed = _listed(f"{name} ({rate:.1f})" for name, rate in part.items())
            parts.append(f"{listed} need{'s' * (len(part) == 1)} {words} this")
    return f"A die has at most {peak:.1f} TFLOP/s. By the printed times, {_listed(parts)}."


def on_lead(depths: pd.DataFrame) -> str:
    """At which shares of the image ASPP helps.

    `depths` holds the rows of `depth_table` of one or several experiments.
    """
    ratios = depths.sort_values(["ratio", "image_rows"])
    sentences = {
        "ASPP raises the mean DSC if the plain network sees {}.": ratios["lead_low"] > 0,
        "If it sees {}, the difference cannot be told from chance.": (ratios["lead_low"] <= 0)
        & (ratios["lead_high"] >= 0),
        "ASPP lowers the mean DSC if the plain network sees {}.": ratios["lead_high"] < 0,
    }
    found = [
        words.format(_listed(map(_at_ratio, ratios[rows].to_dict("records")), "or"))
        for words, rows in sentences.items()
        if rows.any()
    ]
    return " ".join([*found, *_fall(depths)])


def on_stages(depths: pd.DataFrame) -> str:
    """With how many stages ASPP helps, for each number of rows; `depths` is as in `on_lead`."""
    sentences = []
    for rows, size in depths.sort_values("stages").groupby("image_rows"):
        parts = {
            "helps": size["lead_low"] > 0,
            "makes no difference that can be told from chance": (size["lead_low"] <= 0)
            & (size["lead_high"] >= 0),
            "does harm": size["lead_high"] < 0,
        }
        found = []
        for what, where in parts.items():
            stages = list(size["stages"][where])
            if stages:
                some = _listed((NUMBERS[each] for each in stages), "or")
                found.append(f"{what} with {some} stage{'s' * (stages[-1] > 1)}")
        sentences.append(f"In images of {rows} rows, ASPP {_listed(found)}.")
    return " ".join(sentences)


def on_best_control(controls: pd.DataFrame) -> str:
    """Which control gains most; `controls` is that of `control_table`."""
    told = [row for row in controls.to_dict("records") if row["model"] in CONTROLLED]
    if not told:
        return ""
    best = max(told, key=lambda row: row["gain"])
    network = CONTROLLED[best["model"]]
    return (
        f"Of the controls, {network[0].lower()}{network[1:]} gains most: "
        f"{_points(best, 'gain')} points, of {_points(controls.to_dict('records')[-1], 'gain')} "
        "of ASPP."
    )


def _at_ratio(row: Row) -> str:
    low, high = row["lead_low"], row["lead_high"]
    lead = f"{row['lead']:+.1f} points, {low:+.1f} to {high:+.1f}"
    return f"{100 * row['ratio']:.0f} % of {row['image_rows']} rows ({lead})"


def _fall(depths: pd.DataFrame) -> list[str]:
    """Whether the lead gets smaller from each ratio to the next, in images of each size."""
    sizes = [size.sort_values("ratio")["lead"] for _, size in depths.groupby("image_rows")]
    steps = np.concatenate([size.diff().dropna() for size in sizes]) if sizes else np.array([])
    if not len(steps):
        return []
    words = "gets smaller with each" if (steps < 0).all() else "does not get smaller with every"
    return [f"The lead {words} step of this share."]


def on_sizes(depths: pd.DataFrame) -> str:
    """Whether images of two sizes show the same lead at the same ratio; empty if none compare."""
    sentences = []
    for row in same_ratio(depths).to_dict("records"):
        small, large = (
            f"{_points(row, 'lead', f'_{size}')} points if the plain network sees "
            f"{100 * row[f'ratio_{size}']:.0f} % of {row[f'image_rows_{size}']} rows"
            for size in ("small", "large")
        )
        verdict = "overlap" if row["overlap"] else "do not overlap"
        sentences.append(f"The lead is {small}, and {large}: the intervals {verdict}.")
    return " ".join(sentences)


def on_controls(controls: pd.DataFrame) -> str:
    """What ASPP's lead comes from; `controls` is that of `control_table`."""
    if controls.empty:
        return ""
    rows = _by_model(controls)
    lead = _points(controls.to_dict("records")[-1], "gain")
    stages = _stages(CONTROL_DEPTH)
    parts = [
        f"{network} gains {_part(rows[name])}."
        for name, network in CONTROLLED.items()
        if name in rows
    ]
    return " ".join([f"With {stages} ASPP's lead is {lead} points.", *parts, *_cause(rows)])


def _by_model(controls: pd.DataFrame) -> dict[str, Row]:
    return {row["model"]: row for row in controls.to_dict("records")}


def _amount(control: Row) -> str:
    """How much of the lead a control gains, in one word."""
    if np.isnan(control["share"]):
        return "unknown"
    if control["gain_low"] <= 0:
        return "nothing"
    if control["gap_high"] < 0:
        return "more"
    return "all" if control["gap_low"] <= 0 else "part"


def _part(control: Row) -> str:
    words = {
        "unknown": "an unknown part of the lead",
        "nothing": "nothing that can be told from chance",
        "more": "more than the lead",
        "all": "no less than the lead, as far as these runs can tell",
        "part": "part of the lead",
    }[_amount(control)]
    ends = (f"{control[f'share{end}']:.0f}" for end in ("", "_low", "_high"))
    return "{} ({} %, {} to {})".format(words, *ends)


def _cause(controls: Mapping[str, Row]) -> list[str]:
    """The cause that the controls, by model, single out."""
    if not {"control_no_pooling", "control_wide"} <= set(controls):
        return []
    reach = _amount(controls["control_no_pooling"]) in ("all", "more")
    size = _amount(controls["control_wide"]) != "nothing"
    if reach and not size:
        return ["So ASPP helps by the reach of its atrous branches, not by its parameters."]
    if size and not reach:
        return ["So ASPP helps at least in part by its parameters."]
    return ["So these networks do not single out one cause."]


def on_classes(classes: pd.DataFrame) -> str:
    """How far from the sacrum networks begin to fail; `classes` is that of `class_table`."""
    if classes.empty:
        return ""
    failing = first_failing(classes).replace("", "none")
    fails = (failing != "none").any(axis=1)
    sentences: list[str] = []
    for stages, row in zip(failing.index[fails], failing[fails].to_dict("records"), strict=True):
        subject = (
            f"the first class with a mean DSC below {FAILING:.0f} %" if not sentences else "it"
        )
        sentences.append(
            f"With {_stages(stages)}, {subject} is {row[PLAIN]} without ASPP and {row[PROPOSED]} "
            "with it."
        )
    if not fails.all():
        others = _listed((NUMBERS[stages] for stages in failing.index[~fails]), "or")
        sentences.append(f"With {others} stages, no class has a mean DSC below {FAILING:.0f} %.")
    return " ".join(["Count from the sacrum upwards.", *sentences])


def _stages(number: int) -> str:
    return f"{NUMBERS[number]} stage{'s' * (number > 1)}"


def on_names(named: pd.DataFrame, plain: str, proposed: str) -> str:
    """Whether two networks miss vertebrae or misname them; `named` is that of `named_table`."""
    if not {plain, proposed} <= set(named["model"]):
        return ""
    one, other = of_vertebrae(named, plain), of_vertebrae(named, proposed)
    first, last = VERTEBRAE[0], VERTEBRAE[-1]
    sentences = [f"The networks classify the voxels of {first} to {last}."]
    for model, row in ((plain, one), (proposed, other)):
        sentences.append(
            f"{METHODS[model].title}: {row['right']:.1f} % get their own name, "
            f"{row['misnamed']:.1f} % another level's, and {row['missed']:.1f} % are missed."
        )
    names, outlines = (other[part] - one[part] for part in ("misnamed", "missed"))
    sentences.append(
        f"ASPP changes the wrong names by {names:+.1f} points and the missed voxels by "
        f"{outlines:+.1f}."
    )
    return " ".join(sentences)


def on_fields(fields: pd.DataFrame, plain: str, proposed: str) -> str:
    """How far two trained networks look; `fields` is that of `trained_fields`."""
    share = max(FIELD_SHARES)
    rows = fields[fields["share"] == share].drop_duplicates("model").set_index("model")["rows"]
    if not {plain, proposed} <= set(rows.index):
        return ""
    return (
        f"Of the gradient of the middle pixel, {100 * share:.0f} % is within {rows[plain]} rows in "
        f"the trained {METHODS[plain].title}, and within {rows[proposed]} rows in "
        f"{METHODS[proposed].title}."
    )


def on_ablation(rows: pd.DataFrame) -> list[str]:
    """Which positions of ASPP modules are best, one sentence each.

    `rows` is that of `course.score_tables.ablation_rows`.
    """
    ran = rows.dropna(subset="ours").set_index("positions")
    absent = [str(name) for name in rows["positions"] if name not in ran.index]
    not_run = f"Not run: {'; '.join(absent)}." if absent else "All rows were run."
    if ran.empty:
        return ["No row of the ablation was run."]
    best = ran.iloc[ran["ours"].argmax()]
    sentences = [
        f"Of the {len(ran)} rows that were run, the row {best.name} has the highest mean DSC: "
        f"{with_interval(best['ours'], best['low'], best['high'])} %.",
        *_against_reference(ran),
        *_by_position(ran),
        not_run,
    ]
    if ran["seeds"].max() == 1:
        sentences.append("This is one seed. Another seed may give another order.")
    if METHODS[PROPOSED].positions in absent:
        sentences.append("So these results cannot tell whether four modules are better than fewer.")
    return sentences


def _against_reference(ran: pd.DataFrame) -> list[str]:
    """Which rows, indexed by positions, differ from the one with which they are compared."""
    others, reference = ran.dropna(subset="above"), ran[ran["above"].isna()].index
    if others.empty or len(reference) != 1:
        return []
    low, high = others["above_low"], others["above_high"]
    groups = {
        "Significantly better than the row {}: {}.": low > 0,
        "Significantly worse than the row {}: {}.": high < 0,
        "Cannot be told from the row {}: {}.": (low <= 0) & (high >= 0),
    }
    return [
        words.format(reference[0], "; ".join(low.index[rows]))
        for words, rows in groups.items()
        if rows.any()
    ]


def _by_position(ran: pd.DataFrame) -> list[str]:
    """Whether the mean of a single module rises with its position."""
    means = ran.loc[[place for place in "1234" if place in ran.index], "ours"]
    if len(means) < 2:
        return []
    rises = "rises" if means.is_monotonic_increasing else "does not rise"
    return [f"The mean of a single module {rises} with its position."]


def on_verdicts(judged: pd.DataFrame) -> list[str]:
    """Each claim with its verdict, one sentence each; `judged` holds rows of verdicts.csv."""
    sentences = []
    for row in judged.to_dict("records"):
        claim, paper = str(row["claim"]), row["paper"]
        paper = paper if isinstance(paper, str) else f"{paper:+.2f}"  # a column of numbers alone
        sentences.append(
            f"{claim[:1].upper()}{claim[1:]}: {row['verdict']} (paper {paper}, ours {row['ours']})."
        )
    return sentences


def on_means(table3: pd.DataFrame, name: str) -> str:
    """Which method has the highest mean DSC; `table3` is that of `tables.beside_table3`.

    `name` is that of the experiment.
    """
    rows = table3[(table3["class"] == ALL_CLASSES) & (table3["metric"] == "DSC")]
    means = rows.dropna(subset="ours").set_index("model").sort_values("ours", ascending=False)
    absent = [METHODS[model].title for model in TABLE3 if model not in means.index]
    if means.empty:
        return f"{name}: no method was run."
    best = means.iloc[0]
    interval = with_interval(best["ours"], best["low"], best["high"])
    sentences = [
        f"{name}: {METHODS[str(best.name)].title} has the highest mean DSC of the {len(means)} "
        f"methods that were run, {interval} %."
    ]
    others = [
        f"{METHODS[str(model)].title} {ours:.1f} %" for model, ours in means["ours"][1:].items()
    ]
    if others:
        sentences.append(f"Then come {_listed(others)}.")
    if absent:
        sentences.append(f"Not run: {', '.join(absent)}.")
    return " ".join(sentences)


def on_best(table3: pd.DataFrame) -> str:
    """Which method has the highest mean DSC of each class; `table3` as in `on_means`."""
    rows = table3[(table3["class"] != ALL_CLASSES) & (table3["metric"] == "DSC")]
    means = rows.dropna(subset="ours").pivot(index="class", columns="model", values="ours")
    if means.empty:
        return ""
    best = means.idxmax(axis=1)
    classes = {model: [name for name in FOREGROUND if best.get(name) == model] for model in TABLE3}
    parts = [
        f"{METHODS[model].title} on {' '.join(names)}" for model, names in classes.items() if names
    ]
    return f"The highest mean DSC has {'; '.join(parts)}."


def on_leads(leads: pd.DataFrame) -> str:
    """Which leads of ASPP-UNet count; `leads` is that of `course.score_tables.lead_rows`."""
    if leads.empty:
        return "ASPP-UNet was not compared with another method."
    clear = (leads["low"] > 0) | (leads["high"] < 0)
    sentences = [
        f"Of {len(leads)} differences between ASPP-UNet and another method, {clear.sum()} "
        f"can be told from zero: ASPP-UNet is ahead in {(leads['low'] > 0).sum()} and behind in "
        f"{(leads['high'] < 0).sum()}."
    ]
    words = {
        REPRODUCED: "ASPP-UNet leads over {}.",
        NOT_REPRODUCED: "ASPP-UNet is behind {}, against the paper's claim.",
        CHANCE: "Between ASPP-UNet and {}, chance alone can explain the difference.",
        UNTRAINED: "The comparison with {} does not count, because a network in it is not known "
        "to be trained out.",
        CANNOT_ACT: "The comparison with {} does not count, because in images of this size ASPP "
        "has nothing to add.",
    }
    for verdict, sentence in words.items():
        rows = leads[leads["verdict"] == verdict].to_dict("records")
        shown = [_led(row, verdict in (REPRODUCED, NOT_REPRODUCED, CHANCE)) for row in rows]
        if shown:
            sentences.append(sentence.format(_listed(shown)))
    return " ".join(sentences)


def _led(row: Row, with_points: bool) -> str:
    title = METHODS[row["model"]].title
    points = with_interval(row["difference"], row["low"], row["high"], "+.1f")
    return f"{title} ({points} points)" if with_points else title


def on_folds(folds: pd.DataFrame) -> str:
    """U-Net-2D against ASPP-UNet over several folds; `folds` is that of `tables.five_folds`."""
    rows = folds[folds["metric"] == "DSC"].to_dict("records")
    if not rows or rows[0]["folds"] < 2:
        return "The two networks have fewer than two folds in common."
    (row,) = rows
    points = with_interval(row["difference"], row["low"], row["high"], "+.1f")
    return (
        f"Over {row['folds']} folds with one seed and {row['cases']} patients, ASPP-UNet minus "
        f"U-Net-2D is {points} points. This interval is over patients only: it does not know how "
        "far another seed would move the means."
    )


def on_errors(named: pd.DataFrame, models: Sequence[str]) -> list[str]:
    """Whether networks miss vertebrae or misname them, and whether they fail to count.

    `named` is that of `mechanism.named_table`. Methods without rows are left out. One line per
    method, then the conclusions.
    """
    ran = [name for name in models if name in set(named["model"])]
    sentences, by_names, faultless = [], [], []
    for model in ran:
        parts = of_vertebrae(named, model)
        wrong = parts["missed"] + parts["misnamed"]
        if not wrong:
            faultless.append(METHODS[model].title)
            sentences.append(f"{METHODS[model].title} gets no voxel of the vertebrae wrong.")
            continue
        share = 100 * parts["misnamed"] / wrong
        sentences.append(
            f"{METHODS[model].title} gets {wrong:.1f} % of the vertebrae's voxels wrong. Of these, "
            f"{100 - share:.0f} % are missed and {share:.0f} % have another level's name."
        )
        if share > MOSTLY:
            by_names.append(METHODS[model].title)
    others = [title for title in _titles(ran) if title not in (*by_names, *faultless)]
    if by_names:
        sentences.append(f"Most errors of {_listed(by_names)} are wrong names: a failure to count.")
    if others:
        sentences.append(
            f"Most errors of {_listed(others)} are not errors of counting: voxels of a vertebra "
            "are called background."
        )
    return [*sentences, *_changed_errors(named, ran)]


def _changed_errors(named: pd.DataFrame, ran: Sequence[str]) -> list[str]:
    """What ASPP changes: the names or the outlines."""
    if not {PLAIN, PROPOSED} <= set(ran):
        return []
    plain, proposed = of_vertebrae(named, PLAIN), of_vertebrae(named, PROPOSED)
    names, missed = (proposed[part] - plain[part] for part in ("misnamed", "missed"))
    more = "names than in outlines" if abs(names) > abs(missed) else "outlines than in names"
    return [
        f"From {METHODS[PLAIN].title} to {METHODS[PROPOSED].title}, the share of wrong names "
        f"changes by {names:+.1f} points and that of missed voxels by {missed:+.1f}. So the two "
        f"networks differ more in {more}."
    ]


def on_worst(scores: pd.DataFrame, models: Sequence[str]) -> list[str]:
    """The worst case of each method, one sentence each.

    `scores` is the scores.csv of an experiment, of which the runs are used that all these methods
    have in common.
    """
    dice = common_runs(scores, models).query("aggregation == 'volume' and metric == 'DSC'")
    dice = dice.assign(value=100 * dice["value"])
    sentences = []
    for model in (name for name in models if name in set(dice["model"])):
        own = dice[dice["model"] == model]
        means = own.groupby(["case", "seed"], as_index=False)["value"].mean()
        case, seed, worst = means.loc[means["value"].argmin(), ["case", "seed", "value"]]
        row = own[(own["case"] == case) & (own["seed"] == seed)].set_index("class")["value"]
        poor = [name for name in FOREGROUND if row.get(name, np.inf) < 100 * POOR]
        tail = f"below {100 * POOR:.0f} %: {' '.join(poor)}" if poor else "no class is poor"
        sentences.append(
            f"{METHODS[model].title}: {case} with seed {seed}, mean DSC {worst:.1f} %, {tail}."
        )
    return sentences


def on_reach(extents: pd.DataFrame, rows: int) -> str:
    """How far untrained networks can see, and how far they look, in an image of `rows` rows.

    `extents` has the columns network, holds (words) and rows. The first row of each network is the
    whole receptive field, the second the part that holds most of the gradient.
    """
    sentences = []
    for name, of_network in extents.groupby("network", sort=False):
        seen, looked = of_network.to_dict("records")
        share = 100 * seen["rows"] / rows
        sentences.append(
            f"{name} can see {seen['rows']} of {rows} rows ({share:.0f} %), and "
            f"{looked['holds']} is within {looked['rows']} rows."
        )
    return " ".join(sentences)


def on_view(stages: int, seen: int, rows: int) -> str:
    """How much of an image of `rows` rows a plain U-Net sees, and so what ASPP can add."""
    part = f"U-Net-2D with {_stages(stages)} can see"
    if seen >= rows:
        return f"{part} all of {rows} rows: ASPP cannot add a single one."
    return (
        f"{part} {seen} of {rows} rows ({100 * seen / rows:.0f} %). ASPP can add the other "
        f"{rows - seen}."
    )


def on_scores(table3: pd.DataFrame, model: str = PROPOSED) -> str:
    """The mean scores of a method beside the printed ones; `table3` is that of `beside_table3`."""
    rows = table3[(table3["model"] == model) & (table3["class"] == ALL_CLASSES)]
    means = {row["metric"]: row for row in rows.dropna(subset="ours").to_dict("records")}
    if not {"DSC", "IoU"} <= set(means):
        return ""
    dsc, iou = means["DSC"], means["IoU"]
    seeds, cases = int(dsc["seeds"]), int(dsc["cases"])
    return (
        f"{METHODS[model].title} has a mean DSC of "
        f"{with_interval(dsc['ours'], dsc['low'], dsc['high'])} % and a mean IoU of "
        f"{iou['ours']:.1f} %: {cases} held-out patients, {seeds} seed{'s' * (seeds > 1)}. The "
        f"paper prints {dsc['paper']:.1f} % and {iou['paper']:.1f} %, for other patients."
    )


def on_worst_class(table3: pd.DataFrame, scores: pd.DataFrame, model: str = PROPOSED) -> str:
    """Which class has the lowest DSC, ours and in print, and whether few patients cause it.

    `table3` is that of `beside_table3`, `scores` is the scores.csv of an experiment or rows of it.
    """
    rows = table3[(table3["model"] == model) & (table3["metric"] == "DSC")]
    classes = rows[rows["class"] != ALL_CLASSES].dropna(subset="ours").to_dict("records")
    if not classes:
        return ""
    worst, printed = (min(classes, key=lambda row: row[whose]) for whose in ("ours", "paper"))
    ours, paper = worst["class"], printed["class"]
    link = ", as in the paper" if ours == paper else f". In the paper, it is {paper}"
    sentences = [
        f"The class with the lowest DSC is {ours} ({worst['ours']:.1f} %){link} "
        f"({printed['paper']:.1f} %)."
    ]
    volumes = scores.query("model == @model and aggregation == 'volume' and metric == 'DSC'")
    cases = 100 * volumes[volumes["class"] == ours].groupby("case")["value"].mean()
    poor = cases < FAILING
    if poor.any() and not poor.all():
        sentences.append(
            f"In {poor.sum()} of {len(cases)} patients its DSC is below {FAILING:.0f} %; in the "
            f"others it is {cases[~poor].mean():.1f} % on average."
        )
    elif poor.any():
        sentences.append(f"Its DSC is below {FAILING:.0f} % in every patient.")
    return " ".join(sentences)


def on_losses(curves: pd.DataFrame) -> str:
    """How the losses of one method fall; `curves` holds its rows of curves.csv."""
    means = curves.groupby("epoch")[["train_loss", "test_loss"]].mean()
    if means.empty:
        return ""
    first, last = means.iloc[0], means.iloc[-1]
    goes = "falls" if last["train_loss"] < first["train_loss"] else "does not fall: it goes"
    sentences = [
        f"The training loss {goes} from {first['train_loss']:.2f} in the first epoch to "
        f"{last['train_loss']:.3f} in epoch {means.index[-1]}."
    ]
    if pd.notna(last["test_loss"]):
        side = "below" if last["test_loss"] < last["train_loss"] else "above"
        sentences.append(f"The testing loss ends {side} it, at {last['test_loss']:.3f}.")
    return " ".join(sentences)


def on_more_epochs(convergence: pd.DataFrame, model: str = PROPOSED) -> str:
    """Whether twice the epochs change a method's DSC; `convergence` is convergence.csv."""
    found = convergence[convergence["model"] == model].to_dict("records")
    if not found:
        return "Whether more epochs help was not tried."
    (row,) = found
    if pd.isna(row["change"]):
        return f"More than {row['epochs']} epochs were not tried."
    verdict = "trained out" if row["trained_out"] else "not trained out"
    return (
        f"With {row['epochs']} epochs, the DSC on validation patients is {row['DSC']:.1f} %. Twice "
        f"as many epochs change it by {row['change']:+.1f} points, so {METHODS[model].title} "
        f"counts as {verdict}."
    )


def against(
    scores: pd.DataFrame,
    records: Sequence[RunRecord],
    deeper: pd.DataFrame,
    controls: pd.DataFrame,
) -> list[str]:
    """What speaks against the finding, as far as the tables tell; one or two sentences each.

    `scores` and `records` are those of an experiment, `deeper` is that of `deeper_table`.
    """
    found = _scans(scores), _epochs(records), _devices(scores), _depth(deeper), _row(controls)
    return [each for each in found if each]


def _scans(scores: pd.DataFrame) -> str:
    patients, folds = scores["case"].nunique(), scores["fold"].nunique()
    seen = scores[(scores["class"] == FOREGROUND[0]) & (scores["value"] > 0)]["case"].nunique()
    simulated = all(SIMULATED.fullmatch(str(name)) for name in scores["data"].unique())
    return (
        f"The {patients} test patients are {'simulated ones' * simulated or 'those'} of "
        f"{NUMBERS[folds]} fold{'s' * (folds > 1)}. The sacrum, from which one counts, is in the "
        f"images of {'all' if seen == patients else seen} of them."
    )


def _epochs(records: Sequence[RunRecord]) -> str:
    epochs = sorted({record.epochs for record in records})
    if not epochs:
        return ""
    span = f"{epochs[0]}" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
    return (
        f"The networks were trained for {span} epochs, whatever their depth. Whether a plain "
        "network of few stages catches up with more epochs was not tried."
    )


def _devices(scores: pd.DataFrame) -> str:
    names = sorted(scores["device"].unique())
    return f"Not all networks were trained on the same device: {_listed(names)}." * (len(names) > 1)


def _depth(deeper: pd.DataFrame) -> str:
    """Whether one more stage does as much as ASPP."""
    if deeper.empty:
        return ""
    behind = (deeper["difference_low"] > 0).sum()
    sentences = [
        f"A plain network with one more stage is behind ASPP-UNet in {behind} of {len(deeper)} "
        "comparisons."
    ]
    if behind < len(deeper):
        sentences.append("In the others the interval does not show that ASPP-UNet is ahead.")
    for row in deeper.to_dict("records"):
        times = row["deeper_unet_parameters"] / row["aspp_unet_parameters"]
        sentences.append(
            f"In images of {row['image_rows']} rows, the lead of ASPP-UNet with "
            f"{_stages(row['stages'])} over U-Net-2D with {NUMBERS[row['stages'] + 1]} is "
            f"{_points(row, 'difference')} points, and the plain network has {times:.1f} times as "
            "many parameters."
        )
    return " ".join(sentences)


def _row(controls: pd.DataFrame) -> str:
    """How much a network gains by being told the row."""
    told = _by_model(controls).get("control_rows")
    if told is None or _amount(told) in ("unknown", "nothing"):
        return ""
    return (
        f"{CONTROLLED['control_rows']} gains {_part(told)}. So what ASPP gives can in part "
        "be had from the position in the image, which tells the level if all images show the same "
        "part of the spine."
    )


def on_audit(summary: pd.DataFrame) -> str:
    """How many checks of the paper hold, and which do not; `summary` is that of `consistency`."""
    held = summary["holds"].value_counts()
    sentences = [f"Of {len(summary)} checks of the printed numbers, {held.get('yes', 0)} agree."]
    for answer, words in (
        ("no", "These do not"),
        ("open", "Open, because the text has two readings"),
    ):
        claims = summary[summary["holds"] == answer]
        if len(claims):
            found = "; ".join(
                f"{row['check']}, {row['claim']} ({row['computed']})"
                for row in claims.to_dict("records")
            )
            sentences.append(f"{words}: {found}.")
    return " ".join(sentences)


def on_outcome(judged: pd.DataFrame, scans: str) -> str:
    """How many claims got which verdict, and what of the five leads can be said.

    `judged` is that of `verdicts.judge`, and `scans` names what was measured on.
    """
    if judged.empty:
        return f"On {scans}, no claim can be measured yet."
    counts = judged["verdict"].value_counts()
    listed = ", ".join(f"{counts[name]} {name}" for name in VERDICTS if name in counts)
    sentences = [f"On {scans}, {len(judged)} of the claims can be measured: {listed}."]
    leads = judged[judged["claim"].str.startswith("ASPP-UNet above ")]
    leads = leads[leads["claim"].str.contains(" in DSC")]
    parts = []
    for name in VERDICTS:
        rivals = leads["claim"][leads["verdict"] == name]
        rivals = rivals.str.extract("above (.+) in DSC", expand=False)
        if len(rivals):
            parts.append(f"{name} for {_listed(rivals)}")
    if parts:
        sentences.append(f"The lead of ASPP-UNet in DSC is: {'; '.join(parts)}.")
    return " ".join(sentences)


def on_needs(judged: pd.DataFrame) -> list[str]:
    """What it would take to judge the claims without a verdict, one sentence for each reason."""
    needs = {
        UNTRAINED: "train the methods until twice the epochs change the DSC by less than a point",
        CANNOT_ACT: "take longer images or networks of fewer stages",
        CHANCE: "test more patients and train more seeds",
        NEEDS_PATIENTS: "get the paper's own scans, under the agreement of their organisers",
    }
    counts = judged["verdict"].value_counts()
    return [
        f"{counts[name]} claim{'s' * int(counts[name] > 1)} ({name}): {need}."
        for name, need in needs.items()
        if name in counts
    ]


def _points(row: Row, name: str, ending: str = "") -> str:
    """The columns `name`, `name`_low and `name`_high as text; `ending` follows each."""
    mean, low, high = (row[f"{name}{part}{ending}"] for part in ENDS)
    return with_interval(mean, low, high, "+.1f")


def _listed(parts: Iterable[str], last_word: str = "and") -> str:
    *first, last = parts
    return f"{', '.join(first)} {last_word} {last}" if first else last

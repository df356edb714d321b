"""When ASPP helps, and why."""

from collections.abc import Hashable

import numpy as np
import pandas as pd

from spineseg.methods import CONTROL_DEPTH, METHODS, PLAIN, PROPOSED
from spineseg.paper.by_class import FAILING, LABELLED_VERTEBRAE, first_failing, of_vertebrae
from spineseg.paper.control_networks import CONTROLS
from spineseg.paper.findings.words import (
    Row,
    against_zero,
    how_many,
    in_stages,
    in_words,
    joined,
    points,
)
from spineseg.paper.mechanism import FIELD_SHARES, paper_lead
from spineseg.paper.tables import with_interval

NO_GAIN = ("less", "nothing")  # of the words of `amount_of_lead`


def on_lead(depths: pd.DataFrame) -> str:
    """At which shares of the image ASPP helps.

    `depths` holds the rows of `depth_table` of one or several experiments.
    """
    ratios = depths.sort_values(["ratio", "image_rows"])
    sentences = (
        "ASPP raises the mean DSC if the plain network sees {}.",
        "If it sees {}, the difference cannot be told from chance.",
        "ASPP lowers the mean DSC if the plain network sees {}.",
    )
    found = [
        words.format(joined(map(_at_ratio, ratios[rows].to_dict("records")), "or"))
        for words, rows in zip(sentences, _lead_against_zero(ratios), strict=True)
        if rows.any()
    ]
    steps = [
        f"In images of {rows} rows, {step[0].lower()}{step[1:]}"
        for rows, size in depths.groupby("image_rows")
        for step in _steps(size)
    ]
    return " ".join([*found, *steps])


def on_stages(depths: pd.DataFrame) -> str:
    """With how many stages ASPP helps, for each number of rows; `depths` is as in `on_lead`."""
    sentences = []
    for rows, size in depths.sort_values("stages").groupby("image_rows"):
        parts = (
            "ASPP-UNet is ahead",
            "the difference cannot be told from chance",
            "ASPP-UNet is behind",
        )
        found = []
        for what, where in zip(parts, _lead_against_zero(size), strict=True):
            stages = list(size["stages"][where])
            if stages:
                some = joined((in_words(each) for each in stages), "or")
                found.append(f"{what} with {some} stage{'s' * (stages[-1] > 1)}")
        if found:
            sentences.append(f"In images of {rows} rows, {'; '.join(found)}.")
    return " ".join(sentences)


def _lead_against_zero(depths: pd.DataFrame) -> tuple[pd.Series, pd.Series, pd.Series]:
    return against_zero(depths["lead_low"], depths["lead_high"])


def on_best_control(controls: pd.DataFrame) -> str:
    """Which control gains most; `controls` is that of `control_table`."""
    told = controls[controls["model"].isin(CONTROLS)].to_dict("records")
    if not told:
        return ""
    best = max(told, key=lambda row: row["gain"])
    return (
        f"Of the controls, {METHODS[best['model']].title} gains most: {points(best, 'gain')} "
        f"points, of {points(controls.to_dict('records')[-1], 'gain')} of ASPP."
    )


def _at_ratio(row: Row) -> str:
    low, high = row["lead_low"], row["lead_high"]
    lead = f"{row['lead']:+.1f} points, {low:+.1f} to {high:+.1f}"
    return f"{100 * row['ratio']:.0f} % of {row['image_rows']} rows ({lead})"


def _steps(depths: pd.DataFrame) -> list[str]:
    """Whether the lead gets smaller from each ratio to the next, in images of one size."""
    steps = depths.dropna(subset="step_high")
    if steps.empty:
        return []
    if (steps["step_high"] < 0).all():
        return ["The lead is smaller at each larger share."]
    if (steps["step"] >= 0).any():
        return ["The mean lead does not get smaller at every larger share."]
    if len(steps) == 1:
        return ["The mean lead is smaller at the larger share, which may be chance."]
    clear = steps["step_high"] < 0
    which = f"{how_many(clear)} of these {in_words(len(steps))} differences"
    return [
        "From each share to the next larger one, the mean lead is smaller; "
        f"{which} {'is' if clear.sum() == 1 else 'are'} clear."
    ]


def on_fall(depths: pd.DataFrame) -> str:
    """How ASPP's lead changes with the share, for each number of rows; `depths` as in `on_lead`."""
    sizes = depths.sort_values("ratio").groupby("image_rows")
    return " ".join(_fall_of(rows, size) for rows, size in sizes)


def _fall_of(rows: Hashable, size: pd.DataFrame) -> str:
    """The lead in images of one size, from the smallest share to the largest."""
    plain = METHODS[PLAIN].title
    leads = [
        f"{points(row, 'lead')} points if {plain} sees {100 * row['ratio']:.0f} % of them"
        for row in size.to_dict("records")
    ]
    ends = leads[0] if len(leads) == 1 else f"{leads[0]}, and {leads[-1]}"
    return " ".join([f"In images of {rows} rows, ASPP's lead is {ends}.", *_steps(size)])


def on_paper_share(depths: pd.DataFrame) -> str:
    """What the curve of the smallest images would give at the paper's share.

    `depths` is as in `on_lead`. Empty if the paper's share is outside of the curve. The lead is
    interpolated linearly over the logarithm of the share, as the figure draws it.
    """
    share, paper = paper_lead()
    curve = depths[depths["image_rows"] == depths["image_rows"].min()].sort_values("ratio")
    if curve.empty or not curve["ratio"].min() <= share <= curve["ratio"].max():
        return ""
    here = np.interp(np.log(share), np.log(curve["ratio"]), curve["lead"])
    return (
        f"At the paper's share, {100 * share:.0f} %, the curve of images of "
        f"{curve['image_rows'].iloc[0]} rows would give a lead of about {here:+.0f} points. The "
        f"paper's lead is {paper:+.2f}. The networks, their training and the scans differ, so "
        "this curve is no forecast for the paper."
    )


def on_sizes(sizes: pd.DataFrame) -> str:
    """Whether images of two sizes show the same lead at the same ratio; empty if none compare.

    `sizes` is that of `same_ratio`.
    """
    return " ".join(map(_at_two_sizes, sizes.to_dict("records")))


def _at_two_sizes(row: Row) -> str:
    small, large = (
        f"{100 * row[f'ratio_{size}']:.0f} % of {row[f'image_rows_{size}']} rows, with "
        f"{in_stages(row[f'stages_{size}'])}"
        for size in ("small", "large")
    )
    same = (
        f"{METHODS[PLAIN].title} sees about the same share in images of two sizes: {small}, and "
        f"{large}."
    )
    if np.isnan(row["difference_low"]):
        return f"{same} The two have too few patients in common to compare the leads."
    lead = f"{same} In the larger images the lead is {smaller_or_larger(row)}"
    if row["difference_low"] <= 0 <= row["difference_high"]:
        return f"{lead}, which may be chance."
    return f"{lead}. With this training, the share alone does not set the lead."


def smaller_or_larger(row: Row) -> str:
    """By how much the lead differs in the larger images; `row` is one of `same_ratio`."""
    low, mean, high = (row[f"difference{end}"] for end in ("_low", "", "_high"))
    if mean < 0:
        return f"smaller by {with_interval(-mean, -high, -low, '.1f')} points"
    return f"larger by {with_interval(mean, low, high, '.1f')} points"


def on_controls(controls: pd.DataFrame) -> str:
    """What ASPP's lead comes from; `controls` is that of `control_table`."""
    if controls.empty:
        return ""
    rows = rows_by_model(controls)
    lead = points(controls.to_dict("records")[-1], "gain")
    stages = in_stages(CONTROL_DEPTH)
    gains = [
        f"{METHODS[name].title}: {part_of_lead(rows[name])}" for name in CONTROLS if name in rows
    ]
    sentences = [
        f"With {stages} ASPP's lead is {lead} points.",
        f"The gains of the controls: {'; '.join(gains)}." if gains else "",
    ]
    if cause := on_cause(controls):
        sentences += [f"So {cause}", on_limits_of_controls(controls)]
    return " ".join(filter(None, sentences))


def rows_by_model(controls: pd.DataFrame) -> dict[str, Row]:
    return {row["model"]: row for row in controls.to_dict("records")}


def amount_of_lead(control: Row) -> str:
    """How much of the lead a control gains, in one word."""
    if np.isnan(control["share"]):
        return "unknown"
    if control["gain_high"] < 0:
        return "less"
    if control["gain_low"] <= 0:
        return "nothing"
    if control["gap_high"] < 0:
        return "more"
    return "all" if control["gap_low"] <= 0 else "part"


def part_of_lead(control: Row) -> str:
    amount = amount_of_lead(control)
    if amount == "unknown":
        return "an unknown part of the lead"
    words = {
        "less": "less than none: it is behind U-Net-2D",
        "nothing": "none that can be told from chance",
        "more": "more than the lead",
        "all": "as much as the lead, as far as these runs can tell",
        "part": "part of the lead",
    }[amount]
    ends = (f"{control[f'share{end}']:.0f}" for end in ("", "_low", "_high"))
    return "{} ({} %, {} to {})".format(words, *ends)


def on_cause(controls: pd.DataFrame) -> str:
    """The cause that the controls single out, from the middle of a sentence on; empty if unknown.

    `controls` is that of `control_table`.
    """
    rows = rows_by_model(controls)
    if not {"control_no_pooling", "control_wide"} <= set(rows):
        return ""
    amounts = {name: amount_of_lead(row) for name, row in rows.items()}
    if "unknown" in (amounts["control_no_pooling"], amounts["control_wide"]):
        return ""
    branches = amounts["control_no_pooling"] in ("all", "more")
    size = amounts["control_wide"] not in NO_GAIN
    if branches and not size:
        return (
            "ASPP without image pooling (atrous branches and a 1x1 branch) gains as much as all of "
            "ASPP. Five full-width 1x1 branches, which have more parameters than U-Net-2D but see "
            "no more of the image, gain nothing that is clear."
        )
    if size and not branches:
        return "ASPP helps at least in part by its parameters."
    return "these networks do not single out one cause."


def on_limits_of_controls(controls: pd.DataFrame) -> str:
    """What the controls leave open; `controls` is that of `control_table`."""
    rows = rows_by_model(controls)
    limits = {
        "control_wide": "The five full-width 1x1 branches have more parameters than U-Net-2D, but "
        "fewer than ASPP-UNet.",
        "control_near": "How far a branch must reach is open: rates 1, 2, 3 were tried only "
        "together with image pooling.",
    }
    return " ".join(sentence for name, sentence in limits.items() if name in rows)


def on_parts_of_lead(controls: pd.DataFrame) -> str:
    """The controls that gain a part of the lead; `controls` is that of `control_table`."""
    parts = {
        METHODS[name].title: row["share"]
        for name, row in rows_by_model(controls).items()
        if name in CONTROLS and amount_of_lead(row) == "part"
    }
    if not parts:
        return ""
    listed = joined(f"{title} ({share:.0f} %)" for title, share in parts.items())
    overlap = " These parts overlap." if sum(parts.values()) > 100 else ""
    return f"These gain a part of ASPP's lead: {listed}.{overlap}"


def on_classes(classes: pd.DataFrame) -> str:
    """How far from the sacrum networks begin to fail; `classes` is that of `class_table`."""
    if classes.empty:
        return ""
    failing = first_failing(classes).replace("", "none")
    lowest = classes.pivot_table("DSC", "stages", ["network", "class"], sort=False)
    fails = (failing != "none").any(axis=1)
    sentences: list[str] = []
    for stages, row in zip(failing.index[fails], failing[fails].to_dict("records"), strict=True):
        subject = (
            f"the first class with a mean DSC below {FAILING:.0f} %" if not sentences else "it"
        )
        sentences.append(
            f"With {in_stages(stages)}, {subject} is {row[PLAIN]} without ASPP and {row[PROPOSED]} "
            f"with it; the lowest means are {_lowest(lowest.loc[stages, PLAIN])} and "
            f"{_lowest(lowest.loc[stages, PROPOSED])}."
        )
    if not fails.all():
        others = joined((in_words(stages) for stages in failing.index[~fails]), "or")
        sentences.append(f"With {others} stages, no class has a mean DSC below {FAILING:.0f} %.")
    return " ".join(["Count from the sacrum upwards.", *sentences])


def _lowest(dsc: pd.Series) -> str:
    return f"{dsc.min():.1f} % ({dsc.idxmin()})"


def on_names(named: pd.DataFrame, plain: str, proposed: str) -> str:
    """Whether two networks miss vertebrae or misname them; `named` is that of `named_table`."""
    if not {plain, proposed} <= set(named["model"]):
        return ""
    one, other = of_vertebrae(named, plain), of_vertebrae(named, proposed)
    first, last = LABELLED_VERTEBRAE[0], LABELLED_VERTEBRAE[-1]
    sentences = [f"The networks classify the voxels of {first} to {last}."]
    for model, row in ((plain, one), (proposed, other)):
        sentences.append(
            f"{METHODS[model].title}: {row['right']:.1f} % get their own name, "
            f"{row['misnamed']:.1f} % another level's, and {row['missed']:.1f} % are missed."
        )
    names, missed = (other[part] - one[part] for part in ("misnamed", "missed"))
    sentences.append(
        f"ASPP changes the share of wrong names by {names:+.1f} points and that of missed voxels "
        f"by {missed:+.1f}."
    )
    return " ".join(sentences)


def on_fields(fields: pd.DataFrame, plain: str, proposed: str) -> str:
    """How far two trained networks look; `fields` is trained_fields.csv."""
    share = max(FIELD_SHARES)
    rows = fields[fields["share"] == share].drop_duplicates("model").set_index("model")["rows"]
    if not {plain, proposed} <= set(rows.index):
        return ""
    return (
        f"Of the gradient of the middle pixel, {100 * share:.0f} % is within {rows[plain]} rows in "
        f"the trained {METHODS[plain].title}, and within {rows[proposed]} rows in "
        f"{METHODS[proposed].title}."
    )

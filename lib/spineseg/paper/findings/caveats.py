"""What speaks against the mechanism."""

import pandas as pd

from spineseg.experiment import SIMULATED
from spineseg.labels import FOREGROUND
from spineseg.methods import CONTROL_DEPTH, DEPTHS, METHODS, PLAIN, PROPOSED, at_depth
from spineseg.paper.control_networks import CONTROLS
from spineseg.paper.findings.mechanism import (
    NO_GAIN,
    amount_of_lead,
    part_of_lead,
    rows_by_model,
)
from spineseg.paper.findings.words import (
    Row,
    against_zero,
    how_many,
    in_stages,
    in_words,
    joined,
    points,
)
from spineseg.paper.search import TRAINED_OUT


def against(
    scores: pd.DataFrame,
    deeper: pd.DataFrame,
    controls: pd.DataFrame,
) -> list[str]:
    """What speaks against the finding, as far as the tables tell; one or two sentences each.

    `scores` is that of an experiment, `deeper` that of `deeper_table`, `controls` that of
    `control_table`.
    """
    found = _scans(scores), _devices(scores), _depth(deeper), _row(controls)
    return [each for each in found if each]


def _scans(scores: pd.DataFrame) -> str:
    patients, folds = scores["case"].nunique(), scores["fold"].nunique()
    seen = scores[(scores["class"] == FOREGROUND[0]) & (scores["value"] > 0)]["case"].nunique()
    simulated = all(SIMULATED.fullmatch(str(name)) for name in scores["data"].unique())
    return (
        f"The {patients} test patients are {'simulated ones' * simulated or 'those'} of "
        f"{in_words(folds)} fold{'s' * (folds > 1)}. The sacrum, from which one counts, is in the "
        f"images of {'all' if seen == patients else seen} of them."
    )


def _devices(scores: pd.DataFrame) -> str:
    names = sorted(scores["device"].unique())
    return f"Not all networks were trained on the same device: {joined(names)}." * (len(names) > 1)


def on_one_more_stage(deeper: pd.DataFrame) -> str:
    """Whether one more stage does as much as ASPP; `deeper` is that of `deeper_table`."""
    if deeper.empty:
        return ""
    ahead, level, behind = against_zero(deeper["difference_low"], deeper["difference_high"])
    pairs = f"{len(deeper)} pair{'s' * (len(deeper) > 1)}"
    times = (deeper["deeper_unet_parameters"] / deeper["aspp_unet_parameters"]).agg(["min", "max"])
    many = " to ".join(dict.fromkeys(f"{each:.1f}" for each in times))
    return (
        f"In {pairs}, ASPP-UNet was compared with a plain network of one more stage, which has "
        f"{many} times as many parameters. ASPP-UNet is ahead in {how_many(ahead)} and behind in "
        f"{how_many(behind)}; in {how_many(level)} the difference may be chance."
    )


def _depth(deeper: pd.DataFrame) -> str:
    """The same for each number of stages."""
    sentences = [on_one_more_stage(deeper)]
    for row in deeper.to_dict("records"):
        sentences.append(
            f"In images of {row['image_rows']} rows, the lead of ASPP-UNet with "
            f"{in_stages(row['stages'])} over U-Net-2D with {in_words(row['stages'] + 1)} is "
            f"{points(row, 'difference')} points."
        )
    return " ".join(sentences)


def _row(controls: pd.DataFrame) -> str:
    """How much a network gains by being told the row."""
    told = rows_by_model(controls).get("control_rows")
    if told is None or amount_of_lead(told) in ("unknown", *NO_GAIN):
        return ""
    return (
        f"{METHODS['control_rows'].title} gains {part_of_lead(told)}. So what ASPP gives can in "
        "part be had from the position in the image, which tells the level if all images show the "
        "same part of the spine."
    )


def on_longer(longer: pd.DataFrame, epochs: int) -> str:
    """What twice these epochs change; `longer` is that of `longer_table`."""
    first = f"The networks were trained for {epochs} epochs, whatever their depth."
    if longer.empty:
        return f"{first} Whether more epochs change the lead was not tried."
    changes = "; ".join(map(_longer, longer.to_dict("records")))
    other = "Other numbers of stages were not tried with both networks."
    sentences = [
        f"{first} On validation patients (one seed), {2 * epochs} epochs change {changes}.",
        other if {*DEPTHS} - {*longer["stages"]} else "",
        on_trained_out(longer, epochs),
    ]
    return " ".join(filter(None, sentences))


def on_longer_controls(longer: pd.DataFrame, epochs: int) -> str:
    """What twice these epochs change of the controls; `longer` is that of `longer_controls`."""
    if longer[longer["model"].isin(CONTROLS)].empty:
        return "Twice the epochs were not tried for the control networks."
    changes = "; ".join(map(_longer_control, longer.to_dict("records")))
    untrained = (longer["DSC_twice"] - longer["DSC"]).abs() >= TRAINED_OUT
    return (
        f"On validation patients (one seed), {2 * epochs} epochs instead of {epochs} change the "
        f"networks of {in_stages(CONTROL_DEPTH)} by these points: {changes}. Not trained out after "
        f"{epochs} epochs: {how_many(untrained)} of these {in_words(len(longer))} networks. "
        "These parts are of one seed and of other patients than those above, so they differ from "
        "them; they have no intervals."
    )


def _longer_control(row: Row) -> str:
    change = f"{row['DSC_twice'] - row['DSC']:+.1f}"
    if row["model"] not in CONTROLS:
        network = PLAIN if row["model"] == at_depth(PLAIN, CONTROL_DEPTH) else PROPOSED
        return f"{METHODS[network].title} {change}"
    share = f"{row['share_twice']:.0f} % of ASPP's lead instead of {row['share']:.0f} %"
    return f"{METHODS[row['model']].title} {change} ({share})"


def on_trained_out(longer: pd.DataFrame, epochs: int) -> str:
    """Which networks change by too much to count as trained out; `longer` as in `on_longer`."""
    untrained = {row["stages"]: _untrained(row) for row in longer.to_dict("records")}
    count = sum(map(len, untrained.values()))
    if not count:
        return ""
    networks = "; ".join(
        f"{joined(names)} with {in_stages(stages)}" for stages, names in untrained.items() if names
    )
    which = "none of these is" if count == 2 * len(longer) else f"these are not: {networks}"
    return (
        "A network is trained out if twice the epochs change it by less than "
        f"{TRAINED_OUT:.0f} point. After {epochs} epochs, {which}. "
        f"So these leads are not judged. They are those of networks after {epochs} epochs."
    )


def _untrained(row: Row) -> list[str]:
    """The titles of the networks of one depth that twice the epochs change by too much."""
    return [
        METHODS[name].title
        for name in (PLAIN, PROPOSED)
        if abs(row[f"{name}_twice"] - row[name]) >= TRAINED_OUT
    ]


def _longer(row: Row) -> str:
    changes = (
        f"{METHODS[name].title} by {row[f'{name}_twice'] - row[name]:+.1f}"
        for name in (PLAIN, PROPOSED)
    )
    before, after = (
        f"{row[f'{PROPOSED}{end}'] - row[f'{PLAIN}{end}']:+.1f}" for end in ("", "_twice")
    )
    lead = f"stays {before}" if before == after else f"is {after} instead of {before}"
    return f"{joined(changes)} points with {in_stages(row['stages'])}, so the lead there {lead}"


def on_repair(repairs: pd.DataFrame) -> str:
    """How much of ASPP's lead is left after a rule repaired the levels; see `repair_table`."""
    rows = repairs[repairs["lead_low"] > 0].to_dict("records")
    if not rows:
        return ""
    parts = [
        f"{points(row, 'lead', '_repaired')} points instead of {points(row, 'lead')} if the plain "
        f"network sees {_share(row)}"
        for row in rows
    ]
    seeds = int(repairs["seeds"].max())
    of_seed = " with this seed" if seeds == 1 else ""
    sentences = [
        "A rule that knows the order of the levels can repair masks after any network. ASPP's lead "
        f"is then {joined(parts)} ({in_words(seeds)} seed{'s' * (seeds > 1)})."
    ]
    turned = (repairs["lead_high"] >= 0) & (repairs["lead_high_repaired"] < 0)
    behind = repairs[turned].to_dict("records")
    if behind:
        sentences.append(
            f"If it sees {joined(map(_share, behind), 'or')}, ASPP-UNet is then behind{of_seed}."
        )
    always = (repairs["lead_high"] < 0) & (repairs["lead_high_repaired"] < 0)
    if always.any():
        shares = joined(map(_share, repairs[always].to_dict("records")), "or")
        sentences.append(
            f"If it sees {shares}, ASPP-UNet is behind with and without the rule{of_seed}."
        )
    return " ".join(sentences)


def _share(row: Row) -> str:
    return f"{100 * row['ratio']:.0f} % of the image"

"""The first screen of README: the paper's main claims, and what came out in short."""

import pandas as pd
from tools.readme import stored
from tools.readme.claims import (
    claim,
    judged_as,
    may_be_chance,
    rivals_ahead,
    second_best,
    seen,
    stated,
)
from tools.readme.markdown import table
from tools.readme.stored import ABLATED, BY_IMAGE_SIZE, MECHANISM, SHOWN, SHOWN_PROFILE, in_points

from spineseg.experiment import CLEANED_UP
from spineseg.methods import METHODS, PLAIN, PROPOSED
from spineseg.models.counting import COLUMNS, ROWS
from spineseg.paper import findings
from spineseg.paper.findings.words import in_words, joined, points
from spineseg.paper.verdicts import (
    FALLS_FASTER,
    FOUR_MODULES,
    MORE_TIME,
    NOISE_KNEE,
    NOT_REPRODUCED,
    lead_key,
)
from spineseg.profiles import load_profile


def outcome() -> str:
    """The paper's main claims, and what came out, in short."""
    printed = stated()
    leads = printed["lead"]
    title = METHODS[PROPOSED].title
    plain = METHODS[PLAIN].title
    lines = [
        f"**The paper claims** that {title} reaches a mean DSC of "
        f"{100 * printed['headline', title]:.1f} % on 172 patients, {leads[plain]:.2f} points "
        f"above {plain} and {leads.min():.2f} above {leads.idxmin()}, the second best. It says "
        "that the larger receptive field is the reason, and does not test this. It also says "
        f"that it gets worse rapidly if noise is above level k = {NOISE_KNEE}, and that it costs "
        "only slightly more than U-Net-2D. (*k* is the standard deviation of the noise, in gray "
        "values of 0 to 255.)\n",
        _in_short(),
        _main_claims(),
        "*DSC* is the overlap with the true mask; 100 % is perfect. A *point* is one percentage "
        "point of DSC, such as from 80 to 81 %. The *receptive field* is the part of the input "
        "that can change one output pixel. A network *sees* as many rows as its receptive field "
        "is high; at 100 % of the image's rows, the pixels in the middle see all of them. A "
        "*stage* halves the image in the encoder; more stages see more rows. A *seed* is one "
        "training from other random weights. The *phantom* is a set of simulated scans. "
        "*Simulated patients* are the patients of the phantom, drawn straight onto the grid of "
        "the networks. *Validation patients* are some of those for training, held out to choose "
        "settings. A network is *trained out* if twice the epochs change its mean DSC on the "
        "validation patients by less than a point. Brackets hold 95 % intervals.",
    ]
    return "\n".join(lines)


def _main_claims() -> str:
    """The paper's main claims with their verdicts, as a table."""
    rows = load_profile(MECHANISM[ABLATED]).image_size
    rivals = dict.fromkeys([PLAIN, second_best(), *judged_as(NOT_REPRODUCED)])
    lines = []
    for experiment, key, images in (
        *((SHOWN, lead_key(name), "phantom") for name in rivals),
        (ABLATED, FOUR_MODULES, f"simulated patients, {rows} rows"),
        (SHOWN, FALLS_FASTER, "phantom"),
        (SHOWN, MORE_TIME, f"{ROWS} x {COLUMNS} pixels"),
    ):
        row = claim(experiment, key).astype(str)
        lines.append((row["claim"], images, *row[["paper", "ours", "verdict"]]))
    head = ("claim", "our images", "paper", "ours", "verdict")
    return (
        f"{table(head, lines)}\n\nA verdict is on the direction of a difference, not on its size. "
        "([More claims, each in words, and how firm they are](docs/findings.md).)\n"
    )


def _in_short() -> str:
    """The answer in a few sentences: ASPP-UNet's lead on three kinds of scans."""
    lines = [
        f"**In short**, {METHODS[PROPOSED].title}'s lead over {METHODS[PLAIN].title} in DSC:\n",
        f"- {_on_simulated_patients()}",
        f"- {_on_phantom()}",
        f"- {_on_patients_in_short()}\n",
        "None of these are the paper's patients, so its scores and the size of its lead are "
        "neither confirmed nor refuted.\n",
    ]
    return "\n".join(lines)


def _on_simulated_patients() -> str:
    """The leads where the plain network sees least of the image, and where it sees all of it."""
    rows = stored.shown_depths()
    least = rows.loc[rows["ratio"].idxmin()]
    sentences = [
        f"**Simulated patients**, after {load_profile(SHOWN_PROFILE).epochs} epochs: "
        f"{points(least.to_dict(), 'lead')} points if {METHODS[PLAIN].title} sees "
        f"{100 * least['ratio']:.0f} % of the image's rows.",
        _if_all_is_seen(rows[rows["ratio"] >= 1]),
        _if_not_trained_out(),
    ]
    return " ".join(filter(None, sentences))


def _on_phantom() -> str:
    """The lead under the default profile, and the methods that are ahead."""
    sentences = [
        f"**Phantom**, under the default profile, in which {METHODS[PLAIN].title} sees "
        f"{seen(SHOWN_PROFILE)}, after {stored.convergence().loc[PROPOSED, 'epochs']} epochs: "
        f"{in_points(stored.lead_over(PLAIN))} points.",
        rivals_ahead(),
    ]
    return " ".join(filter(None, sentences))


def _if_not_trained_out() -> str:
    """A sentence if twice the epochs still change some of the networks of the mechanism."""
    epochs = load_profile(SHOWN_PROFILE).epochs
    if not findings.on_trained_out(stored.longer(), epochs):
        return ""
    return "Longer training still changes these networks, so their leads are not judged."


def _on_patients_in_short() -> str:
    """ASPP-UNet's leads over U-Net-2D on patients in images of several sizes."""
    leads, repaired = (
        [stored.lead_over(PLAIN, f"{name}{ending}") for name in BY_IMAGE_SIZE]
        for ending in ("", CLEANED_UP)
    )
    sizes = [lead["difference"] for lead in leads]
    clear = sum(not may_be_chance(lead) for lead in repaired)
    told = f"{in_words(clear)} of these leads" if clear else "none of these leads"
    return (
        f"**{leads[0]['cases']} real patients**: {min(sizes):+.1f} to {max(sizes):+.1f} points, "
        "depending on the size of the images. If impossible levels are repaired, "
        f"{told} can be told from chance."
    )


def _if_all_is_seen(depths: pd.DataFrame) -> str:
    """The leads where the plain network sees the whole image."""
    unclear = (depths["lead_low"] <= 0) & (depths["lead_high"] >= 0)
    shares = [f"{100 * ratio:.0f}" for ratio in depths["ratio"]]
    if not shares:
        return ""
    if unclear.all():
        return f"If it sees {joined(shares, 'or')} %, the lead cannot be told from chance."
    leads = [points(row, "lead") for row in depths.to_dict("records")]
    return f"If it sees {joined(shares)} %, the lead is {joined(leads)} points."

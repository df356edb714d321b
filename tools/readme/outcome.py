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
    stages_tried_longer,
    stated,
    without_verdict,
)
from tools.readme.markdown import table
from tools.readme.stored import (
    ABLATED,
    BY_IMAGE_SIZE,
    MECHANISM,
    SHOWN,
    SHOWN_PROFILE,
    TRAINED_ON_PATIENTS,
    in_points,
)

from spineseg.experiment import CLEANED_UP
from spineseg.methods import CONTROL_DEPTH, METHODS, PLAIN, PROPOSED
from spineseg.models.counting import COLUMNS, ROWS
from spineseg.paper import findings
from spineseg.paper.consistency import SLIGHTLY_PERCENT
from spineseg.paper.findings.words import in_seeds, in_stages, in_words, joined, points
from spineseg.paper.verdicts import (
    FALLS_FASTER,
    FOUR_MODULES,
    MORE_TIME,
    NOISE_KNEE,
    NOT_REPRODUCED,
    lead_key,
)
from spineseg.profiles import load_profile

WORDS = (
    "*DSC* (Dice similarity coefficient) is the overlap with the true mask; 100 % is perfect. A "
    "*point* is one percentage point of DSC, such as from 80 to 81 %. The *receptive field* is the "
    "part of the input that can change one output pixel. *ASPP* puts atrous branches (3x3 kernels "
    "with gaps between their points), a 1x1 branch and image pooling (the mean over all pixels) "
    "side by side. A network *sees* as many rows as its "
    "receptive field is high; at 100 % of the image's rows, the pixels in the middle see all of "
    "them. A *stage* halves the image in the encoder; more stages see more rows. A *seed* sets the "
    "first weights and all that is drawn in training; three seeds are three trainings. A *profile* "
    "is a file of settings. The *phantom* is a set of simulated scans. *Simulated patients* are "
    "drawn straight onto the grid of the networks; here they are the patients of the phantom. "
    "*Validation patients* are some of those for training, held out to choose settings. A network "
    "is *trained out* if twice the epochs change its mean DSC on the validation patients by less "
    "than a point. ASPP-UNet's *lead* is its mean DSC minus that of another network, and *gain* is "
    "a network's lead over U-Net-2D. Two numbers in brackets are a 95 % interval. A difference is "
    "*clear* if its interval excludes zero; otherwise it may be chance."
)


def outcome() -> str:
    """The paper's main claims, and what came out, in short."""
    printed = stated()
    leads = printed["lead"]
    title = METHODS[PROPOSED].title
    plain = METHODS[PLAIN].title
    claimed = (
        f"**The paper claims** that {title} reaches a mean DSC of "
        f"{100 * printed['headline', title]:.1f} % on 172 patients, {leads[plain]:.2f} points "
        f"above {plain} and {leads.min():.2f} above {leads.idxmin()}, the second best. It says "
        "that the larger receptive field is the reason, and does not test this. It also says that "
        f"the network gets worse rapidly if noise is above k = {NOISE_KNEE}, and that it costs "
        "only slightly more than U-Net-2D. (*k* is the standard deviation of the noise, in gray "
        "values of 0 to 255.)"
    )
    return "\n\n".join([claimed, _in_short(), _main_claims(), WORDS])


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
        f"{table(head, lines)}\n\nA verdict is on the direction of a difference, not on its size: "
        "*reproduced* means that the interval is on the paper's side of zero. Costs have no "
        f'interval; up to {SLIGHTLY_PERCENT} % more counts as "only slightly more". (More: [all '
        "claims](notebooks/11_verdicts.ipynb), and [how firm the results are](docs/findings.md).)"
    )


def _in_short() -> str:
    """The answer in a few sentences: ASPP-UNet's lead on three kinds of scans, and its cause."""
    found = [_on_simulated_patients(), _why(), _on_phantom(), rivals_ahead(), _on_patients()]
    bullets = "\n".join(f"- {each}" for each in found if each)
    return (
        f"**In short** (the words are explained below the table):\n\n{bullets}\n\n"
        "None of these are the paper's patients, so its scores and the size of its lead are "
        "neither confirmed nor refuted."
    )


def _on_simulated_patients() -> str:
    """The leads where the plain network sees least of the image, and where it sees all of it."""
    rows = stored.shown_depths()
    least = rows.loc[rows["ratio"].idxmin()]
    plain = METHODS[PLAIN].title
    sentences = [
        f"**When?** On simulated patients, {METHODS[PROPOSED].title}'s lead over {plain} is "
        f"{points(least.to_dict(), 'lead')} points of DSC if {plain} sees "
        f"{100 * least['ratio']:.0f} % of the image's rows.",
        _if_all_is_seen(rows[rows["ratio"] >= 1]),
        _if_not_trained_out(),
    ]
    return " ".join(filter(None, sentences))


def _if_not_trained_out() -> str:
    """Sentences if twice the epochs still change some of the networks of the mechanism."""
    consequence = without_verdict()
    return consequence and (
        f"These networks trained for {load_profile(SHOWN_PROFILE).epochs} epochs. Twice as many, "
        f"tried with {stages_tried_longer()}, still change them by more than our limit. "
        f"{consequence}"
    )


def _why() -> str:
    """Which part of ASPP has the lead, and whether one more stage does as well."""
    controls = stored.controls()
    cause = findings.on_cause(controls)
    if not cause:
        return ""
    sentences = [
        f"**Why?** On simulated patients, with {in_stages(CONTROL_DEPTH)} and after "
        f"{load_profile(SHOWN_PROFILE).epochs} epochs: {cause}",
        findings.on_parts_of_lead(controls),
        findings.on_one_more_stage(stored.deeper()),
    ]
    return " ".join(filter(None, sentences))


def _on_phantom() -> str:
    """The lead under the default profile, also with repaired names of vertebrae."""
    lead, (_, repaired) = stored.lead_over(PLAIN), stored.leads_on_phantom()
    return (
        f"**By how much?** On the phantom, where {METHODS[PLAIN].title} sees "
        f"{seen(SHOWN_PROFILE)}, the lead is {in_points(lead)} points "
        f"({stored.convergence().loc[PROPOSED, 'epochs']} epochs, {in_seeds(lead['seeds'])}). "
        "If impossible names of vertebrae are [repaired](docs/predict.md#levels-that-cannot-be), "
        f"it is {in_points(repaired)} (first seed){may_be_chance(repaired)}."
    )


def _on_patients() -> str:
    """ASPP-UNet's leads over U-Net-2D on patients in images of several sizes."""
    leads, repaired = (
        [stored.lead_over(PLAIN, f"{name}{ending}") for name in BY_IMAGE_SIZE]
        for ending in ("", CLEANED_UP)
    )
    sizes = [
        f"{in_points(lead)} points in images of {load_profile(lead['profile']).image_size} rows "
        f"({in_seeds(lead['seeds'])})"
        for lead in leads
    ]
    longer = stored.lead_over(PLAIN, TRAINED_ON_PATIENTS["simulated patients, twice the epochs"])
    clear = sum(not may_be_chance(lead) for lead in repaired)
    told = f"{in_words(clear)} of these leads are clear" if clear else "all of them may be chance"
    return (
        f"**On {leads[0]['cases']} real patients**, the lead over {METHODS[PLAIN].title} is "
        f"{joined(sizes)}. With twice the epochs, tried in images of "
        f"{load_profile('patients').image_size} rows, it is {in_points(longer)} "
        f"({in_seeds(longer['seeds'])}). With repaired names of vertebrae, {told}."
    )


def _if_all_is_seen(depths: pd.DataFrame) -> str:
    """The leads where the plain network sees the whole image."""
    unclear = (depths["lead_low"] <= 0) & (depths["lead_high"] >= 0)
    shares = [f"{100 * ratio:.0f}" for ratio in depths["ratio"]]
    if not shares:
        return ""
    if unclear.all():
        return f"If it sees {joined(shares, 'or')} %, there is no clear lead."
    leads = [points(row, "lead") for row in depths.to_dict("records")]
    return f"If it sees {joined(shares)} %, the lead is {joined(leads)} points."

"""The paper's main claim, and what came out, in words."""

import pandas as pd
from tools.readme import stored
from tools.readme.stored import (
    ABLATED,
    BUNDLED_ON_PATIENTS,
    CONTROLLED,
    LETTER,
    MECHANISM,
    RESULTS,
    SHOWN,
    SHOWN_PROFILE,
    TRAINED_ON_PATIENTS,
    in_per_cent,
    in_points,
    scores_of,
)

from spineseg.course.score_tables import ablation_rows
from spineseg.evaluation.result_files import CONFUSION, SCORES, TABLE3, VERDICTS
from spineseg.experiment import CLEANED_UP
from spineseg.labels import ALL_CLASSES
from spineseg.methods import CONTROL_DEPTH, METHODS, PLAIN, PROPOSED, at_depth
from spineseg.models.receptive_field import rows_seen
from spineseg.paper import findings, mechanism
from spineseg.paper import printed as paper
from spineseg.paper.findings.words import in_stages, in_words, joined, points
from spineseg.paper.tables import with_interval
from spineseg.paper.verdicts import (
    CANNOT_ACT,
    CHANCE,
    NEEDS_PATIENTS,
    NOT_REPRODUCED,
    REPRODUCED,
    UNTRAINED,
    lead_claim,
)
from spineseg.profiles import load_profile

NOISE_SECTION = "2.10"
VERDICT_WORDS = {  # of one claim and of several
    REPRODUCED: ("is reproduced", "are reproduced"),
    NOT_REPRODUCED: ("is not reproduced", "are not reproduced"),
    CHANCE: ("cannot be told from chance", "cannot be told from chance"),
    UNTRAINED: (
        "compares with a network that is not shown to be trained out",
        "compare with networks that are not shown to be trained out",
    ),
    CANNOT_ACT: (
        "is of an effect that cannot act at this size",
        "are of effects that cannot act at this size",
    ),
    NEEDS_PATIENTS: ("needs the paper's patients", "need the paper's patients"),
}


def outcome() -> str:
    """The paper's main claim, and what came out, in words."""
    stated = _stated()
    leads = stated["lead"]
    title = METHODS[PROPOSED].title
    lines = [
        f"**The paper claims** that {title} reaches a mean DSC of "
        f"{100 * stated['headline', title]:.1f} % on 172 patients, "
        f"{leads[METHODS[PLAIN].title]:.2f} points above {METHODS[PLAIN].title} and "
        f"{leads.min():.2f} above {leads.idxmin()}, the second best. It explains this by a larger "
        "receptive field, which it does not test.\n",
        "**What came out here.** DSC is the overlap with the true mask; 100 % is perfect. A "
        "network *sees* the rows of the image that are in its receptive field. The *phantom* is a "
        "set of simulated scans. *Simulated patients* are the same patients, drawn straight onto "
        "the grid of the networks. In brackets are 95 % intervals.\n",
        *[f"- {line}" for line in _findings() if line],
    ]
    return "\n".join(lines)


def _findings() -> list[str]:
    return [
        _lead(),
        _how_firm(),
        _mechanism(),
        _cause(),
        _ablation(),
        _patients(),
        _verdicts(),
    ]


def _lead() -> str:
    """How ASPP-UNet compares with U-Net-2D on the same fold."""
    table3 = pd.read_csv(RESULTS / SHOWN / TABLE3.name).query("metric == 'DSC'")
    means = table3[table3["class"] == ALL_CLASSES].set_index("model")["ours"]
    row = stored.lead_over(PLAIN)
    return (
        f"**Table 3, on the phantom.** {METHODS[PROPOSED].title} reaches {means[PROPOSED]:.1f} % "
        f"and {METHODS[PLAIN].title}, which sees {_seen(SHOWN_PROFILE)}, {means[PLAIN]:.1f} %. The "
        f"lead is {in_points(row)} points ({row['seeds']} seeds, {row['cases']} tested). "
        f"{_judged(row)} ([All six methods](#scores).)"
    )


def _seen(profile_name: str) -> str:
    """How many rows of an image U-Net-2D sees under a profile."""
    profile = load_profile(profile_name)
    return f"{rows_seen(profile.stages)} of {profile.image_size} rows"


def _stated() -> pd.Series:
    """What the paper says of DSC, by claim and subject."""
    return paper.stated().query("metric == 'DSC'").set_index(["claim", "subject"])["value"]


def _judged(row: pd.Series) -> str:
    """The verdict on the lead over U-Net-2D, and whether its size is that of the paper."""
    verdicts = pd.read_csv(RESULTS / SHOWN / VERDICTS.name).set_index("claim")["verdict"]
    verdict = verdicts[lead_claim(PLAIN, "DSC")]
    if verdict != REPRODUCED:
        return f"Verdict on the lead: {verdict}."
    claimed = _stated()["lead", METHODS[PLAIN].title]
    same = row["low"] <= claimed <= row["high"]
    size = "and so is its size" if same else f"but not its size (the paper's: {claimed:.2f})"
    return f"So the lead is reproduced, {size}."


def _how_firm() -> str:
    """What another recipe and another way to name levels make of the lead."""
    labelled, repaired = stored.leads_on_phantom()
    rule = (
        f"A rule that corrects the names of levels after any network turns the lead of the first "
        f"seed from {in_points(labelled)} into {in_points(repaired)} points "
        "([the rule](docs/study.md#with-repaired-levels))."
    )
    if not (RESULTS / LETTER / SCORES.name).is_file():
        return f"**How firm is this lead?** {rule}"
    lead = stored.lead_over(PLAIN, LETTER)
    recipe = f"With the paper's recipe to the letter, it is {in_points(lead)} points. "
    return f"**How firm is this lead?** {recipe}{rule}"


def _mechanism() -> str:
    """How ASPP's lead falls with the share of the image that a plain network sees."""
    depths = stored.depths()
    seeds, cases = depths["seeds"].min(), depths["cases"].min()
    found = findings.on_fall(depths[depths["image_rows"] == load_profile(SHOWN_PROFILE).image_size])
    return found and (
        f"**When ASPP helps**, on simulated patients ({seeds} seeds, {cases} tested). {found}"
        f"{_longer()} {_same_share()}([Each step](#when-aspp-helps).)"
    )


def _same_share() -> str:
    """How the lead differs between images of two sizes of which the same share is seen."""
    sentences = []
    for row in stored.sizes().to_dict("records"):
        small, large = (
            f"images of {row[f'image_rows_{size}']} rows of which it sees "
            f"{100 * row[f'ratio_{size}']:.0f} %"
            for size in ("small", "large")
        )
        sentences.append(
            f"In {large}, the lead differs by {points(row, 'difference')} points from that in "
            f"{small}."
        )
        if not row["difference_low"] <= 0 <= row["difference_high"]:
            sentences.append("So this share alone does not set the lead.")
    return "".join(f"{sentence} " for sentence in sentences)


def _longer() -> str:
    """How much twice the epochs change the lead, where this was tried."""
    epochs = load_profile(SHOWN_PROFILE).epochs
    longer = stored.longer()
    if longer.empty:
        return ""
    stages = joined((in_words(each) for each in longer["stages"]), "or")
    before, after = (longer[f"{PROPOSED}{end}"] - longer[f"{PLAIN}{end}"] for end in ("", "_twice"))
    return (
        f" The networks were trained for {epochs} epochs. Twice as many change the lead by at most "
        f"{(after - before).abs().max():.1f} points, with {stages} stages (one seed)."
    )


def _cause() -> str:
    """What ASPP changes, and which part of it does."""
    found = findings.on_cause(stored.controls())
    if not found:
        return ""
    plain, proposed = (at_depth(name, CONTROL_DEPTH) for name in (PLAIN, PROPOSED))
    named = mechanism.named_table(pd.read_csv(RESULTS / CONTROLLED / CONFUSION.name))
    wrong = {name: mechanism.of_vertebrae(named, name)["misnamed"] for name in (plain, proposed)}
    return (
        f"**Why.** With {in_stages(CONTROL_DEPTH)}, {METHODS[PLAIN].title} gives {wrong[plain]:.1f}"
        f" % of the vertebrae's voxels the name of another level, {METHODS[PROPOSED].title} "
        f"{wrong[proposed]:.1f} %. {found[0].upper()}{found[1:]} "
        f"{findings.on_one_more_stage(stored.deeper())} ([The controls](#when-aspp-helps).)"
    )


def _ablation() -> str:
    """Which positions of ASPP modules are best, in the rows of Table 2 that were run."""
    rows = ablation_rows(scores_of(ABLATED)).set_index("positions")
    every = rows.loc[METHODS[PROPOSED].positions]
    best = rows.loc[rows["ours"].idxmax()]
    size = load_profile(MECHANISM[ABLATED]).image_size
    ours = with_interval(best["ours"], best["low"], best["high"])
    return (
        f"**Table 2**, on simulated patients in images of {size} rows ({rows['seeds'].max():.0f} "
        f"seeds). In the paper, ASPP at {every.name} is best, with {every['paper']:.1f} %. Here "
        f"the highest mean is that of ASPP at {best.name}, {ours} %. ASPP at {every.name} is "
        f"{points(every, 'gain')} points above no ASPP{_may_be_chance(every, 'gain')}. "
        "([Each row](#which-positions).)"
    )


def _may_be_chance(row: pd.Series, name: str) -> str:
    return ", which may be chance" if row[f"{name}_low"] <= 0 <= row[f"{name}_high"] else ""


def _verdicts() -> str:
    rows = load_profile(MECHANISM[ABLATED]).image_size
    on_phantom = _verdicts_of(SHOWN, "on the phantom")
    simulated = _verdicts_of(ABLATED, f"on simulated patients in images of {rows} rows")
    return (
        f"**Verdicts.** {on_phantom} {simulated} ([Claim by claim](notebooks/11_verdicts.ipynb).)"
    )


def _verdicts_of(name: str, scans: str) -> str:
    judged = pd.read_csv(RESULTS / name / VERDICTS.name, dtype={"section": str})
    counts = judged["verdict"].value_counts()
    on_noise = ((judged["verdict"] == REPRODUCED) & (judged["section"] == NOISE_SECTION)).sum()
    parts = [
        f"{counts[verdict]} {words[int(counts[verdict] > 1)]}"
        + (f" ({on_noise} on noise)" if verdict == REPRODUCED and on_noise else "")
        for verdict, words in VERDICT_WORDS.items()
        if verdict in counts
    ]
    return f"Of {counts.sum()} claims that were looked at {scans}, {joined(parts)}."


def _patients() -> str:
    """How the network in weights/ does on real patients, and two networks that train on them."""
    experiment = TRAINED_ON_PATIENTS["simulated patients"]
    labelled, repaired = (
        in_points(stored.lead_over(PLAIN, f"{experiment}{ending}")) for ending in ("", CLEANED_UP)
    )
    cases = stored.dsc_of(experiment).loc[(PROPOSED, ALL_CLASSES), "cases"]
    return (
        f"**{cases} real patients** (Chu et al. 2015). The network in weights/, trained on "
        f"simulated scans alone, reaches {_bundled('')} % and, with corrected names of levels, "
        f"{_bundled(CLEANED_UP)} % ([more](docs/predict.md)). If networks train on patients too "
        f"(five folds, one seed), {METHODS[PROPOSED].title}'s lead is {labelled} points and, with "
        f"corrected names, {repaired}. {METHODS[PLAIN].title} sees {_seen('patients')} here, so "
        "this does not test the paper's reason. ([Class by class](docs/study.md#eleven-patients).)"
    )


def _bundled(ending: str) -> str:
    """The mean DSC of the network in weights/ on patients."""
    scores = stored.dsc_of(f"{BUNDLED_ON_PATIENTS}{ending}")
    return in_per_cent(scores.loc[(PROPOSED, ALL_CLASSES)])

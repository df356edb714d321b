"""The paper's main claim, and what came out, in words."""

import pandas as pd
from tools.readme import stored
from tools.readme.stored import (
    ABLATED,
    BUNDLED_ON_PATIENTS,
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
from spineseg.evaluation.result_files import FIVE_FOLDS, SCORES, TABLE3, VERDICTS
from spineseg.experiment import CLEANED_UP
from spineseg.labels import ALL_CLASSES
from spineseg.methods import METHODS, PLAIN, PROPOSED
from spineseg.models.receptive_field import rows_seen
from spineseg.paper import findings, mechanism
from spineseg.paper import printed as paper
from spineseg.paper.findings.words import NUMBERS, joined
from spineseg.paper.verdicts import (
    CANNOT_ACT,
    CHANCE,
    NEEDS_PATIENTS,
    NOT_REPRODUCED,
    REPRODUCED,
    UNTRAINED,
)
from spineseg.profiles import load_profile

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
    row = stored.lead_over(PLAIN)
    profile = load_profile(SHOWN_PROFILE)
    seen = f"{rows_seen(profile.stages)} of {profile.image_size} rows"
    claimed = _stated()["lead", METHODS[PLAIN].title]
    labelled, repaired = stored.leads_on_phantom()
    return (
        f"**On the phantom**, {METHODS[PROPOSED].title} reaches {means[PROPOSED]:.1f} % and "
        f"{METHODS[PLAIN].title}, which sees {seen}, {means[PLAIN]:.1f} %: {in_points(row)} "
        f"points more ({row['seeds']} seeds, {row['cases']} tested). {_judged(row, claimed)} "
        "A rule that knows the order of the levels can repair masks after any network. It turns "
        f"the lead of the first seed from {in_points(labelled)} into {in_points(repaired)} points "
        "([more](docs/study.md#with-repaired-levels))."
    )


def _stated() -> pd.Series:
    """What the paper says of DSC, by claim and subject."""
    return paper.stated().query("metric == 'DSC'").set_index(["claim", "subject"])["value"]


def _judged(row: pd.Series, claimed: float) -> str:
    if row["low"] > 0:
        same = row["low"] <= claimed <= row["high"]
        size = "and so is its size" if same else f"but not its size (the paper's: {claimed:.2f})"
        return f"So the lead is reproduced, {size}."
    return "The lead is not reproduced." if row["high"] < 0 else "This may be chance."


def _findings() -> list[str]:
    return [_five_folds(), _letter(), _mechanism(), _cause(), _one_more_stage(), _ablation()]


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
        f"the lead is {in_points(row)} points. The search for the settings saw patients of all "
        "folds but the first."
    )


def _mechanism() -> str:
    """How ASPP's lead falls with the share of the image that a plain network sees."""
    depths = stored.depths()
    seeds, cases = depths["seeds"].min(), depths["cases"].min()
    found = findings.on_fall(depths)
    return found and (
        f"**On simulated patients** ({seeds} seeds, {cases} tested): {found[0].lower()}{found[1:]} "
        "([Each step](#when-aspp-helps).)"
    )


def _cause() -> str:
    found = findings.on_cause(stored.controls())
    return found and f"**Why**, in these runs: {found} ([The controls](#when-aspp-helps).)"


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
        f"{findings.on_one_more_stage(deeper)} The plain network has {times.min():.1f} to "
        f"{times.max():.1f} times as many parameters "
        "([what else speaks against the finding](notebooks/09_mechanism.ipynb))."
    )


def _ablation() -> str:
    """Which positions of ASPP modules are best, in the rows of Table 2 that were run."""
    rows = ablation_rows(scores_of(ABLATED))
    found = " ".join(findings.on_ablation(rows))
    size = load_profile(MECHANISM[ABLATED]).image_size
    return (
        f"**Table 2**, on simulated patients in images of {size} rows ({rows['seeds'].max():.0f} "
        f"seeds): {found[0].lower()}{found[1:]} Twice the epochs were not tried for these networks."
    )


def _verdicts() -> str:
    rows = load_profile(MECHANISM[ABLATED]).image_size
    on_phantom = _verdicts_of(SHOWN, "on the phantom")
    simulated = _verdicts_of(ABLATED, f"on simulated patients in images of {rows} rows")
    return f"{on_phantom} {simulated} ([Claim by claim](notebooks/11_verdicts.ipynb).)"


def _verdicts_of(name: str, scans: str) -> str:
    counts = pd.read_csv(RESULTS / name / VERDICTS.name)["verdict"].value_counts()
    parts = [
        f"{counts[verdict]} {words[int(counts[verdict] > 1)]}"
        for verdict, words in VERDICT_WORDS.items()
        if verdict in counts
    ]
    return f"Of {counts.sum()} claims that were looked at {scans}, {joined(parts)}."


def _on_patients() -> str:
    labelled, repaired = (
        in_per_cent(stored.dsc_of(f"{BUNDLED_ON_PATIENTS}{ending}").loc[(PROPOSED, ALL_CLASSES)])
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
        stored.dsc_of(f"{experiment}{ending}").loc[(name, ALL_CLASSES)]
        for ending in ("", CLEANED_UP)
        for name in (PROPOSED, PLAIN)
    ]
    ours, plain, ours_repaired, plain_repaired = map(in_per_cent, rows)
    lead, lead_repaired = (
        in_points(stored.lead_over(PLAIN, f"{experiment}{ending}")) for ending in ("", CLEANED_UP)
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

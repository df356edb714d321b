"""What came out in detail: one paragraph per question."""

import numpy as np
from tools.readme import stored
from tools.readme.claims import (
    OTHER_RIVALS,
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
from tools.readme.stored import (
    ABLATED,
    BUNDLED_ON_PATIENTS,
    BY_IMAGE_SIZE,
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

from spineseg.evaluation.result_files import (
    CONFUSION,
    COST,
    NOISE,
    NOISE_CURVES,
    SCORES,
    TABLE3,
    TABLE4,
    VERDICTS,
)
from spineseg.experiment import CLEANED_UP
from spineseg.labels import ALL_CLASSES
from spineseg.methods import (
    CONTROL_DEPTH,
    METHODS,
    NNUNET,
    PLAIN,
    PROPOSED,
    TABLE3_METHODS,
    at_depth,
)
from spineseg.models.counting import COLUMNS, ROWS
from spineseg.paper import by_class, findings
from spineseg.paper.ablation import ablation_rows
from spineseg.paper.findings.words import in_seeds, in_stages, in_words, joined, points
from spineseg.paper.tables import halving_by_seed, percent_more, with_interval
from spineseg.paper.verdicts import (
    CANNOT_ACT,
    CHANCE,
    EXPECTED,
    FALLS_FASTER,
    NEEDS_PATIENTS,
    NOISE_BEYOND,
    NOISE_CLEAN,
    NOISE_KNEE,
    NOISE_TRAINING,
    NOT_REPRODUCED,
    REPRODUCED,
    UNTRAINED,
    lead_key,
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


def what_came_out() -> str:
    """What came out in detail: a paragraph per question."""
    return "\n\n".join(filter(None, _findings()))


def _findings() -> list[str]:
    return [
        _lead(),
        _how_firm(),
        _mechanism(),
        _cause(),
        _ablation(),
        _noise(),
        _cost(),
        _patients(),
        _verdicts(),
    ]


def _lead() -> str:
    """How ASPP-UNet compares with U-Net-2D on the same fold."""
    table3 = TABLE3.read(RESULTS / SHOWN).query("metric == 'DSC'")
    means = table3[table3["class"] == ALL_CLASSES].set_index("model")["ours"]
    row = stored.lead_over(PLAIN)
    close = findings.on_close_rivals(stored.convergence().reset_index())
    parts = [
        _judged(),
        _other_rivals(),
        _over_second_best(),
        rivals_ahead(),
        close,
        _coarse_rivals(),
    ]
    judgement = " ".join(filter(None, parts))
    return (
        f"**Table 3, on the phantom.** {METHODS[PROPOSED].title} reaches {means[PROPOSED]:.1f} % "
        f"and {METHODS[PLAIN].title}, which sees {seen(SHOWN_PROFILE)}, {means[PLAIN]:.1f} %. The "
        f"lead is {in_points(row)} points ({row['seeds']} seeds, {row['cases']} tested). "
        f"{judgement} ([All six methods](#six-methods).)"
    )


def _other_rivals() -> str:
    """The leads over the other methods that are shown to be trained out, unless all are."""
    trained_out = stored.convergence()["trained_out"]
    shown = [name for name in OTHER_RIVALS if trained_out.get(name, False)]
    if shown in ([], OTHER_RIVALS):
        return ""
    names = joined(METHODS[name].title for name in shown)
    leads = joined(in_points(stored.lead_over(name)) for name in shown)
    many = len(shown) > 1
    return (
        f"Of the other methods, only {names} {'are' if many else 'is'} trained out by our rule. "
        f"The lead over {'them' if many else 'it'} is {leads} points."
    )


def _coarse_rivals() -> str:
    """The methods whose labels are too coarse to be compared in images of this size."""
    names = joined(METHODS[name].title for name in judged_as(CANNOT_ACT))
    return f"In images of this size, the labels of {names} are too coarse." if names else ""


def _over_second_best() -> str:
    """The lead over the method that is second best in the paper."""
    model = second_best()
    lead = stored.lead_over(model)
    return (
        f"The lead over {METHODS[model].title}, second best in the paper, is {in_points(lead)} "
        f"points{may_be_chance(lead)}."
    )


def _judged() -> str:
    """The verdict on the lead over U-Net-2D."""
    verdict = _verdict_on_lead(SHOWN)
    if verdict != REPRODUCED:
        return f"Verdict on the lead: {verdict}."
    claimed = stated()["lead", METHODS[PLAIN].title]
    return (
        f"So its direction is reproduced. Its size (the paper's: {claimed:.2f}) cannot be "
        "compared, because these are other scans."
    )


def _verdict_on_lead(experiment: str) -> str:
    return claim(experiment, lead_key(PLAIN))["verdict"]


def _how_firm() -> str:
    """What another recipe and another way to name levels make of the lead."""
    labelled, repaired = stored.leads_on_phantom()
    sentences = [
        "**How firm is this lead?**",
        _if_trained_longer(),
        *_with_letter(),
        "A rule can correct impossible names of vertebrae after any network. With the first seed, "
        f"the lead is {in_points(labelled)} points without this rule and {in_points(repaired)} "
        f"with it{may_be_chance(repaired)}. ([The rule](study.md#with-repaired-levels).)",
    ]
    return " ".join(sentences)


def _if_trained_longer() -> str:
    """The lead on validation patients if one or both networks train for twice the epochs."""
    trained = stored.convergence()
    one, other = (trained.loc[name] for name in (PROPOSED, PLAIN))
    leads = (
        one["DSC"] - other["DSC"],
        one["DSC"] - other["DSC_twice"],
        one["DSC_twice"] - other["DSC_twice"],
    )
    here, rival, both = (f"{lead:+.1f}" for lead in leads)
    return (
        f"On the validation patients (one seed) it is {here} points; {rival} if "
        f"{METHODS[PLAIN].title} trains for twice the epochs, and {both} if both do."
    )


def _with_letter() -> list[str]:
    if not (RESULTS / LETTER / SCORES.name).is_file():
        return []
    lead = stored.lead_over(PLAIN, LETTER)
    return [
        f"With exactly the paper's recipe, it is {in_points(lead)} points (verdict: "
        f"{_verdict_on_lead(LETTER)})."
    ]


def _mechanism() -> str:
    """How ASPP's lead falls with the share of the image that a plain network sees."""
    depths = stored.depths()
    seeds, cases = depths["seeds"].min(), depths["cases"].min()
    found = findings.on_fall(depths)
    if not found:
        return ""
    sentences = [
        f"**When ASPP helps**, on simulated patients ({seeds} seeds, {cases} tested). {found}",
        _longer(),
        _same_share(),
        "([Each step](#when-aspp-helps).)",
    ]
    return " ".join(filter(None, sentences))


def _same_share() -> str:
    """How the lead differs between images of two sizes of which the same share is seen."""
    return " ".join(
        f"At about the same share, {100 * row['ratio_small']:.0f} % of {row['image_rows_small']} "
        f"rows and {100 * row['ratio_large']:.0f} % of {row['image_rows_large']}, the lead in the "
        f"larger images is {findings.smaller_or_larger(row)}{may_be_chance(row, 'difference_')}."
        for row in stored.sizes().dropna(subset="difference").to_dict("records")
    )


def _longer() -> str:
    """How much twice the epochs change the lead, where this was tried."""
    profile = load_profile(SHOWN_PROFILE)
    longer = stored.longer()
    if longer.empty:
        return ""
    before, after = (longer[f"{PROPOSED}{end}"] - longer[f"{PLAIN}{end}"] for end in ("", "_twice"))
    most, consequence = (after - before).abs().max(), without_verdict()
    networks = f", but change some networks by more than our limit. {consequence}"
    return (
        f"The networks were trained for {profile.epochs} epochs. In images of "
        f"{profile.image_size} rows, twice as many, tried with {stages_tried_longer()} (one seed), "
        f"change the lead by at most {most:.1f} points{networks if consequence else '.'}"
    )


def _cause() -> str:
    """What ASPP changes, and which part of it does."""
    controls = stored.controls()
    found = findings.on_cause(controls)
    if not found:
        return ""
    epochs = load_profile(SHOWN_PROFILE).epochs
    plain, proposed = (at_depth(name, CONTROL_DEPTH) for name in (PLAIN, PROPOSED))
    named = by_class.named_table(CONFUSION.read(RESULTS / CONTROLLED))
    wrong = {name: by_class.of_vertebrae(named, name)["misnamed"] for name in (plain, proposed)}
    sentences = [
        f"**Why.** With {in_stages(CONTROL_DEPTH)} (after {epochs} epochs), "
        f"{METHODS[PLAIN].title} gives {wrong[plain]:.1f} % of the vertebrae's voxels the name of "
        f"another level, {METHODS[PROPOSED].title} {wrong[proposed]:.1f} %.",
        f"{found[0].upper()}{found[1:]}",
        findings.on_parts_of_lead(controls),
        findings.on_one_more_stage(stored.deeper()),
        "([The controls](#when-aspp-helps).)",
    ]
    return " ".join(filter(None, sentences))


def _ablation() -> str:
    """Which positions of ASPP modules are best, in the rows of Table 2 that were run."""
    rows = ablation_rows(scores_of(ABLATED)).set_index("positions")
    every = rows.loc[METHODS[PROPOSED].positions]
    best = rows.loc[rows["ours"].idxmax()]
    size = load_profile(MECHANISM[ABLATED]).image_size
    ours = with_interval(best["ours"], best["low"], best["high"])
    return (
        f"**Table 2**, on simulated patients in images of {size} rows ({rows['seeds'].max():.0f} "
        "seeds). The table puts ASPP at some of the four stages. In the paper, ASPP at "
        f"{every.name} is best, with {every['paper']:.1f} %. Here ASPP at {best.name} has the "
        f"highest mean, {ours} %. ASPP at {every.name} is {points(every, 'gain')} points above no "
        f"ASPP{may_be_chance(every, 'gain_')}. ([Each row](#which-positions).)"
    )


def _noise() -> str:
    """At which noise level each method of Table 3 has lost half of its DSC, and how it falls."""
    curves = NOISE_CURVES.read(RESULTS / SHOWN)
    curves = curves[curves["model"].isin(TABLE3_METHODS)]
    sentences = [
        f"**Noise.** {findings.on_halving(curves)}",
        _halving_of_seeds(),
        _fall_beyond_knee(),
        "([The curves](../notebooks/07_noise.ipynb).)",
    ]
    return " ".join(filter(None, sentences))


def _halving_of_seeds() -> str:
    """Which methods halve at a higher or lower noise level than ASPP-UNet, whatever the seeds."""
    noise = NOISE.read(RESULTS / SHOWN).query("fold == '0'")
    levels = halving_by_seed(noise[noise["model"].isin(TABLE3_METHODS)]).fillna(np.inf)
    low, high = levels.min(axis=1), levels.max(axis=1)
    above, below = (
        joined([METHODS[name].title for name in levels.index[rows]] or ["no method"])
        for rows in (low > high[PROPOSED], high < low[PROPOSED])
    )
    never = [METHODS[name].title for name in levels.index[np.isinf(high)]]
    last = f" With some seeds of {joined(never)}, it is above {noise['k'].max()}." if never else ""
    return (
        f"Per seed, it is {low[PROPOSED]:.0f} to {high[PROPOSED]:.0f} for "
        f"{METHODS[PROPOSED].title}. All seeds are above this range for {above}, and below it for "
        f"{below}.{last}"
    )


def _fall_beyond_knee() -> str:
    """How ASPP-UNet's fall changes at NOISE_KNEE, with our recipe and with the paper's."""
    words = {SHOWN: "With our recipe", LETTER: "With exactly the paper's recipe"}
    differences = [
        f"{recipe}, the fall beyond minus the fall before is {row['ours']} points per unit of k "
        f"(verdict: {row['verdict']}).{_floor(experiment)}"
        for experiment, recipe in words.items()
        if (RESULTS / experiment / VERDICTS.name).is_file()
        for row in [claim(experiment, FALLS_FASTER)]
    ]
    fall = (
        f"The paper says that its network gets worse rapidly beyond k = {NOISE_KNEE}. We read this "
        f"as: its DSC falls faster from there to k = {NOISE_BEYOND}, the next level, than before."
    )
    trained = claim(SHOWN, NOISE_TRAINING)
    helps = (
        f"Training with noise raises the mean DSC from k = {NOISE_KNEE} on by {trained['ours']} "
        f"points (verdict: {trained['verdict']})."
    )
    return " ".join([fall, *differences, helps])


def _floor(experiment: str) -> str:
    """A sentence if the DSC at NOISE_KNEE is too low to fall faster up to NOISE_BEYOND."""
    noise = NOISE.read(RESULTS / experiment).query("model == @PROPOSED")
    levels = noise.groupby("k")["DSC"].mean()
    before = (levels[NOISE_CLEAN] - levels[NOISE_KNEE]) / (NOISE_KNEE - NOISE_CLEAN)
    if levels[NOISE_KNEE] / (NOISE_BEYOND - NOISE_KNEE) >= before:
        return ""
    return (
        f" With this recipe, the mean DSC at k = {NOISE_KNEE} is {100 * levels[NOISE_KNEE]:.1f} %, "
        "so it has little left to lose."
    )


def _cost() -> str:
    """What ASPP-UNet needs more than U-Net-2D, ours and in print."""
    cost = TABLE4.read(RESULTS / SHOWN).set_index("model")
    plain, proposed = METHODS[PLAIN].title, METHODS[PROPOSED].title
    size, printed_size, time, printed_time = (
        percent_more(cost[f"{what}_{whose}"], proposed, plain)
        for what in ("parameters", "seconds")
        for whose in ("ours", "paper")
    )
    arithmetic = percent_more(cost["gflops"], proposed, plain)
    sentences = [
        f"**Cost**, of networks of the paper's size ({ROWS} x {COLUMNS} pixels). {proposed} has "
        f"{size:.0f} % more parameters than {plain} (in the paper's "
        f"table: {printed_size:.0f} %), does {arithmetic:.0f} % more arithmetic "
        f"and takes {time:.0f} % more time per image on this device: "
        f"{cost.loc[proposed, 'device']} (paper: {printed_time:.0f} % on a K80).",
        findings.on_plain_version(stored.speed()),
        findings.on_other_measurement(COST.read(RESULTS / SHOWN), stored.speed()),
        "([The measurements](../notebooks/08_cost.ipynb).)",
    ]
    return " ".join(filter(None, sentences))


def _verdicts() -> str:
    rows = load_profile(MECHANISM[ABLATED]).image_size
    on_phantom = _verdicts_of(SHOWN, "on the phantom")
    simulated = _verdicts_of(ABLATED, f"on simulated patients in images of {rows} rows")
    link = "([Claim by claim](../notebooks/11_verdicts.ipynb).)"
    return f"**Verdicts.** {on_phantom} {simulated} {link}"


def _verdicts_of(name: str, scans: str) -> str:
    judged = VERDICTS.read(RESULTS / name)
    counts = judged["verdict"].value_counts()
    held = judged[judged["verdict"] == REPRODUCED]
    on_noise = (held["section"] == NOISE_SECTION).sum()
    expected = (held["paper"] == EXPECTED).sum()
    only = f"; {in_words(expected)} of these {in_words(on_noise)} the paper only expects"
    only = only if expected else ""
    parts = [
        f"{counts[verdict]} {words[int(counts[verdict] > 1)]}"
        + (f" ({on_noise} on noise{only})" if verdict == REPRODUCED and on_noise else "")
        for verdict, words in VERDICT_WORDS.items()
        if verdict in counts
    ]
    return f"Of {counts.sum()} claims that were looked at {scans}, {joined(parts)}."


def _patients() -> str:
    """How networks that were trained on real patients do on others, and the one in weights/."""
    first = stored.dsc_of(TRAINED_ON_PATIENTS["simulated patients"])
    cases = first.loc[(PROPOSED, ALL_CLASSES), "cases"]
    sentences = [
        f"**{cases} real patients**, resampled scans of Chu et al. 2015, in five folds.",
        _by_image_size(),
        _on_patients_otherwise(),
        "The network in weights/ was trained on simulated patients alone (not those of the "
        f"phantom). It reaches {_mean(PROPOSED, BUNDLED_ON_PATIENTS)} %, "
        f"and {_mean(PROPOSED, f'{BUNDLED_ON_PATIENTS}{CLEANED_UP}')} % with repaired levels. "
        "Some choices were made after a look at these patients, so expect a little less on others. "
        "([All of these](study.md#eleven-patients).)",
    ]
    return " ".join(sentences)


def _by_image_size() -> str:
    """ASPP-UNet's lead over U-Net-2D on patients in images of each size, and its highest mean."""
    plain, proposed = METHODS[PLAIN].title, METHODS[PROPOSED].title
    sizes = [
        f"{in_points(lead)} points if {plain} sees {seen(lead['profile'])} "
        f"({in_seeds(lead['seeds'])})"
        for lead in (stored.lead_over(PLAIN, name) for name in BY_IMAGE_SIZE)
    ]
    repaired = [f"{name}{CLEANED_UP}" for name in BY_IMAGE_SIZE]
    leads = [in_points(stored.lead_over(PLAIN, name)) for name in repaired]
    best = max(
        (stored.dsc_of(name).loc[(PROPOSED, ALL_CLASSES)] for name in repaired),
        key=lambda row: row["mean"],
    )
    return (
        f"{proposed}'s lead is {joined(sizes)}. With [repaired levels]"
        f"(predict.md#levels-that-cannot-be), these leads are {joined(leads)} points. "
        f"{proposed}'s highest mean is {in_per_cent(best)} %, in images of "
        f"{load_profile(best['profile']).image_size} rows with repaired levels "
        f"({in_seeds(best['seeds'])})."
    )


def _on_patients_otherwise() -> str:
    """ASPP-UNet's leads on patients with more epochs, and over nnU-Net."""
    longer = TRAINED_ON_PATIENTS["simulated patients, twice the epochs"]
    labelled, repaired = stored.leads_with_and_without_repair(PLAIN, longer)
    first = (
        f"In the smallest of these images and with twice the epochs, the lead is {labelled} "
        f"points, and {repaired} with repaired levels."
    )
    scratch = TRAINED_ON_PATIENTS["random weights"]
    if not stored.was_compared(NNUNET, scratch):
        return first
    labelled, repaired = stored.leads_with_and_without_repair(NNUNET, scratch)
    return (
        f"{first} The lead over {METHODS[NNUNET].title}, both from random weights, is {labelled} "
        f"points, and {repaired} with repaired levels. {_nnunet_from_simulated()}"
    )


def _nnunet_from_simulated() -> str:
    """The scores on patients of nnU-Net and ASPP-UNet that started from simulated patients."""
    labelled = TRAINED_ON_PATIENTS["simulated patients"]
    repaired = f"{labelled}{CLEANED_UP}"
    seeds = stored.dsc_of(labelled).loc[(NNUNET, ALL_CLASSES), "seeds"]
    return (
        f"From simulated patients ({in_seeds(seeds)}), {METHODS[NNUNET].title} reaches "
        f"{_mean(NNUNET, labelled)} % and {METHODS[PROPOSED].title} {_mean(PROPOSED, labelled)} %; "
        f"with repaired levels, {_mean(NNUNET, repaired)} and {_mean(PROPOSED, repaired)} %. "
        "These two were not compared case by case."
    )


def _mean(model: str, experiment: str) -> str:
    """The mean DSC of a method in an experiment, per cent, with its interval."""
    return in_per_cent(stored.dsc_of(experiment).loc[(model, ALL_CLASSES)])

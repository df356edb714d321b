"""The tables of README.md and docs/."""

import pandas as pd
from tools.readme import stored
from tools.readme.markdown import frame_table, table
from tools.readme.stored import RESULTS, SHOWN, SHOWN_PROFILE, in_per_cent

from spineseg.course.score_tables import NOT_RUN, leads_as_text, repeats_as_text
from spineseg.evaluation.provenance import device_names
from spineseg.evaluation.result_files import (
    CEILING,
    CONVERGENCE,
    FIVE_FOLDS,
    SCORES,
    SEARCH,
    SUMMARY,
    TABLE3,
    VALIDATION_SCORES,
    VERDICTS,
)
from spineseg.experiment import CLEANED_UP
from spineseg.labels import ALL_CLASSES
from spineseg.methods import CONTROL_DEPTH, METHODS, NNUNET, PLAIN, PROPOSED, TABLE3_METHODS
from spineseg.paper import findings, mechanism, printed
from spineseg.paper.ablation import ablation_rows
from spineseg.paper.control_networks import CONTROLS
from spineseg.paper.findings.words import Row, in_stages, in_words, points
from spineseg.paper.tables import with_interval
from spineseg.profiles import load_profile

TITLES = METHODS[PLAIN].title, METHODS[PROPOSED].title
REPAIRS = {"as the network labels": "", "repaired levels": CLEANED_UP}  # and endings of folders

ABLATION_SECTION = "2.9"  # of the paper

# What the speed table shows: (part, what) of speed.csv.
SPEED_ROWS = (
    ("training step", PROPOSED),
    ("inference", PROPOSED),
    ("training iteration", ""),
    ("preprocessing", ""),
)


def scores_table() -> str:
    """Mean DSC of the six methods: paper, ours, the difference, and whether it is trained out."""
    rows = TABLE3.read(RESULTS / SHOWN).query("metric == 'DSC'")
    rows = rows[rows["class"] == ALL_CLASSES].set_index("model")
    ours = rows.loc[PROPOSED]
    head = (
        "mean DSC, %",
        "paper: 172 patients, five folds",
        f"ours: phantom, {ours['cases']:.0f} tested, {ours['seeds']:.0f} seeds",
        "difference",
        "lead of ASPP-UNet, points: paper's",
        "lead of ASPP-UNet, points: ours",
        "epochs",
        "change with twice the epochs",
    )
    runs = stored.runs_of(SHOWN).drop_duplicates("model").set_index("model")
    lines = []
    for name in TABLE3_METHODS:
        title = METHODS[name].title
        title = f"**{title}**" if name == PROPOSED else title
        row = rows.loc[name]
        cells = (*_cells(row), *_leads(name), runs["epochs"].get(name, ""), _change(name))
        lines.append((title, f"{row['paper']:.1f}", *cells))
    remark = (
        f"Profile {SHOWN_PROFILE}. {stored.trained_on(SHOWN, TABLE3_METHODS)} The paper's device "
        f"is a K80. {findings.on_share(load_profile(SHOWN_PROFILE))} The change is on simulated "
        f"validation patients ({_trial_seeds()})."
    )
    return f"{table(head, lines)}\n\n{remark}"


def behind_the_scores() -> str:
    """How firm the scores of the six methods are: rivals, repeats, folds and recipe."""
    parts = [_ceiling(), *_untrained(), *_repeats(), _five_folds(), _letter()]
    return "\n\n".join(filter(None, parts))


def _ceiling() -> str:
    """Whether DeepLabV3 could reach ASPP-UNet in images of this size."""
    sentences = findings.on_ceiling(CEILING.read(RESULTS / SHOWN), TABLE3.read(RESULTS / SHOWN))
    return f"**A ceiling.** {' '.join(sentences)}" if sentences else ""


def _untrained() -> list[str]:
    """ASPP-UNet's lead over rivals that are not shown to be trained out, with longer training."""
    leads = leads_as_text(stored.convergence().reset_index())
    if leads.empty:
        return []
    words = (
        f"**Rivals that are not shown to be trained out.** {METHODS[PROPOSED].title}'s lead over "
        f"them on the validation patients ({_trial_seeds()}), also with longer training:"
    )
    return [words, frame_table(leads)]


def _trial_seeds() -> str:
    return findings.trial_seeds(*stored.convergence().reset_index().to_dict("records"))


def _repeats() -> list[str]:
    """The settings that were tried with several seeds or on several devices."""
    repeats = repeats_as_text(VALIDATION_SCORES.read(RESULTS / SHOWN))
    if repeats.empty:
        return []
    words = (
        "**Repeated trials.** Some settings were tried on several devices. "
        "The other tables use the mean of these trials, and intervals over them and the patients. "
        "The change in this table is that of one device and seed. Mean DSC on the validation "
        "patients, %:"
    )
    return [words, frame_table(repeats)]


def _leads(model: str) -> tuple[str, str]:
    """ASPP-UNet's lead over a method, in the paper and here."""
    if model == PROPOSED or model not in set(stored.scores_of(SHOWN)["model"]):
        return "", ""
    lead = printed.stated_leads()["DSC", METHODS[model].title]
    return f"{lead:+.2f}", stored.in_points(stored.lead_over(model))


def _change(model: str) -> str:
    """What twice the epochs change or, if they were not tried, what the last doubling changed."""
    convergence = stored.convergence()
    if model in convergence.index and pd.notna(convergence.loc[model, "change"]):
        change = convergence.loc[model, ["change", "low", "high"]]
        return with_interval(*map(float, change), "+.1f")
    search = SEARCH.read(RESULTS / SHOWN).query("model == @model")
    tried = search.set_index(["learning_rate", "epochs"])["DSC"]
    if search.empty:
        return "not tried"
    ((rate, epochs),) = tried.index[search["chosen"]]
    here, half = (tried.get((rate, number)) for number in (epochs, epochs // 2))
    if half is None:
        return "not tried"
    return f"not tried ({here - half:+.1f} from {epochs // 2} to {epochs} epochs)"


def _five_folds() -> str:
    """The lead over all folds that both methods were trained on, with one seed."""
    rows = FIVE_FOLDS.read(RESULTS / SHOWN).query("metric == 'DSC'")
    if rows.empty or rows["folds"].item() < load_profile(SHOWN_PROFILE).folds:
        return ""
    row = rows.iloc[0]
    return (
        f"**All {in_words(row['folds'])} folds** ({row['cases']} tested, one seed): ASPP-UNet's "
        f"lead over U-Net-2D is {stored.in_points(row)} points. The settings were chosen on "
        "patients of all folds but the first, so these scores can be a little too high. "
        f"{_devices_of_pair(SHOWN)}".rstrip()
    )


def _letter() -> str:
    """How far the paper's recipe gets, if it was trained."""
    if not (RESULTS / stored.LETTER / SCORES.name).is_file():
        return ""
    found = findings.on_letter(*(stored.scores_of(name) for name in (stored.LETTER, SHOWN)))
    return found and f"**The paper's recipe**, in images of this size. {found}"


def _cells(row: pd.Series) -> tuple[str, str]:
    """Our mean and its difference to the paper's."""
    difference = "" if pd.isna(row["ours"]) else f"{row['difference']:+.1f}"
    return with_interval(row["ours"], row["low"], row["high"], missing=NOT_RUN), difference


def mechanism_tables() -> str:
    """ASPP's lead by the share that a plain network sees, and what the controls gain."""
    depths = stored.depths()
    scores = pd.concat(map(stored.scores_of, stored.MECHANISM))
    profiles = " and ".join(sorted(scores["profile"].unique()))
    remark = (
        f"Mean DSC, %. {depths['cases'].max()} simulated patients, profile {profiles}, "
        f"{depths['seeds'].min()} seeds. Devices: {device_names(scores['device'])}."
    )
    parts = [
        depths_table(depths),
        " ".join(filter(None, [remark, findings.on_sizes(stored.sizes()), _other_devices()])),
        *_longer(),
        "**The parts of ASPP.** ASPP adds atrous branches, image pooling and parameters. Each "
        f"control network has {in_stages(CONTROL_DEPTH)} and only some of these (simulated "
        "patients, seeds and epochs as above). "
        f"{stored.trained_on(stored.CONTROLLED, CONTROLS)} *Rows seen* counts convolutions alone; "
        "image pooling sees the whole image.",
        controls_table(stored.controls()),
        findings.on_limits_of_controls(stored.controls()),
        findings.on_longer_controls(stored.longer_controls(), load_profile(SHOWN_PROFILE).epochs),
        _one_more_stage(),
    ]
    return "\n\n".join(filter(None, parts))


def _longer() -> list[str]:
    """What twice the epochs change of the lead: a sentence, a table, and what follows."""
    epochs, longer = load_profile(SHOWN_PROFILE).epochs, stored.longer()
    if longer.empty:
        return []
    head = ("stages", *(f"{what}, {n}" for n in (epochs, 2 * epochs) for what in (*TITLES, "lead")))
    lines = []
    for row in longer.to_dict("records"):
        cells = [row["stages"]]
        for end in ("", "_twice"):
            plain, proposed = (row[f"{name}{end}"] for name in (PLAIN, PROPOSED))
            cells += [f"{plain:.1f}", f"{proposed:.1f}", f"{proposed - plain:+.1f}"]
        lines.append(cells)
    return [
        f"**More epochs.** These networks were trained for {epochs} epochs. On validation patients "
        f"(one seed), {epochs} and {2 * epochs} epochs give:",
        table(head, lines),
        findings.on_trained_out(longer, epochs),
    ]


def _one_more_stage() -> str:
    """Whether the plain network does as well with one more stage, by image size."""
    compared = findings.on_one_more_stage(stored.deeper())
    return compared and (
        f"**One more stage instead of ASPP.** {compared} "
        "([What else speaks against the finding](../notebooks/09_mechanism.ipynb).)"
    )


def ablation_table() -> str:
    """Table 2 beside our ablation, and what follows."""
    scores = stored.scores_of(stored.ABLATED)
    rows = ablation_rows(scores)
    devices = stored.devices_of(stored.ABLATED)
    every = METHODS[PROPOSED].positions
    head = ("ASPP at", "paper", "ours", f"points above {every}", "points above none", "device")
    lines = [
        (
            row["positions"],
            "" if pd.isna(row["paper"]) else f"{row['paper']:.1f}",
            with_interval(row["ours"], row["low"], row["high"], missing=NOT_RUN),
            *("" if pd.isna(row[name]) else points(row, name) for name in ("above", "gain")),
            devices.get(row["model"], ""),
        )
        for row in rows.to_dict("records")
    ]
    return (
        f"{table(head, lines)}\n\nMean DSC, %. {scores['case'].nunique()} simulated patients, "
        f"profile {scores['profile'].iloc[0]}, {rows['seeds'].max():.0f} seeds. "
        f"{findings.on_share(load_profile(stored.MECHANISM[stored.ABLATED]))}\n\n"
        f"{' '.join(findings.on_ablation(rows))} These intervals are not corrected for the number "
        f"of comparisons. {' '.join(_positions())} "
        f"{findings.on_longer_ablation(CONVERGENCE.read(RESULTS / stored.ABLATED))}"
    )


def _positions() -> list[str]:
    """The paper's claims on positions, with their verdicts."""
    judged = VERDICTS.read(RESULTS / stored.ABLATED)
    return findings.on_verdicts(judged[judged["section"] == ABLATION_SECTION])


def _other_devices() -> str:
    """Of which image sizes the two networks were trained on different devices."""
    found = []
    for name, profile_name in stored.MECHANISM.items():
        profile = load_profile(profile_name)
        pairs = mechanism.pairs(stored.scores_of(name)["model"], profile)
        for stages, pair in pairs.items():
            if devices := _devices_of_pair(name, pair):
                rows = f"{profile.image_size} rows, {in_stages(stages)}"
                found.append(f"{rows}: {devices}")
    return " ".join(found)


def _devices_of_pair(experiment: str, pair: tuple[str, str] = (PLAIN, PROPOSED)) -> str:
    """On which devices two networks were trained, if on different ones."""
    one, other = stored.devices_of(experiment)[list(pair)]
    if one == other:
        return ""
    titles = [METHODS[name].title for name in pair]
    return f"{titles[0]} was trained on {one}, and {titles[1]} on {other}."


def depths_table(depths: pd.DataFrame) -> str:
    """`depths` is that of `stored.depths`."""
    head = ("stages", f"rows that {TITLES[0]} sees", *TITLES, f"lead of {TITLES[1]}, points")
    lines = [
        (
            row["stages"],
            f"{row['rows_seen']} of {row['image_rows']} ({100 * row['ratio']:.0f} %)",
            f"{row['unet']:.1f}",
            f"{row['aspp_unet']:.1f}",
            points(row, "lead"),
        )
        for row in depths.to_dict("records")
    ]
    return table(head, lines)


def controls_table(controls: pd.DataFrame) -> str:
    """`controls` is that of `stored.controls`."""
    head = ("network", "rows seen", "DSC", f"gain over {TITLES[0]}, points", "gain, % of ASPP's")
    lines = [
        (
            METHODS[row["model"]].title,
            row["rows_seen"],
            f"{row['DSC']:.1f}",
            interval_of(row, "gain", "+.1f"),
            interval_of(row, "share", ".0f"),
        )
        for row in controls.to_dict("records")
    ]
    return table(head, lines)


def interval_of(row: Row, what: str, number: str) -> str:
    """The columns `what`, `what`_low and `what`_high: a mean and its interval, or empty."""
    return with_interval(row[what], row[f"{what}_low"], row[f"{what}_high"], number)


def repaired_table() -> str:
    """ASPP's lead by the share that a plain network sees, with levels as labelled and repaired."""
    experiment, profile = stored.CONTROLLED, load_profile(SHOWN_PROFILE)
    repaired = stored.scores_of(f"{experiment}{CLEANED_UP}")
    rows = mechanism.repair_table(stored.scores_of(experiment), repaired, profile)
    heads = [f"{what}, {levels}" for levels in REPAIRS for what in (*TITLES, "lead")]
    lines = []
    for row in rows.to_dict("records"):
        cells = [f"{row['rows_seen']} of {row['image_rows']} rows"]
        for end in ("", "_repaired"):
            cells += [f"{row[f'{name}{end}']:.1f}" for name in (PLAIN, PROPOSED)]
            cells.append(points(row, "lead", end))
        lines.append(cells)
    seeds = ", ".join(map(str, sorted(repaired["seed"].unique())))
    return (
        f"{table(('sees', *heads), lines)}\n\nMean DSC, %. {rows['cases'].max()} simulated "
        f"patients, profile {profile.name}, seed {seeds}, so the intervals are over patients "
        f"alone. Device: {device_names(repaired['device'])}.\n\n{findings.on_repair(rows)} "
        f"{_repaired_phantom()}"
    )


def _repaired_phantom() -> str:
    """ASPP's lead on the phantom, with levels as labelled and repaired, in words."""
    rows = stored.leads_on_phantom()
    before, after = map(stored.in_points, rows)
    return (
        f"On the phantom's scans, with the same profile and seed ({rows[1]['cases']} tested), "
        f"ASPP-UNet's lead is {before} points as the networks label, and {after} with repaired "
        "levels."
    )


def patients_table() -> str:
    """Mean DSC of the networks that were trained and tested on real patients, in turn."""
    found = {
        (start, levels): stored.dsc_of(f"{name}{ending}")
        for start, name in stored.TRAINED_ON_PATIENTS.items()
        for levels, ending in REPAIRS.items()
        if (RESULTS / f"{name}{ending}" / SUMMARY.name).is_file()
    }
    first = next(iter(stored.TRAINED_ON_PATIENTS.values()))
    classes = stored.classes_of(first)[::-1]
    lines = []
    for (start, levels), rows in found.items():
        for name in (name for name in TABLE3_METHODS if (name, ALL_CLASSES) in rows.index):
            means = [f"{100 * rows.loc[(name, each), 'mean']:.1f}" for each in classes]
            overall = in_per_cent(rows.loc[(name, ALL_CLASSES)])
            seeds = rows.loc[(name, ALL_CLASSES), "seeds"]
            lines.append((METHODS[name].title, start, levels, seeds, *means, overall))
    devices = device_names(device for rows in found.values() for device in rows["device"])
    head = ("mean DSC, %", "starts from", "scored", "seeds", *classes, ALL_CLASSES)
    one = next(iter(found.values()))
    return (
        f"{table(head, lines)}\n\n{one['cases'].max()} patients ({one['data'].iloc[0]}), each "
        "tested once per seed, by a network that did not train on it. Images have "
        f"{load_profile('patients').image_size} rows unless the table says otherwise. From "
        f"random weights, and for {METHODS[NNUNET].title}, more epochs were not tried. "
        f"Device: {devices}."
        f"\n\n{_leads_on_patients()}"
    )


def _leads_on_patients() -> str:
    """ASPP-UNet's leads over other methods on real patients."""
    lines = [
        (METHODS[rival].title, start, *stored.leads_with_and_without_repair(rival, name))
        for rival in (PLAIN, NNUNET)
        for start, name in stored.TRAINED_ON_PATIENTS.items()
        if stored.was_compared(rival, name)
    ]
    return table(("lead of ASPP-UNet, points, over", "starts from", *REPAIRS), lines)


def bundled_table() -> str:
    """Mean DSC of the network in weights/ on real patients, class by class."""
    experiments = {
        "as the network labels": stored.BUNDLED_ON_PATIENTS,
        "with repaired levels (as `predict` writes)": f"{stored.BUNDLED_ON_PATIENTS}{CLEANED_UP}",
    }
    classes = [*reversed(stored.classes_of(stored.BUNDLED_ON_PATIENTS)), ALL_CLASSES]
    lines = []
    for words, experiment in experiments.items():
        rows = stored.dsc_of(experiment)
        lines.append((words, *(in_per_cent(rows.loc[(PROPOSED, name)]) for name in classes)))
    row = rows.loc[(PROPOSED, ALL_CLASSES)]
    return (
        f"{table(('mean DSC, %', *classes), lines)}\n\nData: {row['data']}, {row['cases']} "
        f"patients. Profile: bundled, one seed. Trained on: {row['device']}."
    )


def training_time_table() -> str:
    """How long the stored runs of the study trained, by device."""
    names = (SHOWN, stored.LETTER, *stored.MECHANISM)
    records = pd.concat(stored.runs_of(name) for name in names if (RESULTS / name).is_dir())
    times = records.groupby("device")["training_seconds"].agg(runs="count", seconds="sum")
    lines = [(row.Index, row.runs, f"{row.seconds / 3600:.1f}") for row in times.itertuples()]
    return table(("device", "runs", "hours of training, added up"), lines)


def speed_table() -> str:
    """How much longer ASPP-UNet's plain version, or another package, takes."""
    speed = stored.speed()
    speed["what"] = speed["what"].fillna("")
    others = speed[~speed["version"].str.startswith("ours")]
    lines = []
    for part, what in SPEED_ROWS:
        for row in others.query("part == @part and what == @what").to_dict("records"):
            size = row["size"]
            ours = speed.query("part == @part and size == @size and version == 'ours'")
            share = ours.query("what == @what")["share_of_peak"].iloc[0]
            words = f"{part} of {METHODS[what].title}" if what else part
            share_words = "" if pd.isna(share) else f"{share:.0%}"
            lines.append((words, size, row["version"], f"{row['ratio']:.1f}", share_words))
    head = ("task", "image size", "compared with", "speed-up", "share of peak speed")
    return (
        f"{table(head, lines)}\n\nMeasured on {speed['device'][0]}. At least "
        f"{100 * speed['agreement'].min():.2f} % of held-out pixels get the label that the plain "
        "version gives them."
    )


def fuzz_table() -> str:
    """What happened to damaged files, by format."""
    lines = []
    for row in pd.read_csv(RESULTS / "reliability" / "fuzz.csv").to_dict("records"):
        broke = sum(row[rule] for rule in ("crashes", "hangs", "over_memory", "other"))
        cells = (row["format"], row["inputs"], row["refused"], row["accepted"], broke)
        lines.append((*cells, f"{row['worst_seconds']:.2f} s", f"{row['worst_mib']:.0f} MiB"))
    head = ("format", "inputs", "refused", "accepted", "broke a rule", "slowest", "most memory")
    return table(head, lines)

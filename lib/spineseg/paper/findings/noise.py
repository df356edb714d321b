"""What noise does to the scores."""

import pandas as pd

from spineseg.methods import METHODS
from spineseg.paper.findings.words import against_zero, joined, titles
from spineseg.paper.tables import halving_levels, with_interval

LEAST_CLEAN_DSC = 20.0  # per cent; a method below it without noise has little to lose
FLOOR_DSC = 5.0  # per cent; below it a method has nearly nothing left to lose
LEAST_FALL = 10.0  # points of DSC; less is no fall of which a share can be explained
SMALL_SHARE = 0.1  # of a fall; what brings back less does not explain it


def on_noise(curves: pd.DataFrame) -> str:
    """How far noise brings each method down; `curves` is that of `noise_curves`."""
    if curves.empty:
        return ""
    table = curves.pivot(index="model", columns="k", values="DSC")
    clean, most = table[table.columns.min()], table.columns.max()
    best, worst = str(clean.idxmax()), str(clean.idxmin())
    ends = [f"{clean[name]:.1f} % ({METHODS[name].title})" for name in dict.fromkeys((worst, best))]
    sentences = [f"Without noise, the mean DSC is {'between ' * (len(ends) > 1)}{joined(ends)}."]
    low = clean[clean < LEAST_CLEAN_DSC].index
    if len(low):
        who = "All methods" if len(low) == len(clean) > 1 else joined(titles(low))
        sentences.append(
            f"{who} start{'s' * (len(low) == 1)} below {LEAST_CLEAN_DSC:.0f} %, so a fall would "
            "say nothing."
        )
    sentences.append(on_halving(curves[~curves["model"].isin(low)]))
    floor = table[table[most] < FLOOR_DSC].index.difference(low, sort=False)
    if len(floor):
        sentences.append(
            f"At k = {most}, the DSC is below {FLOOR_DSC:.0f} % for {joined(titles(floor))}. "
            "This is the floor: no method can fall further than to 0, so there the curves cannot "
            "be told apart."
        )
    return " ".join(filter(None, sentences))


def on_halving(curves: pd.DataFrame) -> str:
    """At which k each method has lost half of its DSC; `curves` is that of `noise_curves`."""
    if curves.empty:
        return ""
    halved = halving_levels(curves).sort_values()
    fallen = [f"{k:.0f} ({METHODS[str(name)].title})" for name, k in halved.dropna().items()]
    sentences = []
    if fallen:
        sentences.append(
            f"The DSC falls to half of its value without noise at k = {joined(fallen)}."
        )
    if stay := titles(halved[halved.isna()].index):
        sentences.append(f"It stays above half up to k = {curves['k'].max()} for {joined(stay)}.")
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
    gain = gain.sort_values("k")
    rows = gain.to_dict("records")
    if max(rows[0]["without"], rows[0]["trained"]) < LEAST_CLEAN_DSC:
        return (
            f"With and without noise in training, the mean DSC starts below {LEAST_CLEAN_DSC:.0f} "
            "%, so there is nothing to protect."
        )
    raises, level, lowers = against_zero(gain["low"], gain["high"])
    judged = {
        "It raises the DSC at k = {}.": gain["k"][raises],
        "It lowers the DSC at k = {}.": gain["k"][lowers],
        "The difference cannot be told from chance at k = {}.": gain["k"][level],
    }
    changes = " and by ".join(
        f"{with_interval(row['difference'], row['low'], row['high'], '+.1f')} points at "
        f"k = {row['k']}"
        for row in (rows[0], rows[-1])
    )
    said = [words.format(joined(map(str, ks))) for words, ks in judged.items() if len(ks)]
    return " ".join([f"Training with noise changes the mean DSC by {changes}.", *said])

"""How one network trained, and what it scores."""

import pandas as pd

from spineseg.evaluation.statistics import paired
from spineseg.evaluation.summary import common_runs, same_runs, volume_dsc
from spineseg.labels import ALL_CLASSES
from spineseg.methods import METHODS, PLAIN, PROPOSED
from spineseg.paper.by_class import FAILING
from spineseg.paper.findings.words import Row, in_words, joined
from spineseg.paper.search import untrained_rivals
from spineseg.paper.tables import case_means, compare, with_interval


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
        if len(means) > 1
        else f"The training loss of the only epoch is {first['train_loss']:.3f}."
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
    change = with_interval(row["change"], row["low"], row["high"], "+.1f")
    return (
        f"With {row['epochs']} epochs, the DSC on validation patients is {row['DSC']:.1f} %. Twice "
        f"as many epochs change it by {change} points, so {METHODS[model].title} counts as "
        f"{verdict} ({trial_seeds(row)})."
    )


def trial_seeds(*rows: Row) -> str:
    """With how many seeds the settings in these rows of convergence.csv were tried."""
    more = [
        f"{in_words(row['seeds'])} of {METHODS[row['model']].title}"
        for row in rows
        if row["seeds"] > 1
    ]
    return joined([*(["one seed"] if len(more) < len(rows) else []), *more])


def on_close_rivals(convergence: pd.DataFrame) -> str:
    """The rivals that reach ASPP-UNet's DSC with the most epochs tried.

    `convergence` is convergence.csv.
    """
    proposed = convergence[convergence["model"] == PROPOSED].dropna(subset="DSC_twice")
    rivals = untrained_rivals(convergence)
    rivals = rivals.assign(longest=rivals["DSC_twice"].fillna(rivals["DSC"]))
    if proposed.empty:
        return ""
    own: Row = proposed.to_dict("records")[0]
    close: list[Row] = rivals[rivals["longest"] >= own["DSC"]].to_dict("records")
    if not close:
        return ""
    names = joined(METHODS[row["model"]].title for row in close)
    return (
        f"Of those that are not trained out, {names} reach{'es' * (len(close) == 1)} "
        f"{METHODS[PROPOSED].title} on the validation patients. With the most epochs tried, "
        f"{joined(map(_longest_of, close))}. There, {METHODS[PROPOSED].title} has "
        f"{own['DSC']:.1f} % and, with twice its epochs, {own['DSC_twice']:.1f} % "
        f"({trial_seeds(own, *close)})."
    )


def _longest_of(rival: Row) -> str:
    """The DSC of a method with the most epochs that were tried."""
    epochs = rival["epochs"] * (1 if pd.isna(rival["DSC_twice"]) else 2)
    return f"{METHODS[rival['model']].title} has {rival['longest']:.1f} % ({epochs} epochs)"


def on_letter(letter: pd.DataFrame, own: pd.DataFrame) -> str:
    """How far the paper's own recipe gets, and ours with the same folds and seeds.

    Both are the scores.csv of an experiment.
    """
    pair = (PLAIN, PROPOSED)
    letter, own = (
        each[each["model"].isin(pair) & (each["aggregation"] == "volume")] for each in (letter, own)
    )
    letter, own = same_runs(letter, own), same_runs(own, letter)
    if any(set(each["model"]) != set(pair) for each in (letter, own)):
        return ""
    letter, own = (common_runs(each, pair) for each in (letter, own))
    recipes = {"exactly the paper's recipe": letter, "this study's recipe": own}
    sentences = [f"With {words}, {_pair(scores)}." for words, scores in recipes.items()]
    changes = joined(
        f"that of {METHODS[name].title} by {_gain(own, letter, name)} points" for name in pair
    )
    seeds, cases = (own[column].nunique() for column in ("seed", "case"))
    return (
        f"{' '.join(sentences)} So this study's recipe instead of the paper's changes the DSC: "
        f"{changes} ({cases} held-out patients, {seeds} seed{'s' * (seeds > 1)})."
    )


def _gain(own: pd.DataFrame, letter: pd.DataFrame, model: str) -> str:
    """What our recipe adds to a network's DSC, with its interval, in words."""
    recipes = {"own": own, "letter": letter}
    both = pd.concat(
        case_means(scores[scores["model"] == model]).assign(model=recipe)
        for recipe, scores in recipes.items()
    )
    row = paired(both[both["metric"] == "DSC"], "own").iloc[0]
    return with_interval(row["difference"], row["low"], row["high"], "+.1f")


def _mean_dsc(scores: pd.DataFrame) -> pd.Series:
    """By model, in per cent."""
    return case_means(scores).query("metric == 'DSC'").groupby("model")["value"].mean()


def _pair(scores: pd.DataFrame) -> str:
    """The mean DSC of U-Net-2D and ASPP-UNet and their difference, in words."""
    dsc = _mean_dsc(scores)
    (row,) = compare(scores, (PLAIN, PROPOSED)).query("metric == 'DSC'").to_dict("records")
    lead = with_interval(row["difference"], row["low"], row["high"], "+.1f")
    return (
        f"{METHODS[PLAIN].title} reaches {dsc[PLAIN]:.1f} % and {METHODS[PROPOSED].title} "
        f"{dsc[PROPOSED]:.1f} %, and the lead is {lead} points"
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
    """The class with the lowest DSC of a method, ours and in print, and if few patients cause it.

    `table3` is that of `beside_table3`, `scores` is the scores.csv of an experiment or rows of it.
    """
    rows = table3[(table3["model"] == model) & (table3["metric"] == "DSC")]
    classes = rows[rows["class"] != ALL_CLASSES]
    ran = classes.dropna(subset="ours").to_dict("records")
    if not ran:
        return ""
    worst = min(ran, key=lambda row: row["ours"])
    printed = min(classes.to_dict("records"), key=lambda row: row["paper"])
    ours, paper = worst["class"], printed["class"]
    link = ", as in the paper" if ours == paper else f". In the paper, it is {paper}"
    sentences = [
        f"The class with the lowest DSC is {ours} ({worst['ours']:.1f} %){link} "
        f"({printed['paper']:.1f} %)."
    ]
    volumes = volume_dsc(scores).query("model == @model")
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

"""Score runs case by case on the scans' own grids, and gather the scores of a study."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk

from spineseg import paths
from spineseg.data.check import require_valid
from spineseg.data.preprocess import gray_range, prepare, to_gray
from spineseg.data.sources import Case, read_labelled
from spineseg.files import read_json, whole_file, write_csv, write_json
from spineseg.labels import CLASSES, FOREGROUND, NUM_CLASSES
from spineseg.metrics import dsc, iou, overlaps
from spineseg.predict import Segmenter
from spineseg.profiles import Profile
from spineseg.progress import progress_bar
from spineseg.study import Study
from spineseg.train import FINISHED, RunError, is_finished, train

METRICS = {"DSC": dsc, "IoU": iou}
AGGREGATIONS = ("volume", "slice", "pooled")
SCORES = "scores.csv"
EXAMPLES = "examples.npz"
MEAN = "mean"


def evaluate_run(run: Path, data: Path | None = None) -> Path:
    """Score a finished run on its held-out cases, or on every case of another data folder.

    Writes scores.csv (see `score_rows`) and examples.npz (best, median and worst case) into the
    run's folder or, for another data folder, with summary.csv into results/<study>-on-<data>/;
    returns that folder. Classes that the data label nowhere are not scored: nobody can tell
    whether they were found.
    Raises RunError for an unfinished run or one that holds nothing out, DataError for bad scans.
    """
    segmenter = Segmenter(run)
    facts = segmenter.facts
    labelled: list[str] | None = None
    if data is None:
        target, scored = run, Path(facts["data"])
        cases, labelled = _held_out(facts, run)
    else:
        cases, scored = require_valid(data, progress=True), data
        target = paths.root() / "results" / f"{facts['study']}-on-{paths.dataset_name(data)}"
    rows: list[dict[str, Any]] = []
    examples = {}
    pooled = np.zeros((1, NUM_CLASSES, 3), np.int64)
    words = f"score {facts['model']} fold {facts['fold']}"
    for case in progress_bar(cases, desc=words, unit="case"):
        image, truth = read_labelled(case)
        predicted = segmenter(image)
        counts = overlaps(truth, predicted)
        rows += score_rows(case.id, "volume", counts.sum(0, keepdims=True))
        rows += score_rows(case.id, "slice", counts)
        pooled += counts.sum(0, keepdims=True)
        examples[case.id] = slice_to_draw(image, truth, predicted=predicted)
    rows += score_rows("all", "pooled", pooled)
    if labelled is None:
        labelled = [CLASSES[index] for index in np.flatnonzero(pooled[0, :, 0])]
    rows = [row for row in rows if row["class"] in labelled]
    if not rows:
        raise RunError(
            f"{scored}: its masks label none of the classes, so there is nothing to score"
        )
    if odd := sorted(set(FOREGROUND) - set(labelled), key=FOREGROUND.index):
        print(f"not labelled in this data, not scored: {', '.join(odd)}", file=sys.stderr)
    scores = pd.DataFrame(rows).assign(
        data=paths.dataset_name(scored),
        profile=facts["profile"]["name"],
        device=read_json(run / FINISHED)["device"],
        model=facts["model"],
        fold=facts["fold"],
    )
    first = ["data", "profile", "device", "model", "fold"]
    scores = scores[first + [column for column in scores if column not in first]]
    write_csv(target / SCORES, scores)
    if data is not None:
        write_csv(target / "summary.csv", summarise(scores))
    _write_examples(target / EXAMPLES, scores, examples)
    return target


def score_rows(case: str, aggregation: str, counts: np.ndarray) -> list[dict[str, Any]]:
    """DSC and IoU of each foreground class from voxel counts (units, classes, 3).

    `value` is the mean over the `units` (volumes or slices) in which the class stands in the truth
    or in the prediction; a class absent from both is left out, one absent from a single side
    scores 0 (Eq. 2 and 3; aggregation is left open by the paper).
    """
    rows = []
    for metric, function in METRICS.items():
        values = function(counts)
        for index, name in enumerate(CLASSES):
            present = values[:, index][~np.isnan(values[:, index])]
            if name in FOREGROUND and present.size:
                rows.append(
                    {
                        "case": case,
                        "class": name,
                        "aggregation": aggregation,
                        "metric": metric,
                        "value": present.mean(),
                        "units": present.size,
                    }
                )
    return rows


def _held_out(facts: dict[str, Any], run: Path) -> tuple[list[Case], list[str]]:
    """The cases that a run held out, and the classes that their data set labels."""
    if not facts["test"]:
        raise RunError(f"{run}: trained on every case, so none is held out; score it with --data")
    study = Study(Path(facts["data"]), Profile(**facts["profile"]))
    index = prepare(study).index
    if index["key"] != facts["data_key"]:
        raise RunError(
            f"{study.data}: the scans changed since {run} was trained; remove that folder"
        )
    cases = {case.id: case for case in study.cases()}
    return [cases[case] for case in facts["test"]], index["classes"]


def slice_to_draw(
    image: sitk.Image, truth: np.ndarray, **others: np.ndarray
) -> dict[str, np.ndarray]:
    """The slice with the most labelled voxels: image (gray), truth, others, spacing (mm)."""
    index = int((truth > 0).sum((1, 2)).argmax())
    intensities = sitk.GetArrayViewFromImage(image)
    return {
        "image": to_gray(intensities[index], *gray_range(intensities)),
        "truth": truth[index],
        **{name: classes[index] for name, classes in others.items()},
        "spacing": np.array(image.GetSpacing()[1::-1]),  # row, column
    }


def _write_examples(path: Path, scores: pd.DataFrame, examples: dict[str, dict]) -> None:
    """Keep the best, the median and the worst case by mean DSC over its classes."""
    by_volume = scores.query("aggregation == 'volume' and metric == 'DSC'")
    ranked = by_volume.groupby("case")["value"].mean().sort_values(ascending=False)
    last = len(ranked) - 1
    ranks = {"best": 0, "median": last // 2, "worst": last}
    arrays: dict[str, np.ndarray] = {}
    for rank, position in ranks.items():
        case = ranked.index[position]
        arrays |= {f"{rank}_{key}": value for key, value in examples[case].items()}
        arrays |= {f"{rank}_case": np.array(case), f"{rank}_dsc": np.array(ranked.iloc[position])}
    with whole_file(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def results_of(study: Study, models: tuple[str, ...] = ("aspp_unet",)) -> Path:
    """The results folder of a study; whatever is missing for it is trained and scored first."""
    if not (study.results / "summary.csv").is_file():
        for model in models:
            for fold in study.folds_to_run():
                run = train(study, model, fold)
                if not (run / SCORES).is_file():
                    evaluate_run(run)
        gather(study, models)
    return study.results


def gather(study: Study, models: tuple[str, ...] = ("aspp_unet",)) -> pd.DataFrame:
    """Gather the scored runs of a study into results/<study>/ and return the summary.

    Writes scores.csv (every case), summary.csv, curves.csv (loss an epoch), runs.json (what each
    run was made from) and examples.npz (of the first model's first fold).
    Raises RunError, naming each, when a run or its scores are missing.
    """
    folds = study.folds_to_run()
    runs = [study.run(model, fold) for model in models for fold in folds]
    if missing := [str(r) for r in runs if not (is_finished(r) and (r / SCORES).is_file())]:
        raise RunError(f"not trained and scored yet: {', '.join(missing)}; run `make reproduce`")
    facts = [read_json(run / FINISHED) for run in runs]
    scores = pd.concat([pd.read_csv(run / SCORES) for run in runs], ignore_index=True)
    curves = pd.concat([_curve(run, fact) for run, fact in zip(runs, facts, strict=True)])
    summary = summarise(scores)
    write_csv(study.results / SCORES, scores)
    write_csv(study.results / "summary.csv", summary)
    write_csv(study.results / "curves.csv", curves)
    write_json(study.results / "runs.json", [_without_path(fact) for fact in facts])
    with whole_file(study.results / EXAMPLES) as temporary:
        temporary.write_bytes((runs[0] / EXAMPLES).read_bytes())
    return summary


def _curve(run: Path, facts: dict[str, Any]) -> pd.DataFrame:
    log = pd.read_csv(run / "log.csv").drop(columns="seconds")
    keys = {
        "data": facts["study"].removesuffix(f"-{facts['profile']['name']}"),
        "profile": facts["profile"]["name"],
        "device": facts["device"],
        "model": facts["model"],
        "fold": facts["fold"],
    }
    return pd.DataFrame(keys, index=log.index).join(log)


def _without_path(facts: dict[str, Any]) -> dict[str, Any]:
    """Where the data lay is this machine's business."""
    return {key: value for key, value in facts.items() if key != "data"}


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and SD by model, aggregation, metric and class; `cases` says over how many values.

    Volumes weigh alike; slices weigh alike, whichever case they come from (SD: between the cases'
    means). Pooled values are one a fold. The class `mean` is the mean of the class means and SDs,
    as in Table 3, over the classes that occur.
    """
    devices = scores.groupby("model")["device"].agg(lambda names: "; ".join(sorted(set(names))))
    scores = scores.assign(device=scores["model"].map(devices))
    keys = ["data", "profile", "device", "model", "aggregation", "metric"]

    def over_cases(group: pd.DataFrame) -> pd.Series:
        value, weight = group["value"], group["units"]
        mean = np.average(value, weights=weight)
        return pd.Series({"mean": mean, "sd": value.std(), "cases": len(value)})

    classes = scores.groupby([*keys, "class"], sort=False)[["value", "units"]].apply(over_cases)
    classes = classes.reset_index()
    overall = classes.groupby(keys, sort=False).agg({"mean": "mean", "sd": "mean", "cases": "max"})
    overall = overall.reset_index().assign(**{"class": MEAN})
    summary = pd.concat([classes, overall], ignore_index=True)
    orders = {"aggregation": AGGREGATIONS, "metric": (*METRICS,), "class": (*FOREGROUND, MEAN)}
    for column, order in orders.items():
        summary[column] = pd.Categorical(summary[column], order)
    summary = summary.sort_values(["model", *orders], ignore_index=True)
    return summary[[*keys, "class", "mean", "sd", "cases"]].astype({"cases": int})


def summary_text(study: Study, summary: pd.DataFrame) -> str:
    """The closing lines of a reproduction: scores, time, and where things lie."""
    table = summary.pivot_table(
        "mean", ["model", "aggregation", "metric"], "class", observed=True
    ).round(3)
    runs = read_json(study.results / "runs.json")
    minutes = sum(run["training_seconds"] for run in runs) / 60
    tested = sum(len(run["test"]) for run in runs)
    places = {
        "scores": study.results,
        "figures": study.figures,
        "notebooks": study.runs / "notebooks",
        "runs": study.runs,
    }
    return "\n".join(
        [
            f"{study.name}: {tested} held-out cases in {len(runs)} folds, {runs[0]['device']}",
            table.to_string(),
            f"training took {minutes:.1f} minutes in all",
            *(f"{what:<10}{folder}" for what, folder in places.items()),
        ]
    )

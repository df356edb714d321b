"""What an experiment's runs came to: gathered into results/<experiment>/, read from there with care."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spineseg import fingerprint, methods
from spineseg.data.preprocess import data_hash, prepare
from spineseg.evaluation.evaluate import EXAMPLES, evaluate_run
from spineseg.evaluation.noise import EXAMPLE, LEVELS, NOISE, evaluate_noise
from spineseg.evaluation.scores import CURVES, SCORES, identify
from spineseg.evaluation.statistics import failures
from spineseg.evaluation.summary import SUMMARY, summarise
from spineseg.experiment import Experiment
from spineseg.profiles import Profile
from spineseg.runs import (
    FACTS,
    FINISHED,
    LOG,
    RUNS,
    RunError,
    differing,
    finished_facts,
    without_path,
)
from spineseg.utils import paths
from spineseg.utils.errors import REMOVE, UserError
from spineseg.utils.files import (
    atomic_write,
    read_arrays,
    read_csv,
    read_json,
    write_csv,
    write_json,
)
from spineseg.workflow import provenance

FAILURES = "failures.csv"
FILLED = {  # columns without gaps, but those that carry a folder's name, which may be `nan`
    SCORES: ("device", "model", "fold", "case", "class", "aggregation", "metric", "units"),
    SUMMARY: ("device", "model", "class", "aggregation", "metric", "cases"),
    CURVES: ("device", "model", "fold", "epoch", "train_loss"),
    NOISE: ("device", "model", "fold", "case", "k"),
    LOG: ("epoch", "train_loss", "learning_rate", "seconds"),
}
OTHERS = {
    SCORES: ("data", "profile", "value"),
    SUMMARY: ("data", "profile", "mean", "sd", "low", "high"),
    CURVES: ("data", "profile", "test_loss"),
    NOISE: ("data", "profile", "DSC", "IoU"),
    LOG: ("test_loss",),
}


class ResultsError(ValueError):
    """A results folder that is incomplete or not of the experiment that asks for it."""


def results_of(experiment: Experiment) -> Path:
    """The results folder of an experiment; where there is none, all its methods are trained and scored.

    Raises ResultsError, naming each fault, when the folder is incomplete or of another experiment.
    """
    if not (experiment.results / RUNS).is_file():
        from spineseg.training.loop import train

        for model in methods.runnable():
            for fold in experiment.folds_to_run():
                run = train(experiment, model, fold)
                if not (run / SCORES).is_file():
                    score_run(run)
        gather(experiment, methods.runnable())
    check_results(experiment)
    return experiment.results


def score_run(run: Path, data: Path | None = None) -> Path:
    """Score a finished run on the cases it held out, and, if it is one of those compared so, with
    noise added; or on every case of another data folder. Returns the folder of scores.csv.
    """
    if data is None:
        if finished_facts(run)["model"] in methods.NOISE:
            evaluate_noise(run)
        return evaluate_run(run)
    folder = evaluate_run(run, data)
    write_csv(folder / SUMMARY, summarise(_read(folder / SCORES, REMOVE)))
    facts = finished_facts(run)
    scored = Experiment(paths.dataset_folder(data), Profile(**facts["profile"]))
    scans = {"data_hash": data_hash(scored.files())}
    provenance.record(folder, provenance.origin_of(scored, [facts | scans]), facts["device"])
    return folder


def gather(experiment: Experiment, models: Sequence[str]) -> pd.DataFrame:
    """Gather the scored runs of these methods into results/<experiment>/ and return the summary.

    Writes runs.json (what each run was made from), scores.csv (every case), summary.csv,
    failures.csv, curves.csv (loss an epoch), noise.csv (scores under noise), examples.npz (the
    best, median and worst case of ASPP-UNet or, without it, of the first of Table 3's methods) and
    noise.npz (a case of it under noise). Raises RunError, naming each, when a run or its scores are
    missing, or when none of the methods stands in Table 3.
    """
    shown = _shown(models)
    folds = experiment.folds_to_run()
    runs = [experiment.run(model, fold) for model in models for fold in folds]
    if missing := [str(run) for run in runs if not _is_scored(run)]:
        raise RunError(f"not trained and scored yet: {', '.join(missing)}; run `make reproduce`")
    facts = [finished_facts(run) for run in runs]
    if stale := _stale(dict(zip(runs, facts, strict=True)), experiment):
        raise RunError("\n".join(stale))
    scores = _stack(runs, SCORES)
    noise = _stack(
        [run for run, fact in zip(runs, facts, strict=True) if fact["model"] in methods.NOISE],
        NOISE,
    )
    curves = pd.concat(identify(_log(run), run) for run in runs)
    tables = {SCORES: scores, NOISE: noise, CURVES: curves}
    strings = {name: table.astype({"fold": str}) for name, table in tables.items()}
    if gaps := _gaps(facts, strings):
        remedy = f"remove that run's {FINISHED} and {SCORES} and run `make reproduce`"
        raise RunError("\n".join(f"{experiment.runs}: {gap}; {remedy}" for gap in gaps))
    summary = summarise(scores)
    first = experiment.run(shown, folds[0])
    example = read_arrays(first / EXAMPLE, _score_again(first))
    write_json(experiment.results / RUNS, [without_path(fact) for fact in facts])
    write_csv(experiment.results / SCORES, scores)
    write_csv(experiment.results / SUMMARY, summary)
    write_csv(experiment.results / FAILURES, failures(scores))
    write_csv(experiment.results / CURVES, curves)
    write_csv(experiment.results / NOISE, noise)
    _gather_examples(experiment, models, shown, scores)
    with atomic_write(experiment.results / EXAMPLE) as temporary:
        np.savez_compressed(temporary, **example)  # type: ignore[arg-type]
    return summary


def _stale(runs: dict[Path, dict[str, Any]], experiment: Experiment) -> list[str]:
    """One line for each run whose scans, profile or code are no longer those it was made from."""
    today = {"profile": asdict(experiment.profile), "data_key": prepare(experiment).index["key"]}
    lines = []
    for run, facts in runs.items():
        wanted = today | {"code": fingerprint.of_training(facts["model"])}
        if names := differing(facts, wanted):
            lines.append(f"{run}: made with other {', '.join(names)}; remove this folder")
    return lines


def _is_scored(run: Path) -> bool:
    """Noise is scored before all else (`score_run`)."""
    return (run / FINISHED).is_file() and (run / SCORES).is_file()


def _stack(runs: Sequence[Path], name: str) -> pd.DataFrame:
    return pd.concat([_read(run / name, _score_again(run)) for run in runs], ignore_index=True)


def _read(path: Path, remedy: str, **options: Any) -> pd.DataFrame:
    return read_csv(path, FILLED[path.name], OTHERS[path.name], remedy, **options)


def _score_again(run: Path) -> str:
    return f"remove {run / SCORES} and run `make reproduce`"


def _log(run: Path) -> pd.DataFrame:
    """The losses of a finished run, which its checkpoint holds too."""
    remedy = f"remove {run / FINISHED} and run the same training again"
    return _read(run / LOG, remedy).drop(columns="seconds")


def _shown(models: Sequence[str]) -> str:
    """The method whose cases are drawn."""
    compared = [name for name in methods.TABLE3 if name in models]
    if not compared:
        raise RunError(f"{', '.join(models)}: add one of {', '.join(methods.TABLE3)}")
    return "aspp_unet" if "aspp_unet" in compared else compared[0]


def _gather_examples(
    experiment: Experiment, models: Sequence[str], shown: str, scores: pd.DataFrame
) -> None:
    """Keep the best, the median and the worst case, with what each method of Table 3 made of it."""
    dice = scores.query("aggregation == 'volume' and metric == 'DSC'")
    means = dice.groupby(["model", "fold", "case"])["value"].mean()
    ranked = means[shown].sort_values(ascending=False)
    last = len(ranked) - 1
    arrays: dict[str, np.ndarray] = {}
    for rank, position in {"best": 0, "median": last // 2, "worst": last}.items():
        fold, case = ranked.index[position]
        arrays[f"{rank}_case"] = np.array(case)
        for model in (name for name in methods.TABLE3 if name in models):
            run = experiment.run(model, fold)
            drawn = read_arrays(run / EXAMPLES, _score_again(run))
            parts = {key: drawn[f"{case}_{key}"] for key in ("image", "truth", "spacing")}
            arrays |= {f"{rank}_{key}": value for key, value in parts.items()}
            arrays[f"{rank}_predicted_{model}"] = drawn[f"{case}_predicted"]
            arrays[f"{rank}_dsc_{model}"] = np.array(means[model, fold, case])
    with atomic_write(experiment.results / EXAMPLES) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def check_results(experiment: Experiment) -> None:
    """Raise ResultsError, naming each fault, unless results/<experiment>/ is whole and of this experiment.

    Whole: every method was scored on the same folds and cases, in every class that any method was
    scored in, those of the noise test at every level, and each loss curve has every epoch.
    """
    folder = experiment.results
    files = (SCORES, SUMMARY, CURVES, NOISE)
    if missing := [name for name in (RUNS, *files) if not (folder / name).is_file()]:
        raise ResultsError(f"{folder}: lacks {', '.join(missing)}; {_remedy(experiment)}")
    runs = read_runs(experiment)
    remedy = _remedy(experiment)
    tables = {name: _read(folder / name, remedy, dtype={"fold": str}) for name in files}
    faults = [*_foreign(experiment, runs, tables), *_gaps(runs, tables)]
    if faults:
        raise ResultsError(
            "\n".join(f"{folder}/{fault}; {_remedy(experiment)}" for fault in faults)
        )


def _remedy(experiment: Experiment) -> str:
    return f"remove {experiment.results} and run `make reproduce` with this data and profile"


def read_runs(experiment: Experiment) -> list[dict[str, Any]]:
    """What each gathered run was made from."""
    path = experiment.results / RUNS
    runs = read_json(path, remedy=_remedy(experiment))
    needed = {*FACTS, "training_seconds"} - {"data"}
    if not all(isinstance(run, dict) and needed <= run.keys() for run in runs):
        raise UserError.at(path, "damaged: lacks facts of a run", _remedy(experiment))
    return runs


def _foreign(
    experiment: Experiment, runs: list[dict], tables: dict[str, pd.DataFrame]
) -> list[str]:
    """What was made from another data set or under another profile."""
    wanted = {"data": paths.dataset_name(experiment.data), "profile": experiment.profile.name}
    faults = [
        f"{name}: holds {key} {', '.join(sorted(map(str, odd)))}, not {value}"
        for name, table in tables.items()
        for key, value in wanted.items()
        if (odd := set(table[key]) - {value})
    ]
    knobs = asdict(experiment.profile)
    for run in runs:
        differing = [knob for knob in knobs if run["profile"].get(knob) != knobs[knob]]
        if run["experiment"] != experiment.name or differing:
            words = f" with other {', '.join(differing)}" if differing else ""
            faults.append(
                f"{RUNS}: {run['model']} fold {run['fold']} is of {run['experiment']}{words}"
            )
    return faults


def _gaps(runs: list[dict], tables: dict[str, pd.DataFrame]) -> list[str]:
    """Which run lacks cases, classes, noise levels or epochs that it should have."""
    scores = tables[SCORES].query("aggregation == 'volume' and metric == 'DSC'")
    faults = _missing_folds(runs)
    for model, found in scores.groupby("model")["class"].unique().items():
        if lacking := set(scores["class"]) - set(found):
            faults.append(f"{SCORES}: {model} has no {', '.join(sorted(lacking))}")
    for run in runs:
        epochs = [(epoch,) for epoch in range(1, run["epochs"] + 1)]
        levels = [(case, k) for case in run["test"] for k in LEVELS]
        expected: list[tuple[str, pd.DataFrame, list[str], list[tuple]]] = [
            (SCORES, scores, ["case"], [(case,) for case in run["test"]]),
            (CURVES, tables[CURVES], ["epoch"], epochs),
            (NOISE, tables[NOISE], ["case", "k"], levels * (run["model"] in methods.NOISE)),
        ]
        for file, table, columns, keys in expected:
            rows = table[(table["model"] == run["model"]) & (table["fold"] == run["fold"])]
            present = set(rows[columns].itertuples(index=False, name=None))
            if absent := [" ".join(map(str, key)) for key in keys if key not in present]:
                more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
                words = ", ".join(absent[:3]) + more
                faults.append(f"{file}: {run['model']} fold {run['fold']} lacks {words}")
    return faults


def _missing_folds(runs: list[dict]) -> list[str]:
    folds: dict[str, set[str]] = {}
    for run in runs:
        folds.setdefault(run["model"], set()).add(run["fold"])
    every = set().union(*folds.values())
    return [
        f"{RUNS}: {model} lacks fold {', '.join(sorted(every - found))}"
        for model, found in folds.items()
        if found != every
    ]

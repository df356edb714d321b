"""Collect the results of all runs into results/<experiment>/, and validate them on reading."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from spineseg.evaluation import provenance
from spineseg.evaluation.noise import LEVELS
from spineseg.evaluation.result_files import (
    CONFUSION,
    CURVES,
    EXAMPLES,
    LOSSES,
    NOISE,
    NOISE_EXAMPLE,
    RUNS,
    SCORES,
    SUMMARY,
    ResultTable,
)
from spineseg.evaluation.scores import identify
from spineseg.evaluation.summary import common_runs, volume_dsc
from spineseg.experiment import Experiment
from spineseg.fingerprint import training_code
from spineseg.labels import CLASSES, FOREGROUND
from spineseg.methods import METHODS, NOISE_METHODS, TABLE3_METHODS, proposed_or_first
from spineseg.profiles import Profile
from spineseg.runs import FINISHED, RunRecord, is_finished, load_record
from spineseg.utils.errors import Problem, UserError
from spineseg.utils.files import atomic_write, read_arrays, read_json, write_csv, write_json
from spineseg.workflow.prepare import prepare
from spineseg.workflow.score import is_scored

RANKS = ("best", "median", "worst")  # the example cases
OTHER_NAME = "give the profile another name"
RESTORE = "restore profiles/ with git, or train this run again"
REMAKE = "run `make reproduce` with this data and profile"
PLACES = {name: place for place, name in enumerate(METHODS)}
GATHERED_TABLES = (SCORES, CURVES, NOISE, CONFUSION)
GATHERED = (RUNS, *(table.name for table in GATHERED_TABLES), EXAMPLES, NOISE_EXAMPLE)


class Run(NamedTuple):
    """What tells a run from the others of its experiment."""

    model: str
    fold: int | str
    seed: int = 0


def gather(experiment: Experiment, runs: Sequence[Run], kept: Sequence[Run] = ()) -> Path:
    """Collect these scored runs; returns results/<experiment>/.

    Writes runs.json (the record of each run), scores.csv (every case), curves.csv (loss per epoch),
    noise.csv (scores with noise) and confusion.csv. If there is a method of Table 3, it also writes
    examples.npz (the best, median and worst case of ASPP-UNet or, without it, of the first method)
    and noise.npz (one case of it with noise). Of simulated patients it keeps only the scores of
    volumes.

    `kept` are runs that results/ holds, perhaps without their folders; they stay. Then runs are in
    the order of their methods, folds and seeds.

    Raises UserError, which names each, if a run or its scores are missing, if a run was trained on
    other scans or with other settings or code, and if results/ holds several seeds and these runs
    lack some of them.
    """
    if lost := _lost_runs(experiment, [*runs, *kept]):
        what = f"holds runs that would be lost: {', '.join(lost)}"
        raise UserError.at(experiment.results, what, OTHER_NAME)
    records, tables = _from_folders(experiment, runs)
    if kept:
        stored, stored_tables = _from_results(experiment, kept)
        records = sorted([*stored, *records], key=_place)
        tables = {
            table: _in_order([stored_tables[table], content], records)
            for table, content in tables.items()
        }
    remedy = f"remove that run's {FINISHED} and {SCORES.name} and run `make reproduce`"
    if gaps := _gaps(records, tables):
        words = (f"{file}: {what}" for file, what in gaps)
        raise UserError(*(Problem(experiment.runs, each, remedy) for each in words))
    arrays = _example_arrays(experiment, runs, kept, tables[SCORES])
    write_json(experiment.results / RUNS, [record.without_path() for record in records])
    for table, content in tables.items():
        write_csv(experiment.results / table.name, content)
    for name, drawn in arrays.items():
        with atomic_write(experiment.results / name) as temporary:
            np.savez_compressed(temporary, **drawn)  # type: ignore[arg-type]
    return experiment.results


Gathered = tuple[list[RunRecord], dict[ResultTable, pd.DataFrame]]


def _from_folders(experiment: Experiment, runs: Sequence[Run]) -> Gathered:
    """The records and tables of finished and scored runs."""
    folders = [experiment.run(*run) for run in runs]
    if missing := [each for each in folders if not (is_finished(each) and is_scored(each))]:
        what, remedy = "not trained and scored yet", "run `make reproduce`"
        raise UserError(*(Problem(each, what, remedy) for each in missing))
    records = [load_record(folder) for folder in folders]
    names = [str(folder) for folder in folders]
    if stale := _stale(names, records, experiment, "remove this folder"):
        raise UserError(*stale)
    scores = _stack(folders, SCORES)
    if experiment.is_simulated:
        scores = scores[scores["aggregation"] == "volume"]
    return records, {
        SCORES: scores,
        NOISE: _stack([each for each in folders if (each / NOISE.name).is_file()], NOISE),
        CURVES: pd.concat(
            identify(_losses(folder), record)
            for folder, record in zip(folders, records, strict=True)
        ),
        CONFUSION: _stack(folders, CONFUSION),
    }


def _from_results(experiment: Experiment, runs: Sequence[Run]) -> Gathered:
    """The records and tables of runs that results/ holds."""
    records = current_records(experiment, runs)
    wanted = set(map(_key, records))
    tables = {}
    for table in GATHERED_TABLES:
        content = table.read(experiment.results, _remedy(experiment))
        tables[table] = content[_keys(content).isin(wanted)]
    return records, tables


def current_records(experiment: Experiment, runs: Sequence[Run]) -> list[RunRecord]:
    """The records of runs that results/ holds.

    Raises UserError, which names each, for runs that were made from other scans, settings or code.
    """
    wanted = {(run.model, str(run.fold), run.seed) for run in runs}
    records = [each for each in read_runs(experiment) if _key(each) in wanted]
    names = [f"{experiment.results / RUNS}: {record.title}" for record in records]
    if stale := _stale(names, records, experiment, "train this run again"):
        raise UserError(*stale)
    return records


def _place(record: RunRecord) -> tuple[int, str, int]:
    return PLACES[record.model], record.fold, record.seed


def _in_order(parts: Sequence[pd.DataFrame], records: Sequence[RunRecord]) -> pd.DataFrame:
    """The rows of these tables in the order of the runs."""
    filled = [part for part in parts if len(part)]  # an empty table would change the types
    table = pd.concat(filled or parts)
    places = pd.MultiIndex.from_tuples(map(_key, records)).get_indexer(_keys(table))
    return table.iloc[np.argsort(places, kind="stable")]


def _key(record: RunRecord) -> tuple[str, str, int]:
    return record.model, record.fold, record.seed


def _keys(table: pd.DataFrame) -> pd.MultiIndex:
    """The `_key` of the run of each row."""
    return pd.MultiIndex.from_frame(table[["model", "fold", "seed"]])


def _stale(
    names: Sequence[str], records: Sequence[RunRecord], experiment: Experiment, remedy: str
) -> list[Problem]:
    """The runs whose scans, settings or code are no longer those they were made from."""
    key = prepare(experiment).index["key"]
    problems = []
    for name, record in zip(names, records, strict=True):
        today = replace(
            record,
            profile=experiment.profile.tuned(record.model),
            data_key=key,
            code=training_code(record.model),
        )
        if others := record.differences(today):
            problems.append(Problem(name, f"made with other {', '.join(others)}", remedy))
    return problems


def _stack(runs: Sequence[Path], table: ResultTable) -> pd.DataFrame:
    tables = [table.read(run, _rescore_remedy(run)) for run in runs]
    columns = ["data", "profile", *table.required, "DSC", "IoU"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _rescore_remedy(run: Path) -> str:
    return f"remove {run / SCORES.name} and run `make reproduce`"


def _losses(run: Path) -> pd.DataFrame:
    """The losses of a finished run, which its checkpoint has too."""
    remedy = f"remove {run / FINISHED} and run the same training again"
    return LOSSES.read(run, remedy).drop(columns="seconds")


def _example_arrays(
    experiment: Experiment, runs: Sequence[Run], kept: Sequence[Run], scores: pd.DataFrame
) -> dict[str, dict[str, np.ndarray]]:
    """What goes into examples.npz and noise.npz, if any of the methods is in Table 3.

    If the runs of some of these methods are kept, the stored cases stay, since no pictures of
    single runs are stored. The methods of `runs` that are shown there get their new predictions;
    a line on stderr names the others.
    """
    compared = [name for name in TABLE3_METHODS if name in {run.model for run in runs}]
    if not compared:
        return {}
    others = [name for name in TABLE3_METHODS if name in {run.model for run in kept}]
    stored = experiment.results / EXAMPLES
    if others and stored.is_file():
        arrays = read_arrays(stored, _remedy(experiment))
        shown_before = [name for name in compared if f"{RANKS[0]}_predicted_{name}" in arrays]
        if absent := [name for name in compared if name not in shown_before]:
            what = (
                f"without {', '.join(absent)}, because the runs of {', '.join(others)} are stored"
            )
            remedy = "train all of these methods here for new pictures"
            print(f"note: {Problem(stored, what, remedy)}", file=sys.stderr)
        for name in shown_before:
            arrays |= _new_predictions(experiment, name, runs, arrays, scores)
        return {EXAMPLES: arrays} if shown_before else {}
    shown = proposed_or_first(compared)
    first = experiment.run(*next(run for run in runs if run.model == shown))
    return {
        EXAMPLES: _examples(experiment, compared, shown, scores),
        NOISE_EXAMPLE: read_arrays(first / NOISE_EXAMPLE, _rescore_remedy(first)),
    }


def _new_predictions(
    experiment: Experiment,
    model: str,
    runs: Sequence[Run],
    arrays: dict[str, np.ndarray],
    scores: pd.DataFrame,
) -> dict[str, np.ndarray]:
    """The predictions of a method for the stored example cases, by its first seed.

    Cases that none of `runs` tested with this seed keep their stored prediction.
    """
    dice = volume_dsc(scores).query("model == @model")
    dice = dice[dice["seed"] == dice["seed"].min()]
    here = {
        str(run.fold): run for run in runs if run.model == model and run.seed in set(dice["seed"])
    }
    new: dict[str, np.ndarray] = {}
    for rank in RANKS:
        case = str(arrays[f"{rank}_case"])
        tested = dice[dice["case"] == case]
        if len(tested) and (run := here.get(str(tested["fold"].iloc[0]))):
            folder = experiment.run(*run)
            drawn = read_arrays(folder / EXAMPLES, _rescore_remedy(folder))
            new[f"{rank}_predicted_{model}"] = drawn[f"{case}_predicted"]
            new[f"{rank}_dsc_{model}"] = np.array(tested["value"].mean())
    return new


def _examples(
    experiment: Experiment, compared: Sequence[str], shown: str, scores: pd.DataFrame
) -> dict[str, np.ndarray]:
    """The best, median and worst case of the method `shown`, with each method's prediction.

    The cases are those of the runs that all methods have in common with their first seed.
    """
    dice = volume_dsc(scores)
    try:
        dice = common_runs(dice, compared)
    except ValueError as error:
        raise UserError.at(experiment.runs, f"not gathered: {error}", "finish these runs") from None
    seed = dice["seed"].min()
    means = dice[dice["seed"] == seed].groupby(["model", "fold", "case"])["value"].mean()
    ranked = means[shown].sort_values(ascending=False)
    last = len(ranked) - 1
    arrays: dict[str, np.ndarray] = {}
    for rank, position in zip(RANKS, (0, last // 2, last), strict=True):
        fold, case = ranked.index[position]
        arrays[f"{rank}_case"] = np.array(case)
        for model in compared:
            run = experiment.run(model, fold, seed)
            drawn = read_arrays(run / EXAMPLES, _rescore_remedy(run))
            parts = {key: drawn[f"{case}_{key}"] for key in ("image", "truth", "spacing")}
            arrays |= {f"{rank}_{key}": value for key, value in parts.items()}
            arrays[f"{rank}_predicted_{model}"] = drawn[f"{case}_predicted"]
            arrays[f"{rank}_dsc_{model}"] = np.array(means[model, fold, case])
    return arrays


def has_seeds(experiment: Experiment) -> bool:
    """Whether results/ holds runs of several seeds of this experiment, as the study's does."""
    return (experiment.results / RUNS).is_file() and _of_several_seeds(read_runs(experiment))


def require_replaceable(experiment: Experiment, runs: Sequence[Run] = ()) -> None:
    """Raise UserError if results/ holds runs of several seeds and `runs` lack some of them."""
    if _lost_runs(experiment, runs):
        what = "holds runs of several seeds, which are not to be replaced"
        raise UserError.at(experiment.results, what, OTHER_NAME)


def _of_several_seeds(runs: Iterable[RunRecord | Run]) -> bool:
    return len({run.seed for run in runs}) > 1


def _lost_runs(experiment: Experiment, runs: Sequence[Run]) -> list[str]:
    """The stored runs that are not among these, if runs of several seeds are stored."""
    kept = {experiment.run(*run) for run in runs}
    stored = stored_runs(experiment)
    if not _of_several_seeds(stored):
        return []
    return [
        f"{run.model} fold {run.fold} seed {run.seed}"
        for run in stored
        if experiment.run(*run) not in kept
    ]


def stored_runs(experiment: Experiment) -> list[Run]:
    """The runs in results/, by their records or else by their scores.

    Raises UserError if neither can be read, and there is one of them.
    """
    folder = experiment.results
    with suppress(UserError):
        return [Run(each.model, each.fold, each.seed) for each in read_runs(experiment)]
    if not any((folder / name).is_file() for name in (RUNS, SCORES.name)):
        return []
    scores = SCORES.read(folder, _remedy(experiment))
    keys = scores[["model", "fold", "seed"]].drop_duplicates()
    return [Run(*key) for key in keys.itertuples(index=False, name=None)]


def results_of(experiment: Experiment, derived: Sequence[ResultTable] = (SUMMARY,)) -> Path:
    """The results folder of an experiment, with what was gathered and `derived` tables validated.

    Raises UserError, which names each fault, if results are missing, incomplete or of another
    experiment. Complete means: each run was scored on all its cases and in every class of their
    masks, those of the noise test at every level, and its loss curve has every epoch.
    """
    folder, remedy = experiment.results, _remedy(experiment)
    read = (*GATHERED_TABLES, *derived)
    if not folder.is_dir():
        raise UserError.at(folder, "no results yet", REMAKE)
    names = (RUNS, *(table.name for table in read))
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise UserError.at(folder, f"lacks {', '.join(missing)}", remedy)
    records = read_runs(experiment)
    tables = {table: table.read(folder, remedy) for table in read}
    faults = [*_foreign(experiment, records, tables), *_gaps(records, tables)]
    faults += _out_of_range(tables[SCORES])
    problems = [Problem(f"{folder}/{file}", what, remedy) for file, what in faults]
    if problems := [*problems, *other_settings(experiment, records)]:
        raise UserError(*problems)
    return folder


def _remedy(experiment: Experiment) -> str:
    folder = experiment.results
    return (
        f"remove {folder} and {REMAKE}, or `git checkout -- {folder}` if it came with the project"
    )


def read_runs(experiment: Experiment) -> list[RunRecord]:
    """The records of the gathered runs. Raises UserError if they are missing or damaged."""
    path, remedy = experiment.results / RUNS, _remedy(experiment)
    if not path.is_file():
        raise UserError.at(path, "no results yet", REMAKE)
    content: Any = read_json(path, remedy=remedy)
    try:
        if not content:
            raise ValueError("no run")
        return [RunRecord.from_json(run) for run in content]
    except (LookupError, TypeError, ValueError, AttributeError):
        raise UserError.at(path, "damaged: not the records of runs", remedy) from None


def trained_profile(experiment: Experiment) -> Profile:
    """The profile, with the image size of the gathered runs: scans can be smaller than its own."""
    return replace(experiment.profile, image_size=read_runs(experiment)[0].grid.size)


def record_origin(experiment: Experiment) -> None:
    """Write the provenance of the results of an experiment."""
    records = read_runs(experiment)
    devices = provenance.device_names(record.device for record in records)
    provenance.record(experiment.results, provenance.origin_of(experiment, records), devices)


Faults = Iterable[tuple[str, str]]  # file, what is wrong


def _foreign(
    experiment: Experiment, records: list[RunRecord], tables: dict[ResultTable, pd.DataFrame]
) -> Faults:
    """What was made from another data set or under another profile."""
    wanted = {"data": experiment.data_name, "profile": experiment.profile.name}
    for table, content in tables.items():
        for key, value in wanted.items():
            if others := set(content[key]) - {value}:
                yield table.name, f"holds {key} {', '.join(sorted(map(str, others)))}, not {value}"
    for record in records:
        if record.experiment != experiment.name:
            yield RUNS, f"{record.title} is of {record.experiment}"


def other_settings(experiment: Experiment, records: Iterable[RunRecord]) -> list[Problem]:
    """The stored runs of an experiment whose settings are not those of its profile today."""
    problems = []
    for record in records:
        own = record.profile.run_settings(record.model)
        today = experiment.profile.tuned(record.model).run_settings(record.model)
        if others := sorted(name for name in today if own[name] != today[name]):
            what = f"{record.title} was made with other {', '.join(others)}"
            problems.append(Problem(experiment.results / RUNS, what, RESTORE))
    return problems


def _out_of_range(scores: pd.DataFrame) -> Faults:
    """The first score that cannot be: distances are not negative, other scores from 0 to 1."""
    highest = scores["metric"].map({"HD95": np.inf}).fillna(1.0)
    values = pd.to_numeric(scores["value"], errors="coerce")
    wrong = (values < 0) | (values > highest) | (values.isna() & scores["value"].notna())
    for row in scores[wrong].head(1).to_dict("records"):
        where = f"{row['model']} fold {row['fold']} seed {row['seed']} {row['case']} {row['class']}"
        yield SCORES.name, f"holds a {row['metric']} of {row['value']} ({where})"


def _gaps(records: Sequence[RunRecord], tables: dict[ResultTable, pd.DataFrame]) -> Faults:
    """Which run lacks cases, classes, noise levels or epochs."""
    dice = volume_dsc(tables[SCORES])
    faults = []
    for record in records:
        confusion = _rows_of(record, tables[CONFUSION])
        in_truth = set(confusion.loc[confusion["voxels"] > 0, "truth"])
        levels = LEVELS if record.model in NOISE_METHODS else ()
        expected: list[tuple[str, pd.DataFrame, list[str], Iterable[tuple]]] = [
            (SCORES.name, dice, ["case"], product(record.test)),
            (
                SCORES.name,
                dice,
                ["class"],
                product(name for name in FOREGROUND if name in in_truth),
            ),
            (CURVES.name, tables[CURVES], ["epoch"], product(range(1, record.epochs + 1))),
            (NOISE.name, tables[NOISE], ["case", "k"], product(record.test, levels)),
            (CONFUSION.name, confusion, ["truth", "predicted"], product(CLASSES, CLASSES)),
        ]
        for file, table, columns, keys in expected:
            rows = _rows_of(record, table)
            present = set(rows[columns].itertuples(index=False, name=None))
            if absent := [" ".join(map(str, key)) for key in keys if key not in present]:
                more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
                words = ", ".join(absent[:3]) + more
                faults.append((file, f"{record.title} lacks {words}"))
    return faults


def _rows_of(record: RunRecord, table: pd.DataFrame) -> pd.DataFrame:
    own = (table["model"] == record.model) & (table["fold"] == record.fold)
    return table[own & (table["seed"] == record.seed)]

"""Collect the results of all runs into results/<experiment>/, and validate them on reading."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spineseg.evaluation.noise import LEVELS
from spineseg.evaluation.result_files import (
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
from spineseg.experiment import Experiment
from spineseg.fingerprint import training_code
from spineseg.methods import NOISE_METHODS, PROPOSED, TABLE3
from spineseg.runs import FINISHED, RunRecord, is_finished, load_record
from spineseg.utils.errors import Problem, UserError
from spineseg.utils.files import atomic_write, read_arrays, read_json, write_csv, write_json
from spineseg.workflow.prepare import prepare
from spineseg.workflow.score import is_scored

REMAKE = "run `make reproduce` with this data and profile"
GATHERED_TABLES = (SCORES, CURVES, NOISE)
GATHERED = (RUNS, *(table.name for table in GATHERED_TABLES), EXAMPLES, NOISE_EXAMPLE)


def gather(experiment: Experiment, models: Sequence[str], folds: Sequence[int]) -> Path:
    """Collect the scored runs of these methods and folds; returns results/<experiment>/.

    Writes runs.json (the record of each run), scores.csv (every case), curves.csv (loss per epoch),
    noise.csv (scores with noise), examples.npz (the best, median and worst case of ASPP-UNet or,
    without it, of the first of Table 3's methods) and noise.npz (one case of it with noise).
    Raises UserError, which names each, if a run or its scores are missing or were made from other
    scans, settings or code, or if none of the methods is in Table 3.
    """
    shown = _shown(models)
    runs = [experiment.run(model, fold) for model in models for fold in folds]
    if missing := [run for run in runs if not (is_finished(run) and is_scored(run))]:
        what, remedy = "not trained and scored yet", "run `make reproduce`"
        raise UserError(*(Problem(run, what, remedy) for run in missing))
    records = [load_record(run) for run in runs]
    if stale := _stale(dict(zip(runs, records, strict=True)), experiment):
        raise UserError(*stale)
    tables = {
        SCORES: _stack(runs, SCORES),
        NOISE: _stack([run for run in runs if (run / NOISE.name).is_file()], NOISE),
        CURVES: pd.concat(
            identify(_losses(run), record) for run, record in zip(runs, records, strict=True)
        ),
    }
    remedy = f"remove that run's {FINISHED} and {SCORES.name} and run `make reproduce`"
    if gaps := _gaps(records, _with_text_folds(tables)):
        words = (f"{file}: {what}" for file, what in gaps)
        raise UserError(*(Problem(experiment.runs, each, remedy) for each in words))
    _write(experiment, records, tables, shown, [name for name in TABLE3 if name in models])
    return experiment.results


def _shown(models: Sequence[str]) -> str:
    """The method whose cases are drawn."""
    compared = [name for name in TABLE3 if name in models]
    if not compared:
        remedy = f"add one of {', '.join(TABLE3)}"
        raise UserError.at(", ".join(models), "not in Table 3", remedy)
    return PROPOSED if PROPOSED in compared else compared[0]


def _stale(runs: dict[Path, RunRecord], experiment: Experiment) -> list[Problem]:
    """The runs whose scans, settings or code are no longer those they were made from."""
    key = prepare(experiment).index["key"]
    problems = []
    for run, record in runs.items():
        code = training_code(record.model)
        today = replace(record, profile=experiment.profile, data_key=key, code=code)
        if names := record.differences(today):
            problems.append(
                Problem(run, f"made with other {', '.join(names)}", "remove this folder")
            )
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


def _with_text_folds(tables: dict[ResultTable, pd.DataFrame]) -> dict[ResultTable, pd.DataFrame]:
    return {table: content.astype({"fold": str}) for table, content in tables.items()}


def _write(
    experiment: Experiment,
    records: Sequence[RunRecord],
    tables: dict[ResultTable, pd.DataFrame],
    shown: str,
    compared: Sequence[str],
) -> None:
    folder = experiment.results
    first = experiment.run(shown, records[0].fold)
    noise_example = read_arrays(first / NOISE_EXAMPLE, _rescore_remedy(first))
    examples = _examples(experiment, compared, shown, tables[SCORES])
    write_json(folder / RUNS, [record.without_path() for record in records])
    for table, content in tables.items():
        write_csv(folder / table.name, content)
    for name, arrays in ((EXAMPLES, examples), (NOISE_EXAMPLE, noise_example)):
        with atomic_write(folder / name) as temporary:
            np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def _examples(
    experiment: Experiment, compared: Sequence[str], shown: str, scores: pd.DataFrame
) -> dict[str, np.ndarray]:
    """The best, median and worst case of the method `shown`, with each method's prediction."""
    dice = scores.query("aggregation == 'volume' and metric == 'DSC'")
    means = dice.groupby(["model", "fold", "case"])["value"].mean()
    ranked = means[shown].sort_values(ascending=False)
    last = len(ranked) - 1
    arrays: dict[str, np.ndarray] = {}
    for rank, position in {"best": 0, "median": last // 2, "worst": last}.items():
        fold, case = ranked.index[position]
        arrays[f"{rank}_case"] = np.array(case)
        for model in compared:
            run = experiment.run(model, fold)
            drawn = read_arrays(run / EXAMPLES, _rescore_remedy(run))
            parts = {key: drawn[f"{case}_{key}"] for key in ("image", "truth", "spacing")}
            arrays |= {f"{rank}_{key}": value for key, value in parts.items()}
            arrays[f"{rank}_predicted_{model}"] = drawn[f"{case}_predicted"]
            arrays[f"{rank}_dsc_{model}"] = np.array(means[model, fold, case])
    return arrays


def results_of(experiment: Experiment) -> Path:
    """The results folder of an experiment, validated.

    Raises UserError, which names each fault, if results are missing, incomplete or of another
    experiment. Complete means: every method was scored on the same folds and cases, in every class
    that any method was scored in, those of the noise test at every level, and each loss curve has
    every epoch.
    """
    folder, remedy = experiment.results, _remedy(experiment)
    if not folder.is_dir():
        raise UserError.at(folder, "no results yet", REMAKE)
    read = (*GATHERED_TABLES, SUMMARY)
    names = (RUNS, *(table.name for table in read))
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise UserError.at(folder, f"lacks {', '.join(missing)}", remedy)
    records = read_runs(experiment)
    tables = {table: table.read(folder, remedy, dtype={"fold": str}) for table in read}
    faults = [*_foreign(experiment, records, tables), *_gaps(records, tables)]
    if faults:
        raise UserError(*(Problem(f"{folder}/{file}", what, remedy) for file, what in faults))
    return folder


def _remedy(experiment: Experiment) -> str:
    return f"remove {experiment.results} and {REMAKE}"


def read_runs(experiment: Experiment) -> list[RunRecord]:
    """The records of the gathered runs. Raises UserError if they are missing or damaged."""
    path, remedy = experiment.results / RUNS, _remedy(experiment)
    if not path.is_file():
        raise UserError.at(path, "no results yet", REMAKE)
    content: Any = read_json(path, remedy=remedy)
    try:
        return [RunRecord.from_json(run) for run in content]
    except (LookupError, TypeError, ValueError, AttributeError):
        raise UserError.at(path, "damaged: not the records of runs", remedy) from None


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
        own = asdict(record.profile)
        settings = asdict(experiment.profile)
        others = {setting for setting in settings if own[setting] != settings[setting]}
        if record.experiment != experiment.name or others:
            words = f" with other {', '.join(sorted(others))}" if others else ""
            yield RUNS, f"{record.model} fold {record.fold} is of {record.experiment}{words}"


def _gaps(records: Sequence[RunRecord], tables: dict[ResultTable, pd.DataFrame]) -> Faults:
    """Which run lacks cases, classes, noise levels or epochs."""
    scores = tables[SCORES].query("aggregation == 'volume' and metric == 'DSC'")
    faults = list(_missing_folds(records))
    for model, found in scores.groupby("model")["class"].unique().items():
        if lacking := set(scores["class"]) - set(found):
            faults.append((SCORES.name, f"{model} has no {', '.join(sorted(lacking))}"))
    for record in records:
        levels = LEVELS if record.model in NOISE_METHODS else ()
        expected: list[tuple[str, pd.DataFrame, list[str], list[tuple]]] = [
            (SCORES.name, scores, ["case"], [(case,) for case in record.test]),
            (CURVES.name, tables[CURVES], ["epoch"], [(e + 1,) for e in range(record.epochs)]),
            (
                NOISE.name,
                tables[NOISE],
                ["case", "k"],
                [(case, k) for case in record.test for k in levels],
            ),
        ]
        for file, table, columns, keys in expected:
            rows = table[(table["model"] == record.model) & (table["fold"] == record.fold)]
            present = set(rows[columns].itertuples(index=False, name=None))
            if absent := [" ".join(map(str, key)) for key in keys if key not in present]:
                more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
                words = ", ".join(absent[:3]) + more
                faults.append((file, f"{record.model} fold {record.fold} lacks {words}"))
    return faults


def _missing_folds(records: Sequence[RunRecord]) -> Faults:
    folds: dict[str, set[str]] = {}
    for record in records:
        folds.setdefault(record.model, set()).add(record.fold)
    every = set().union(*folds.values())
    for model, found in folds.items():
        if lacking := every - found:
            yield RUNS, f"{model} lacks fold {', '.join(sorted(lacking))}"

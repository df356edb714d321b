"""Compare new runs with the stored ones of the same experiment."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from spineseg.evaluation.result_files import SCORES, ResultTable
from spineseg.experiment import Experiment
from spineseg.methods import METHODS
from spineseg.paper.tables import PAPER_METRICS, case_means
from spineseg.runs import RunRecord, load_record
from spineseg.utils.errors import UserError, of_each
from spineseg.utils.files import write_csv
from spineseg.workflow.gather import Run, other_settings, read_runs

CONFIDENCE = 0.95
REPRODUCTION = ResultTable(
    "reproduced.csv",
    ("model", "fold", "seed", "metric", "ours", "seeds"),
    ("stored", "low", "high", "reproduced"),
)


def compare_with_stored(experiment: Experiment, runs: Sequence[Run]) -> list[str]:
    """Compare scored runs with the stored ones; returns a line per run.

    Writes runs/<experiment>/reproduced.csv: for each run and metric our mean, that of the stored
    runs of the same method and fold, the interval in which one more such run is expected, and
    whether ours is in it. Raises UserError, which names each, if a run is not finished and scored,
    and for stored runs of these methods that were made with other settings.
    """
    made = of_each([experiment.run(*run) for run in runs], _record_and_scores)
    models = {run.model for run in runs}
    records = [record for record in read_runs(experiment) if record.model in models]
    if problems := other_settings(experiment, records):
        raise UserError(*problems)
    stored = SCORES.read(experiment.results)
    parts = [
        experiment.stamp(_compared(run, scores, stored), record.device)
        for run, (record, scores) in zip(runs, made, strict=True)
    ]
    table = pd.concat(parts, ignore_index=True)
    write_csv(experiment.runs / REPRODUCTION.name, table)
    return verdict_lines(table)


def _compared(run: Run, scores: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """One row per metric; the interval is empty if fewer than two runs are stored."""
    ours = _means(scores)
    same = stored[(stored["model"] == run.model) & (stored["fold"] == str(run.fold))]
    by_seed = _means(same)
    rows = []
    for metric in PAPER_METRICS:
        (value,) = ours[metric]
        theirs = by_seed.get(metric, np.empty(0))
        low, high = prediction_interval(theirs)
        inside = low <= value <= high if len(theirs) > 1 else None
        mean = theirs.mean() if len(theirs) else np.nan
        rows.append((*run, metric, value, mean, low, high, len(theirs), inside))
    columns = ["model", "fold", "seed", "metric", "ours", "stored", "low", "high", "seeds"]
    return pd.DataFrame(rows, columns=[*columns, "reproduced"])


def _record_and_scores(folder: Path) -> tuple[RunRecord, pd.DataFrame]:
    return load_record(folder), SCORES.read(folder)


def _means(scores: pd.DataFrame) -> dict[str, np.ndarray]:
    """The means over classes, then over cases, by metric: one per seed, per cent."""
    seeds = case_means(scores).groupby(["metric", "seed"])["value"].mean()
    return {str(metric): means.to_numpy() for metric, means in seeds.groupby("metric")}


def prediction_interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of one more value, by Student's t; NaN for fewer than two values.

    It is wider than the interval of the mean: the new value varies as much as each of these.
    """
    from scipy.stats import t

    number = len(values)
    if number < 2:
        return np.nan, np.nan
    factor = t.ppf((1 + CONFIDENCE) / 2, number - 1) * np.sqrt(1 + 1 / number)
    margin = factor * values.std(ddof=1)
    return values.mean() - margin, values.mean() + margin


def verdict_lines(table: pd.DataFrame) -> list[str]:
    """One line per run of reproduced.csv."""
    return [_verdict_line(rows) for _, rows in table.groupby(["model", "fold", "seed"], sort=False)]


def _verdict_line(rows: pd.DataFrame) -> str:
    """The line of one run."""
    known = rows["reproduced"].notna().all()
    verdict = "reproduced" if known and rows["reproduced"].all() else "not reproduced"
    parts = []
    for row in rows.itertuples():
        expected = f" (stored {row.stored:.1f}, expected {row.low:.1f} to {row.high:.1f})"
        parts.append(f"{row.metric} {row.ours:.1f} %{expected if known else ''}")
    words = verdict if known else "fewer than two stored runs to compare with"
    model, fold = rows.iloc[0][["model", "fold"]]
    return f"{METHODS[model].title} fold {fold}: {words}; {', '.join(parts)}"


def read_verdict_lines(experiment: Experiment) -> list[str]:
    """The lines of the last comparison of an experiment with the scores stored today, if any."""
    compared, stored = experiment.runs / REPRODUCTION.name, experiment.results / SCORES.name
    if not compared.is_file() or compared.stat().st_mtime < stored.stat().st_mtime:
        return []
    return verdict_lines(REPRODUCTION.read(experiment.runs))

"""All steps of an experiment one after another, on a machine without Snakemake."""

import math
import sys
from collections.abc import Sequence

from spineseg.experiment import Experiment
from spineseg.methods import METHODS, TABLE3_METHODS
from spineseg.runs import is_finished
from spineseg.utils.errors import Problem, UserError, is_out_of_memory
from spineseg.utils.locks import folder_lock
from spineseg.workflow.cost import has_cost, write_cost
from spineseg.workflow.gather import Run, gather, record_origin, require_replaceable
from spineseg.workflow.prepare import prepare
from spineseg.workflow.score import is_scored, score_run
from spineseg.workflow.tables import write_tables
from spineseg.workflow.train import chosen_models, time_limit, train


def reproduce(
    experiment: Experiment,
    models: Sequence[str],
    folds: Sequence[int],
    seeds: Sequence[int] = (0,),
    minutes: float = math.inf,
) -> bool:
    """Train and score what is missing, measure costs, and write the tables.

    Each of `models` is trained on all `folds`, with each of `seeds`. No epoch begins that would not
    end within `minutes`. The methods whose runs are all scored by then are gathered, if one of them
    is in Table 3. Everything that the next call needs is in
    runs/<experiment>/ and results/<experiment>/.
    Returns whether there was time for all methods. Raises UserError for bad scans, if another
    process works on the same experiment, if results/ holds several seeds and not all of them are
    asked for, and, at the end, for methods that do not fit into the device's memory.
    """
    until = time_limit(minutes)
    runs = {
        name: [Run(name, fold, seed) for seed in seeds for fold in folds]
        for name in chosen_models(models)
    }
    require_replaceable(experiment, [run for own in runs.values() for run in own])
    cache = prepare(experiment)
    for fold in folds:
        cache.test_ids(fold)  # an unknown fold is told before any work
    with folder_lock(experiment.runs):
        scored, too_large = [], []
        for name, own in runs.items():
            try:
                if _train_and_score(experiment, own, until):
                    scored.append(name)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                what = f"{METHODS[name].title} does not fit into the memory of this device"
                remedy = "leave this method out, or train it on another device"
                too_large.append(Problem(experiment.runs, what, remedy))
        if set(scored) & set(TABLE3_METHODS):
            if not has_cost(experiment):
                write_cost(experiment)
            _write_results(experiment, [run for name in scored for run in runs[name]])
    if too_large:
        raise UserError(*too_large)
    return len(scored) == len(runs)


def _train_and_score(experiment: Experiment, runs: Sequence[Run], until: float) -> bool:
    """Train and score runs as far as time allows; returns whether all are done."""
    for model, fold, seed in runs:
        folder = train(experiment, model, fold, until, seed)
        if not is_finished(folder):
            print(f"{folder}: time is up; the same command resumes", file=sys.stderr)
            return False
        if not is_scored(folder):
            score_run(folder, experiment)
    return True


def _write_results(experiment: Experiment, runs: Sequence[Run]) -> None:
    gather(experiment, runs)
    write_tables(experiment)
    record_origin(experiment)

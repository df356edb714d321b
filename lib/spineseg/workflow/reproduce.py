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
    experiment: Experiment, models: Sequence[str], folds: Sequence[int], minutes: float = math.inf
) -> bool:
    """Train and score what is missing, measure costs, and write the tables.

    No epoch begins that would not end within `minutes`. The methods whose folds are all scored by
    then are gathered, if one of them is in Table 3. Everything that the next call needs is in
    runs/<experiment>/ and results/<experiment>/.
    Returns whether there was time for all methods. Raises UserError for bad scans, if another
    process works on the same experiment, rather than replace the results of several seeds, and, at
    the end, for methods that do not fit into the device's memory.
    """
    until = time_limit(minutes)
    models = chosen_models(models)
    require_replaceable(experiment)
    cache = prepare(experiment)
    for fold in folds:
        cache.test_ids(fold)  # an unknown fold is told before any work
    with folder_lock(experiment.runs):
        scored, too_large = [], []
        for name in models:
            try:
                if _train_and_score(experiment, name, folds, until):
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
            _write_results(experiment, [Run(name, fold) for name in scored for fold in folds])
    if too_large:
        raise UserError(*too_large)
    return len(scored) == len(models)


def _train_and_score(
    experiment: Experiment, model: str, folds: Sequence[int], until: float
) -> bool:
    """Train and score the folds of a method as far as time allows; returns whether all are done."""
    for fold in folds:
        run = experiment.run(model, fold)
        train(experiment, model, fold, until=until)
        if not is_finished(run):
            print(f"{run}: time is up; the same command resumes", file=sys.stderr)
            return False
        if not is_scored(run):
            score_run(run, experiment)
    return True


def _write_results(experiment: Experiment, runs: Sequence[Run]) -> None:
    gather(experiment, runs)
    write_tables(experiment)
    record_origin(experiment)

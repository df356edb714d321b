"""Measure how high a DSC the methods of Table 3 can reach that enlarge a coarse map of labels."""

from pathlib import Path

from spineseg.evaluation.result_files import CEILING
from spineseg.experiment import Experiment
from spineseg.methods import TABLE3_METHODS
from spineseg.utils.files import write_csv
from spineseg.workflow.prepare import prepare


def write_ceiling(experiment: Experiment) -> Path:
    """Fit labels to the masks that fold 0 tests; write results/<experiment>/ceiling.csv."""
    from spineseg.evaluation.ceiling import ceiling_table  # imports torch

    path = experiment.results / CEILING.name
    table = ceiling_table(prepare(experiment), 0, TABLE3_METHODS)
    write_csv(path, experiment.stamp(table))
    return path

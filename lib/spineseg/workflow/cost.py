"""Measure what the networks of Table 4 cost, and read it."""

from pathlib import Path

import pandas as pd

from spineseg.evaluation.result_files import COST
from spineseg.experiment import Experiment
from spineseg.utils.errors import UserError
from spineseg.utils.files import write_csv
from spineseg.workflow.gather import REMAKE


def write_cost(experiment: Experiment) -> Path:
    """Measure all networks of Table 4 and write results/<experiment>/cost.csv."""
    from spineseg.benchmark.cost import PAPER_WIDTH, measure_cost
    from spineseg.training.device import describe_device, make_fabric

    path = experiment.results / COST.name
    table = measure_cost(experiment.profile.benchmark_rows)
    write_csv(path, experiment.stamp(table, describe_device(make_fabric(PAPER_WIDTH))))
    return path


def has_cost(experiment: Experiment) -> bool:
    """Whether the cost of images of as many rows as the profile asks for is stored."""
    try:
        return set(read_cost(experiment)["rows"]) == {experiment.profile.benchmark_rows}
    except UserError:  # none, or a damaged one
        return False


def read_cost(experiment: Experiment) -> pd.DataFrame:
    """The stored cost of the networks. Raises UserError if it is missing or damaged."""
    return COST.read(experiment.results, REMAKE)

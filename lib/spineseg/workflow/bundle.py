"""Put a finished run into the repository, for those who have no run of their own."""

from dataclasses import replace
from pathlib import Path

from spineseg.runs import FINISHED, load_record
from spineseg.utils import paths
from spineseg.utils.errors import UserError
from spineseg.utils.files import write_json


def bundle(run: Path) -> Path:
    """Write the weights and the record of a run on simulated scans into weights/; returns that.

    Raises UserError for an unfinished run, and for one that was trained on scans of patients.
    """
    from spineseg.training.checkpoint import load_network, save_weights

    record = load_record(run)
    if not record.as_experiment.is_simulated:
        what = f"was trained on {record.data_name}"
        raise UserError.at(run, what, "bundle a run that was trained on simulated scans alone")
    network, _ = load_network(run)
    save_weights(network, paths.BUNDLED)
    write_json(paths.BUNDLED / FINISHED, replace(record, train=(), test=()).to_json())
    return paths.BUNDLED

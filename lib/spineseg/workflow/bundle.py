"""Put a finished run into the repository, for those who have no run of their own."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from spineseg.methods import NNUNET
from spineseg.runs import FINISHED, load_record
from spineseg.utils import paths
from spineseg.utils.errors import UserError
from spineseg.utils.files import write_json


def bundle(run: Path, folder: Path | None = None) -> Path:
    """Write the weights and the record of a run on simulated scans into a folder; returns it.

    By default the folder is weights/, from where `predict` takes a network. Raises UserError for an
    unfinished run, for one that was trained on scans of patients, and for nnU-Net.
    """
    from spineseg.training.checkpoint import WEIGHTS, load_network, save_weights

    record = load_record(run)
    if not record.as_experiment.is_synthetic:
        what = f"was trained on {record.data_name}"
        raise UserError.at(run, what, "bundle a run on simulated patients or on data/phantom")
    if record.model == NNUNET:
        raise UserError.at(run, "is of nnU-Net", "bundle a network of this project")
    folder = folder or paths.BUNDLED
    network, _ = load_network(run)
    handed_on = replace(record, data=record.data_name, train=(), test=())
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".bundle-", dir=folder) as made:  # until all of it is written
        save_weights(network, Path(made))
        write_json(Path(made) / FINISHED, handed_on.to_json())
        (folder / FINISHED).unlink(missing_ok=True)  # it is not that of the new weights
        for name in (WEIGHTS, FINISHED):
            (Path(made) / name).replace(folder / name)
    return folder

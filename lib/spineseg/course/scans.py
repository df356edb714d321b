"""The scans of a lesson. The default ones are simulated when a lesson first needs them."""

from spineseg.data.prepare import open_scans
from spineseg.experiment import Experiment
from spineseg.phantom import write_dataset
from spineseg.utils import paths


def require_scans(experiment: Experiment) -> None:
    """Simulate the phantom if the lesson uses it and it is missing: about half a minute.

    Raises UserError if the experiment's own folder holds no scans with masks.
    """
    if experiment.data == paths.default_data():
        write_dataset(experiment.data)
    open_scans(experiment)

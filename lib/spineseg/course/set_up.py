"""Whether everything is there that the lessons need."""

import platform
from importlib.metadata import version

from spineseg.evaluation.result_files import RUNS
from spineseg.experiment import PHANTOM_RECORD, Experiment

PACKAGES = ("spineseg", "torch", "numpy", "pandas")


def check_set_up() -> None:
    """Print versions, and whether stored results and scans are there."""
    experiment = Experiment.of("", "laptop")
    versions = [f"Python {platform.python_version()}", *(f"{p} {version(p)}" for p in PACKAGES)]
    print(f"The library works: {', '.join(versions)}.")
    if (experiment.results / RUNS).is_file():
        print("The stored results are there: all lessons can be run.")
    else:
        print(f"The stored results are missing: {experiment.results} is not complete.")
        print("Clone the repository again, or restore the folder with git.")
    if (experiment.data / PHANTOM_RECORD).is_file():
        print("The simulated scans are there.")
    else:
        print("The scans are not simulated yet. The first lesson does that in half a minute.")

"""One lesson: it shows figures with a text for those who cannot see them, and saves on request."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from spineseg.experiment import Experiment
from spineseg.figures import save as save_figure
from spineseg.utils.files import atomic_write, write_csv


class Lesson:
    """A notebook about an experiment. It writes figures and tables only with `save`."""

    def __init__(self, experiment: Experiment, save: bool = False) -> None:
        self.experiment, self.save = experiment, save

    def show(self, figure: Figure, name: str = "", *, alt: str) -> None:
        """Show a figure; `alt` says in words what it shows.

        `name` is the file without suffix. A figure without a name is never saved.
        """
        display(figure, metadata={"image/png": {"alt": alt}})  # type: ignore[no-untyped-call]
        plt.close(figure)
        if self.save and name:
            save_figure(figure, self.experiment.figures / name)

    def write_table(self, table: pd.DataFrame, name: str) -> None:
        """Write a table into results/, with columns for data and profile."""
        if self.save:
            write_csv(self.experiment.results / name, self.experiment.stamp(table))

    def write_arrays(self, name: str, **arrays: ArrayLike) -> None:
        """Write arrays into one .npz file of results/."""
        if self.save:
            with atomic_write(self.experiment.results / name) as temporary:
                np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]

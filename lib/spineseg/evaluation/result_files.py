"""The files of an experiment in results/: names, and the columns that are validated on reading."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from spineseg.utils.errors import REMOVE
from spineseg.utils.files import read_csv

RUNS = "runs.json"  # the record of each gathered run
EXAMPLES = "examples.npz"  # one slice per case: image, truth, predictions
NOISE_EXAMPLE = "noise.npz"  # one slice at each noise level
PROVENANCE = "provenance.json"  # where each file comes from


@dataclass(frozen=True)
class ResultTable:
    """A CSV file. `required` columns have no gaps, `optional` ones may have.

    The columns `texts` are read as text even if all their cells look like numbers.
    """

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    texts: tuple[str, ...] = ("fold",)

    def read(self, folder: Path, remedy: str = REMOVE) -> pd.DataFrame:
        """The table in a folder. Raises UserError if it is missing or damaged."""
        return read_csv(folder / self.name, self.required, self.optional, remedy, self.texts)


OF_A_RUN = ("device", "model", "fold", "seed")
NAMES = ("data", "profile")
SCORES = ResultTable(
    "scores.csv",
    (*OF_A_RUN, "case", "class", "aggregation", "metric", "units"),
    (*NAMES, "value"),
)
NOISE = ResultTable("noise.csv", (*OF_A_RUN, "case", "k"), (*NAMES, "DSC", "IoU"))
CURVES = ResultTable(
    "curves.csv", (*OF_A_RUN, "epoch", "train_loss", "learning_rate"), (*NAMES, "test_loss")
)
CONFUSION = ResultTable("confusion.csv", (*OF_A_RUN, "truth", "predicted", "voxels"), NAMES)
VALIDATION_SCORES = ResultTable(  # on validation patients, for each setting that was tried
    "validation.csv",
    ("device", "model", "learning_rate", "epochs", "seed", "case"),
    (*NAMES, "DSC"),
)
SEARCH = ResultTable("search.csv", ("model", "learning_rate", "epochs", "chosen"), ("DSC",))
CONVERGENCE = ResultTable(
    "convergence.csv", ("model", "epochs", "trained_out"), ("DSC", "change", "low", "high")
)
TRAINED_FIELDS = ResultTable("trained_fields.csv", ("model", "seed", "image_rows", "rows"))
CEILING = ResultTable(  # the highest DSC within reach, of methods that enlarge a map of labels
    "ceiling.csv", ("model", "case", "DSC"), NAMES
)
COST = ResultTable(
    "cost.csv", ("device", "model"), ("parameters", "gflops", "seconds", "note"), ("note",)
)
SUMMARY = ResultTable(
    "summary.csv",
    ("device", "model", "class", "aggregation", "metric", "cases"),
    (*NAMES, "mean", "sd", "low", "high"),
)
FAILURES = ResultTable("failures.csv", (*OF_A_RUN, "case", "DSC"), (*NAMES, "missed", "poor"))
TABLE2 = ResultTable(
    "table2.csv", ("positions", "model", "metric"), ("paper", "ours"), ("positions",)
)
TABLE3 = ResultTable("table3.csv", ("model", "metric", "class"), ("paper", "ours"))
TABLE4 = ResultTable("table4.csv", ("model",), texts=("note",))
COMPARISON = ResultTable("comparison.csv", ("metric", "model", "cases"), ("difference", "p_holm"))
FIVE_FOLDS = ResultTable(
    "five_folds.csv", ("metric", "folds", "seeds", "cases"), ("unet", "aspp_unet", "difference")
)
NOISE_CURVES = ResultTable("noise_curves.csv", ("model", "k", "cases"), ("DSC", "low", "high"))
VERDICTS = ResultTable(
    "verdicts.csv",
    ("key", "section", "claim", "verdict"),
    ("paper", "ours"),
    ("section", "paper", "ours"),
)
AUDIT = ResultTable("audit.csv", ("check", "claim", "holds"))
CONVEXITY = ResultTable("audit_convexity.csv", ("model", "class", "holds"))
TIMES = ResultTable("times.csv", ("step", "seconds"))
LOSSES = ResultTable(  # of a run
    "log.csv", ("epoch", "train_loss", "learning_rate", "seconds"), ("test_loss",)
)

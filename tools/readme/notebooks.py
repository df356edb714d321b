"""The table of the notebooks: what each teaches, and which figures and tables it makes."""

from dataclasses import dataclass

from tools.readme.markdown import link, table
from tools.readme.stored import ABLATED, CONTROLLED, RESULTS, SHOWN

from spineseg.evaluation.result_files import TIMES

LIBRARY = "lib/spineseg"


@dataclass(frozen=True)
class Piece:
    """A table or figure, or several, and the files that hold it."""

    title: str
    figures: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    experiment: str = SHOWN  # of the data; the figures are in that of the notebooks

    def __str__(self) -> str:
        files = [link(name, f"figures/{SHOWN}/{name}.png") for name in self.figures]
        files += [link(name, f"results/{self.experiment}/{name}") for name in self.data]
        return f"{self.title}: {', '.join(files)}"


@dataclass(frozen=True)
class Notebook:
    """A row of the table of notebooks; `code` are paths in the library."""

    name: str
    teaches: str
    pieces: tuple[Piece, ...]
    code: tuple[str, ...]


NOTEBOOKS = (
    Notebook("00_start", "start here: the plan of the course and a glossary", (), ("course",)),
    Notebook(
        "01_data_exploration",
        "what a scan and its labels are",
        (
            Piece("Table 1", (), ("shapes.csv",)),
            Piece("Fig. 1 (a)", ("fig1a",), ("slice.npz",)),
            Piece("extra", ("intensities", "class_sizes"), ("measured.csv",)),
        ),
        ("labels.py", "data/overview.py"),
    ),
    Notebook(
        "02_preprocessing",
        "how scans are resampled and cropped, and what that costs",
        (Piece("Fig. 1", ("fig1",), ("fig1.npz", "preprocessing.csv")),),
        ("data/preprocess.py",),
    ),
    Notebook(
        "03_network",
        "ASPP, U-Net and the receptive field",
        (
            Piece("Fig. 2, 3", ("fig2", "fig3")),
            Piece("Fig. 4", ("fig4",), ("network.csv",)),
            Piece("extra", ("receptive_field",), ("receptive_field.csv",)),
        ),
        ("models/blocks.py", "models/aspp_unet.py", "models/receptive_field.py"),
    ),
    Notebook(
        "04_training",
        "how a network is trained and scored",
        (
            Piece(
                "one method in detail",
                ("training", "scores", "examples"),
                ("curves.csv", "scores.csv", "examples.npz"),
            ),
            Piece("the search", (), ("search.csv", "convergence.csv")),
        ),
        ("training/loop.py", "evaluation/metrics.py"),
    ),
    Notebook(
        "05_ablation",
        "which ASPP modules matter",
        (Piece("Table 2", ("ablation",), ("table2.csv",), ABLATED),),
        ("methods.py", "paper/tables.py"),
    ),
    Notebook(
        "06_baselines",
        "six methods on the same patients, compared case by case",
        (
            Piece(
                "Table 3",
                ("comparison",),
                ("table3.csv", "comparison.csv", "five_folds.csv", "summary.csv", "failures.csv"),
            ),
            Piece("Fig. 7", ("fig7",), ("examples.npz",)),
            Piece("DeepLabV3's ceiling", (), ("ceiling.csv",)),
        ),
        ("evaluation/statistics.py", "evaluation/ceiling.py", "paper/tables.py"),
    ),
    Notebook(
        "07_noise",
        "robustness to noise",
        (
            Piece("Fig. 5, 6", ("fig5", "fig6"), ("noise.npz",)),
            Piece("extra", ("noise",), ("noise_curves.csv", "noise.csv")),
        ),
        ("evaluation/noise.py",),
    ),
    Notebook(
        "08_cost",
        "parameters, arithmetic, time",
        (Piece("Table 4", ("cost",), ("table4.csv", "cost.csv")),),
        ("models/counting.py", "benchmark/cost.py"),
    ),
    Notebook(
        "09_mechanism",
        "when ASPP helps, and why",
        (
            Piece(
                "extra",
                ("mechanism", "controls", "classes_by_depth", "confusion", "trained_fields"),
                ("scores.csv", "confusion.csv", "trained_fields.csv"),
                CONTROLLED,
            ),
        ),
        ("paper/mechanism.py", "paper/control_networks.py", "paper/findings"),
    ),
    Notebook(
        "10_audit",
        "how to check a paper from its own tables",
        (Piece("audit", ("convexity",), ("audit.csv", "audit_convexity.csv")),),
        ("paper/consistency.py",),
    ),
    Notebook(
        "11_verdicts",
        "what reproduced",
        (Piece("verdicts", (), ("verdicts.csv",)),),
        ("paper/verdicts.py",),
    ),
    Notebook(
        "A1_figures",
        "appendix: every figure of the paper again",
        (Piece("Fig. 8, 9", ("fig8", "fig9"), ("curves.csv",)),),
        ("figures",),
    ),
    Notebook(
        "A2_speed",
        "appendix: how fast the networks run, and why",
        (Piece("extra", ("speed", "growth")),),
        ("models/fast.py", "benchmark"),
    ),
)


def notebooks_table() -> str:
    """Each notebook: what it teaches, its seconds, its figures and tables, its code."""
    times = TIMES.read(RESULTS / SHOWN).set_index("step")["seconds"]
    lines = [
        (
            link(notebook.name[:2], f"notebooks/{notebook.name}.ipynb"),
            notebook.teaches,
            f"{times[notebook.name]:.0f} s" if notebook.name in times else "",
            "; ".join(map(str, notebook.pieces)),
            ", ".join(link(path, f"{LIBRARY}/{path}") for path in notebook.code),
        )
        for notebook in NOTEBOOKS
    ]
    return table(("notebook", "teaches", "runs in", "figures and tables", "code"), lines)

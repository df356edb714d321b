"""Figures show what their tables contain."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from spineseg import figures
from spineseg.figures import diagrams, mechanism, style
from spineseg.labels import ALL_CLASSES, CLASSES, COLOURS
from spineseg.methods import ABLATION_METHODS, METHODS, NNUNET, NOISE_METHODS, TABLE3_METHODS
from spineseg.models import build_model
from spineseg.models.trace import trace_stages


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def seen_by(colour: str, missing: int) -> np.ndarray:
    """A colour as somebody without one cone type sees it, roughly: the other two LMS values."""
    rgb = np.array(plt.matplotlib.colors.to_rgb(colour)) ** 2.2
    to_lms = np.array([[0.314, 0.640, 0.047], [0.155, 0.758, 0.087], [0.018, 0.109, 0.873]])
    return np.delete(to_lms @ rgb, missing)


@pytest.mark.parametrize("missing", [0, 1], ids=["protanopia", "deuteranopia"])
def test_neighbouring_classes_differ_for_the_colour_blind(missing):
    names = CLASSES[1:]
    for one, other in pairwise(names):
        distance = np.abs(seen_by(COLOURS[one], missing) - seen_by(COLOURS[other], missing))
        assert distance.max() > 0.08, (one, other)


def test_each_method_has_its_own_colour_and_marker():
    assert len({style.METHOD_COLOURS[name] for name in NOISE_METHODS}) == len(NOISE_METHODS)
    assert len({style.METHOD_MARKERS[name] for name in NOISE_METHODS}) == len(NOISE_METHODS)


def test_noise_draws_every_method():
    curves = pd.DataFrame(
        {"model": name, "k": k, "DSC": 80 - i - k / 2, "low": 70 - k / 2, "high": 90 - k / 2}
        for i, name in enumerate(NOISE_METHODS)
        for k in (0, 30, 90)
    )
    figure = figures.noise(curves)
    drawn = {c.get_label(): c.lines[0].get_ydata() for c in figure.axes[0].containers}
    assert set(drawn) == {METHODS[name].title for name in NOISE_METHODS}
    assert list(drawn["SegNet"]) == list(curves.query("model == 'segnet'")["DSC"])


@pytest.mark.parametrize(
    ("figure", "column"), [(figures.fig8, "train_loss"), (figures.fig9, "test_loss")]
)
def test_losses_are_means_over_common_runs_and_nnunet_has_its_own_panel(figure, column):
    shared = [(name, 0, seed) for name in TABLE3_METHODS for seed in (0, 1)]
    curves = pd.DataFrame(
        {
            "model": name,
            "fold": fold,
            "seed": seed,
            "epoch": epoch,
            "train_loss": 1 + seed + epoch + 100 * fold,
            "test_loss": 9 - seed - 8 * fold,
        }
        for name, fold, seed in [*shared, ("unet", 1, 0)]
        for epoch in (1, 2, 3)
    )
    own, other = figure(curves).axes
    assert [line.get_label() for line in other.lines] == [METHODS[NNUNET].title]
    losses = curves.query("model == @NNUNET").groupby("epoch")[column]
    np.testing.assert_allclose(other.lines[0].get_ydata(), losses.mean() + 1)
    assert own.get_yscale() == other.get_yscale() == "log"
    assert len(own.lines) == len(TABLE3_METHODS) - 1
    losses = curves.query("model == 'unet' and fold == 0").groupby("epoch")[column]
    np.testing.assert_allclose(own.lines[0].get_ydata(), losses.mean())
    band = own.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (losses.min().min(), losses.max().max())


def test_losses_without_nnunet_have_one_panel():
    curves = pd.DataFrame(
        {"model": "unet", "fold": 0, "seed": 0, "epoch": [1, 2], "train_loss": [2.0, 1.0]}
    )
    assert len(figures.fig8(curves).axes) == 1


def test_losses_of_one_method_span_its_folds_and_seeds():
    log = pd.DataFrame(
        {"fold": fold, "seed": seed, "epoch": epoch, "train_loss": loss, "test_loss": loss / 2}
        for fold, seed, loss in ((0, 0, 1.0), (0, 1, 2.0), (1, 0, 6.0))
        for epoch in (1, 2)
    ).assign(model="unet")
    axes = figures.training(log).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [3, 3])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (1, 6)


def test_the_loss_of_nnunet_is_drawn_above_zero():
    log = pd.DataFrame({"epoch": [1, 2], "train_loss": [0.5, -0.9], "test_loss": [0.6, -0.8]})
    axes = figures.training(log.assign(model="nnunet", fold=0, seed=0)).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [1.5, 0.1])
    assert axes.get_ylabel() == "cross-entropy + 1 - soft Dice"


def test_scores_by_class_have_a_point_per_case():
    scores = pd.DataFrame(
        {"class": "L5", "case": case, "seed": seed, "value": value}
        for case, values in (("A", (0.2, 0.4)), ("B", (0.8, 1.0)))
        for seed, value in enumerate(values)
    ).assign(aggregation="volume", metric="DSC")
    axes = figures.scores_by_class(scores).axes[0]
    points = np.concatenate([each.get_offsets()[:, 1] for each in axes.collections])
    np.testing.assert_allclose(sorted(points), [30, 90])


def test_a_method_that_was_not_run_keeps_its_row_and_says_so():
    table = pd.DataFrame(
        {
            "model": ["unet", "segnet"],
            "metric": "DSC",
            "class": ALL_CLASSES,
            "paper": [79.94, 79.98],
            "ours": [85.0, np.nan],
            "low": [83.0, np.nan],
            "high": [86.0, np.nan],
        }
    )
    axes = figures.comparison(table, "phantom").axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["U-Net-2D", "SegNet (not run)"]
    np.testing.assert_allclose(axes.lines[-1].get_xdata(), table["paper"])


def test_fig7_shows_each_method_on_the_same_three_cases():
    random = np.random.default_rng(0)
    arrays = {}
    for rank in ("best", "median", "worst"):
        arrays |= {
            f"{rank}_case": np.array(f"Case {rank}"),
            f"{rank}_spacing": np.array([2.0, 2.0]),
        }
        arrays |= {f"{rank}_{part}": random.integers(0, 9, (20, 16)) for part in ("image", "truth")}
        for name in ("unet", "aspp_unet"):
            arrays[f"{rank}_predicted_{name}"] = random.integers(0, 9, (20, 16))
            arrays[f"{rank}_dsc_{name}"] = np.array(0.5)
    figure = figures.fig7(arrays)
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert titles == ["scan", "truth", "U-Net-2D", "ASPP-UNet"]
    shown = figure.axes[3].images[1].get_array()
    np.testing.assert_array_equal(shown, arrays["best_predicted_aspp_unet"])


def test_noise_increases_to_the_right():
    example = {"truth": np.zeros((8, 8)), "spacing": np.array([1.0, 1.0])}
    for k in (0, 10, 90, 30):
        example |= {f"image_{k}": np.full((8, 8), k), f"predicted_{k}": np.zeros((8, 8))}
    axes = figures.fig6(example).axes
    assert [a.get_title() for a in axes[:3]] == ["k = 10", "k = 30", "k = 90"]
    assert [int(a.images[0].get_array().max()) for a in axes[:3]] == [10, 30, 90]


def test_diagrams_name_the_layers_of_the_network():
    with torch.device("meta"):
        network = build_model("aspp_unet")
    words = [text.get_text() for text in diagrams.fig2(network.aspp[3]).axes[0].texts]
    for rate in (6, 12, 18):
        assert any(f"Conv 3x3, rate {rate}\n512 to 256" in text for text in words)
    assert any(text.startswith("mean over the map") for text in words)
    layers = [text.get_text() for text in diagrams.fig3(network.down[0]).axes[0].texts]
    assert layers == ["Conv 3x3\n1 to 64", "BN", "ReLU", "Conv 3x3\n64 to 64", "BN", "ReLU"]
    shapes = [
        text.get_text() for text in diagrams.fig4(trace_stages(network, (880, 464))).axes[0].texts
    ]
    assert shapes.count("MaxPool") == 4
    assert "DC\n64 x 880 x 464" in shapes
    assert "Conv 1x1\n9 x 880 x 464" in shapes


RESULTS = Path(__file__).resolve().parents[1] / "results"
STORED = RESULTS / "phantom-laptop"
BENCHMARK = RESULTS / "benchmark"


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(STORED / f"{name}.csv")


def of_proposed(name: str) -> pd.DataFrame:
    return table(name).query("model == 'aspp_unet'")


DRAWN = {
    "ablation": lambda: figures.ablation(rows_of_ablation(), "phantom"),
    "comparison": lambda: figures.comparison(table("table3"), "phantom"),
    "convexity": lambda: figures.convexity(table("audit_convexity")),
    "cost": lambda: figures.cost(table("table4")),
    "enlarged": lambda: figures.enlarged(fitted()),
    "examples": lambda: figures.examples(np.load(STORED / "examples.npz"), "aspp_unet"),
    "fig1": lambda: figures.fig1(np.load(STORED / "fig1.npz")),
    "fig5": lambda: figures.fig5(np.load(STORED / "noise.npz")),
    "fig6": lambda: figures.fig6(np.load(STORED / "noise.npz")),
    "fig7": lambda: figures.fig7(np.load(STORED / "examples.npz")),
    "fig8": lambda: figures.fig8(table("curves")),
    "growth": lambda: figures.growth(pd.read_csv(BENCHMARK / "growth.csv")),
    "noise": lambda: figures.noise(table("noise_curves")),
    "scores": lambda: figures.scores_by_class(of_proposed("scores")),
    "speed": lambda: figures.speed(pd.read_csv(BENCHMARK / "speed.csv")),
    "training": lambda: figures.training(of_proposed("curves")),
}


def fitted() -> dict[str, dict[str, np.ndarray]]:
    example = dict(np.load(STORED / "fig1.npz"))
    return {
        title: example | {"predicted": np.roll(example["truth"], 2, axis=0)}
        for title in ("110 rows", "220 rows")
    }


def test_fitted_labels_are_drawn_below_the_truth():
    examples = fitted()
    panels = np.reshape(figures.enlarged(examples).axes, (2, 2))
    for title, (above, below) in zip(examples, panels.T, strict=True):
        assert above.get_title() == title
        for panel, part in ((above, "truth"), (below, "predicted")):
            assert np.array_equal(panel.images[1].get_array(), examples[title][part])


def rows_of_ablation() -> pd.DataFrame:
    row = {"paper": 80.0, "ours": 85.0, "low": 80.0, "high": 90.0}
    row |= {"above": -2.0, "above_low": -5.0, "above_high": 1.0}
    return pd.DataFrame(
        [row | {"model": name, "positions": METHODS[name].positions} for name in ABLATION_METHODS]
    )


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_legible_on_a_screen(name, tmp_path):
    figure = DRAWN[name]()
    inches = figure.get_size_inches()
    assert inches[0] <= 10  # 1200 pixels
    figure.canvas.draw()
    words = [text for text in figure.findobj(plt.Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in words) >= 9
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
    figures.save(figure, tmp_path / name)
    assert (tmp_path / f"{name}.png").stat().st_size < 300_000


def test_equal_figures_give_equal_files(tmp_path):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        figures.save(DRAWN["fig5"](), tmp_path / folder / "fig5")
    for suffix in (".png", ".svg"):
        one, other = ((tmp_path / each / f"fig5{suffix}") for each in ("one", "other"))
        assert one.read_bytes() == other.read_bytes()


def test_cases_are_cropped_to_their_labels_with_one_size_for_all():
    arrays = {}
    for rank, (top, left) in {"best": (0, 10), "median": (40, 30), "worst": (70, 90)}.items():
        truth = np.zeros((100, 100), np.uint8)
        truth[top : top + 20, left : left + 10] = 3
        arrays |= {
            f"{rank}_case": np.array(rank),
            f"{rank}_spacing": np.array([1.0, 1.0]),
            f"{rank}_image": np.arange(10_000).reshape(100, 100) % 256,
            f"{rank}_truth": truth,
            f"{rank}_predicted_unet": truth,
            f"{rank}_dsc_unet": np.array(1.0),
        }
    panels = np.reshape(figures.examples(arrays, "unet").axes, (3, 3))
    for row, rank in zip(panels, ("best", "median", "worst"), strict=True):
        scan, truth, predicted = (axes.images[-1].get_array() for axes in row)
        assert scan.shape == truth.shape == predicted.shape == (50, 40)
        assert (truth == 3).sum() == arrays[f"{rank}_truth"].sum() / 3
        np.testing.assert_array_equal(truth, predicted)
        assert [text.get_text() for text in row[1].texts] == [CLASSES[3]]


def test_a_slice_without_labels_is_drawn_whole():
    empty = np.zeros((30, 20), np.uint8)
    arrays = {}
    for rank in ("best", "median", "worst"):
        arrays |= {f"{rank}_{name}": empty for name in ("image", "truth", "predicted_unet")}
        arrays |= {f"{rank}_case": np.array(rank), f"{rank}_dsc_unet": np.array(0.0)}
        arrays[f"{rank}_spacing"] = np.array([1.0, 1.0])
    axes = figures.examples(arrays, "unet").axes[0]
    assert axes.images[0].get_array().shape == (30, 20)


def test_four_confusion_matrices_have_two_rows_and_one_has_none_beside_it():
    shares = pd.DataFrame(10.0, index=CLASSES, columns=CLASSES)
    four = mechanism.confusions({f"network {n}": shares for n in range(4)})
    assert [axes.get_title() for axes in four.axes[:4]] == [f"network {n}" for n in range(4)]
    assert four.axes[0].get_position().y0 > four.axes[2].get_position().y1
    assert len(mechanism.confusions({"network": shares}).axes) == 2  # and the colour bar


def test_figures_need_no_torch():
    code = "import sys, spineseg.figures; raise SystemExit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

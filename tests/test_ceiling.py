"""Labels that are enlarged from a coarse map, and how near to the truth they can be."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from spineseg.evaluation.ceiling import ceiling_table, fit_enlarged, mean_dsc
from spineseg.evaluation.result_files import CEILING, VERDICTS
from spineseg.experiment import Experiment
from spineseg.methods import MAP_STRIDES, TABLE3_METHODS
from spineseg.models import build_model
from spineseg.models.deeplabv3 import DeepLabV3
from spineseg.paper import findings
from spineseg.workflow import ceiling
from spineseg.workflow.ceiling import write_ceiling
from spineseg.workflow.tables import DERIVED


def stripes(height: int, rows: int = 48, columns: int = 32) -> np.ndarray:
    """One slice whose classes 1 and 2 alternate in stripes, with as much background between."""
    classes = np.array([1, 0, 2, 0])[np.arange(rows) // height % 4]
    return np.repeat(classes[:, None], columns, axis=1)[None].astype(np.uint8)


def test_a_map_as_fine_as_the_mask_gives_the_mask():
    mask = np.random.default_rng(0).integers(0, 9, (2, 12, 10)).astype(np.uint8)
    assert np.array_equal(fit_enlarged(mask, 1), mask)


def test_an_edge_between_two_pixels_of_the_map_can_be_anywhere():
    for edge in range(10, 22):
        mask = np.zeros((1, 32, 32), np.uint8)
        mask[:, :, edge:] = 1
        assert mean_dsc(mask, fit_enlarged(mask, 8)) > 0.999, edge


def test_stripes_finer_than_the_map_cannot_be_given():
    coarse, fine = (mean_dsc(mask, fit_enlarged(mask, 8)) for mask in (stripes(12), stripes(4)))
    assert coarse > 0.95
    assert fine < 0.8


def test_a_finer_map_is_never_worse():
    mask = stripes(6)
    reached = [mean_dsc(mask, fit_enlarged(mask, stride)) for stride in (8, 4, 2)]
    assert reached == sorted(reached)


def test_mean_dsc_by_hand():
    truth, labels = np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 4), np.uint8)
    truth[0, 0], labels[0, 0, :2] = 1, 1  # DSC 2 * 2 / (4 + 2)
    labels[1, 1] = 3  # found, but not labelled: 0
    assert mean_dsc(truth, labels) == pytest.approx((2 / 3 + 0) / 2)


@pytest.mark.parametrize("name", [name for name in TABLE3_METHODS if name != "nnunet"])
def test_the_methods_that_enlarge_a_map_are_listed_with_its_stride(name):
    network = build_model(name, width=4).eval()
    if isinstance(network, DeepLabV3):
        head = network.head(network.backbone(torch.zeros(1, 3, 64, 64)))
        assert head.shape[2:] == (64 // MAP_STRIDES[name], 64 // MAP_STRIDES[name])
    else:
        assert name not in MAP_STRIDES


@pytest.mark.parametrize(
    ("ours", "end"),
    [
        (
            90.0,
            "So in images of this size, ASPP-UNet would lead by about 5.0 points even if DeepLabV3 "
            "were perfect, and its lead does not count.",
        ),
        (80.0, "So the images are large enough to compare the two."),
    ],
)
def test_the_sentences_say_what_a_perfect_network_could_reach(ours, end):
    highest = pd.DataFrame({"model": "deeplabv3", "case": list("ab"), "DSC": [0.84, 0.86]})
    means = {"class": "all", "metric": "DSC", "ours": [70.0, ours]}
    table3 = pd.DataFrame({"model": ["deeplabv3", "aspp_unet"], **means})
    (text,) = findings.on_ceiling(highest, table3)
    assert "of 2 patients reach a mean DSC of 85.0 (" in text
    assert f"The trained DeepLabV3 has 70.0 %, and ASPP-UNet {ours:.1f} %." in text
    assert text.endswith(end)
    assert not findings.on_ceiling(highest, table3[:1])


def test_classes_that_a_scan_lacks_are_not_fitted():
    mask = np.zeros((1, 40, 32), np.uint8)
    mask[:, 4:14, 8:24], mask[:, 20:32, 8:24] = 7, 2
    labels = fit_enlarged(mask, 8)
    assert set(np.unique(labels)) == {0, 2, 7}
    assert mean_dsc(mask, labels) > 0.95


def test_test_patients_count_in_the_columns_that_the_networks_see():
    masks = np.zeros((3, 1, 32, 32), np.uint8)
    masks[:, :, :, :16] = np.random.default_rng(0).integers(0, 3, (3, 1, 32, 16))  # not seen
    masks[1:, :, 8:24, 16:] = 1  # a large square, which a coarse map can give
    window = SimpleNamespace(window=slice(16, 32))
    cache = SimpleNamespace(
        masks=masks,
        test_ids=lambda fold: ["b", "c"],
        rows=lambda ids: [1, 2],
        grid=lambda fold: window,
    )
    table = ceiling_table(cache, 0, TABLE3_METHODS)
    assert table["model"].tolist() == ["deeplabv3"] * 2
    assert table["case"].tolist() == ["b", "c"]
    assert (table["DSC"] > 0.999).all()


def test_the_ceiling_is_stored_and_read_by_the_verdicts(workspace, monkeypatch):
    experiment = Experiment.of("", "laptop")
    monkeypatch.setattr(ceiling, "prepare", lambda experiment: None)
    table = pd.DataFrame({"model": "deeplabv3", "case": ["a", "b"], "DSC": [0.84, 0.86]})
    monkeypatch.setattr("spineseg.evaluation.ceiling.ceiling_table", lambda *given: table)
    assert write_ceiling(experiment) == experiment.results / CEILING.name
    stored = CEILING.read(experiment.results)
    assert set(stored["profile"]) == {"laptop"}
    assert stored["DSC"].tolist() == [0.84, 0.86]
    assert CEILING in DERIVED[VERDICTS].all_sources

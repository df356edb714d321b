import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch

from spineseg.data import overview
from spineseg.data.layouts import ChallengeFolder, read_labelled
from spineseg.data.prepare import open_scans
from spineseg.evaluation.preprocessing_loss import preprocessing_loss
from spineseg.experiment import Experiment
from spineseg.labels import CLASSES
from spineseg.models import build_model, receptive_field
from spineseg.models.counting import count_parameters
from spineseg.models.trace import trace
from spineseg.paper import printed, tables
from spineseg.workflow.prepare import prepare


def test_table_1_sums_to_172():
    table = printed.table1()
    assert table["volumes"].sum() == 172
    assert table.query("slices == 15")["volumes"].sum() == 35


def test_table_3_means_are_those_of_its_classes_but_one():
    """Only nnU-Net's MIoU mean disagrees with its eight classes."""
    table = printed.table3()
    classes = table[table["class"] != "all"].groupby(["model", "metric"])["mean"].mean()
    means = table[table["class"] == "all"].set_index(["model", "metric"])["mean"]
    off = (classes - means).abs()
    assert off[off > 0.011].index.tolist() == [("nnU-Net-2D", "IoU")]
    assert off.max() == pytest.approx(0.0825, abs=0.001)


def test_shapes_beside_table_1():
    counts = pd.DataFrame(
        {
            "slices": [12, 15, 10],
            "rows": [110, 110, 50],
            "columns": [110, 110, 50],
            "volumes": [100, 32, 7],
        }
    )
    table = tables.beside_table1(counts, scale=1 / 8).set_index(["slices", "rows", "columns"])
    assert table.loc[(12, 880, 880)].tolist() == [126, 100, -26]
    assert table.loc[(15, 880, 880)].tolist() == [32, 32, 0]
    assert table.loc[(10, 400, 400)].tolist() == [0, 7, 7]
    assert table["paper"].sum() == 172


def test_shapes_of_the_phantom(phantom):
    cases = ChallengeFolder(phantom).cases()
    counts = overview.shape_counts(cases)
    assert counts["volumes"].sum() == len(cases)
    assert overview.phantom_scale(phantom) == 1 / 16
    assert overview.phantom_scale(phantom / "train") is None


def test_measures_agree_with_simpleitk(phantom):
    case = ChallengeFolder(phantom).cases()[0]
    image, classes = read_labelled(case)
    labels = sitk.GetImageFromArray(classes)
    labels.CopyInformation(image)
    oracle = sitk.LabelShapeStatisticsImageFilter()
    oracle.Execute(labels)
    measured = overview.measure_cases([case]).set_index("class")
    assert measured.loc[list(CLASSES[1:]), "volume_ml"].notna().all()
    for label in oracle.GetLabels():
        row = measured.loc[CLASSES[label]]
        assert row["volume_ml"] == pytest.approx(oracle.GetPhysicalSize(label) / 1000)
        assert row["voxels"] == oracle.GetNumberOfPixels(label)
        assert row["slices"] == np.unique(np.nonzero(classes == label)[0]).size
    assert measured["voxels"].sum() == classes.size


def test_unchanged_scans_lose_only_what_is_cropped(phantom, workspace):
    experiment = Experiment.of(phantom, "smoke")
    cache = prepare(experiment)
    loss = preprocessing_loss(open_scans(experiment).cases(), cache, "0")
    assert loss["case"].tolist() == cache.test_ids(0)
    assert loss["outside"].between(0, 0.2).all()
    assert loss["DSC"].between(0.6, 1).all()


def unet_reach(pixel: int) -> tuple[int, int]:
    """First and last input row that the U-Net's output row depends on, by interval arithmetic."""
    low = high = pixel
    for _ in range(4):  # decoder, from the output down: DC, transposed convolution
        low, high = (low - 2) // 2, (high + 2) // 2
    for _ in range(4):  # encoder, from the bottom up: max-pool, DC
        low, high = 2 * low - 2, 2 * high + 1 + 2
    return low, high


def test_receptive_field_of_the_unet_by_hand():
    torch.manual_seed(0)
    field = receptive_field.receptive_field(build_model("unet", width=4), (320, 304), images=2)
    for axis, middle in ((1, 160), (0, 152)):
        seen = np.flatnonzero(field.any(axis=axis))
        assert (seen[0], seen[-1]) == unet_reach(middle)
    low, high = unet_reach(160)
    assert receptive_field.field_extent(field)[0] == high - low + 1


def test_with_aspp_every_pixel_counts():
    torch.manual_seed(0)
    field = receptive_field.receptive_field(build_model("aspp_unet", width=4), (320, 160), images=1)
    assert (field > 0).mean() > 0.99
    assert receptive_field.field_extent(field) == (320, 160)


def test_extent_that_holds_a_share():
    field = np.zeros((21, 11))
    field[10, 5] = 8
    field[10, 2] = field[4, 5] = 1
    assert receptive_field.field_extent(field) == (7, 4)
    assert receptive_field.field_extent(field, 0.8) == (1, 1)
    assert receptive_field.field_extent(field, 0.9) == (7, 7)
    assert receptive_field.field_extent(field, 0.99) == (13, 11)


def test_trace_tells_shapes_and_parameters():
    with torch.device("meta"):
        network = build_model("aspp_unet")
    table = trace(network, ["down.3", "aspp.3", "up.0", "head"], (880, 464))
    assert table["module"].tolist() == ["down.3", "aspp.3", "up.0", "head"]
    assert table.loc[1, ["channels", "rows", "columns"]].tolist() == [512, 110, 58]
    assert table.loc[3, ["channels", "rows", "columns"]].tolist() == [9, 880, 464]
    assert table.loc[1, "parameters"] == count_parameters(network.aspp[3])
    with pytest.raises(ValueError, match=r"has no module down\.9"):
        trace(network, ["down.9"], (16, 16))

"""What lessons 3 and 4 say of reach, losses and scores: sentences that follow from the tables."""

import numpy as np
import pandas as pd

from spineseg.labels import ALL_CLASSES
from spineseg.paper import findings


def test_reach():
    extents = pd.DataFrame(
        [
            ("U-Net-2D", "all of the gradient", 140),
            ("U-Net-2D", "90% of the gradient", 9),
            ("ASPP-UNet", "all of the gradient", 880),
            ("ASPP-UNet", "90% of the gradient", 11),
        ],
        columns=["network", "holds", "rows"],
    )
    text = findings.on_reach(extents, 880)
    assert text.startswith("U-Net-2D can see 140 of 880 rows (16 %), and 90% of the gradient is")
    assert text.endswith(
        "ASPP-UNet can see 880 of 880 rows (100 %), and 90% of the gradient is within 11 rows."
    )


def test_what_aspp_can_add():
    assert "68 of 110 rows (62 %). ASPP can add the other 42." in findings.on_view(3, 68, 110)
    assert findings.on_view(4, 140, 110).endswith(
        "all of 110 rows from the middle: there ASPP cannot add a single one."
    )


def table3(**dsc: tuple[float, float]) -> pd.DataFrame:
    """The rows of ASPP-UNet with (ours, paper) by class, and their means."""
    means = tuple(np.mean(list(dsc.values()), axis=0))
    rows = [
        {"model": "aspp_unet", "metric": metric, "class": name, "ours": ours, "paper": paper}
        for metric in ("DSC", "IoU")
        for name, (ours, paper) in {**dsc, ALL_CLASSES: means}.items()
    ]
    return pd.DataFrame(rows).assign(low=80.0, high=90.0, seeds=3, cases=34)


def scores(**values: float) -> pd.DataFrame:
    """The DSC of T11 of ASPP-UNet by case."""
    table = pd.DataFrame({"case": values.keys(), "value": values.values()})
    fixed = {"model": "aspp_unet", "aggregation": "volume", "metric": "DSC", "class": "T11"}
    return table.assign(**fixed)


def scored(fold: str, seed: int, **dsc: float) -> pd.DataFrame:
    """scores.csv of networks with these mean DSCs in each of three patients and two classes."""
    return pd.DataFrame(
        {
            **{"model": model, "fold": fold, "seed": seed, "case": case, "class": name},
            **{"aggregation": "volume", "metric": metric, "value": value, "units": 1},
        }
        for model, value in dsc.items()
        for case in ("A", "B", "C")
        for name in ("S", "L5")
        for metric in ("DSC", "IoU")
    )


def test_the_papers_recipe_is_compared_with_the_same_folds_and_seeds():
    letter = scored("0", 0, unet=0.5, aspp_unet=0.75, segnet=0.1)
    pooled = letter.assign(aggregation="pooled", case="all", value=0.0)
    own = [
        scored("0", 0, unet=0.8, aspp_unet=0.9),
        scored("0", 1, unet=0.0, aspp_unet=0.0),
        scored("1", 0, unet=0.0, aspp_unet=0.0),
    ]
    assert findings.on_letter(pd.concat([letter, pooled]), pd.concat([*own, pooled])) == (
        "With exactly the paper's recipe, U-Net-2D reaches 50.0 % and ASPP-UNet 75.0 %, and "
        "the lead is +25.0 (+25.0 to +25.0) points. With this study's recipe, U-Net-2D reaches "
        "80.0 % and ASPP-UNet 90.0 %, and the lead is +10.0 (+10.0 to +10.0) points. So this "
        "study's recipe instead of the paper's changes the DSC: that of U-Net-2D by +30.0 (+30.0 "
        "to +30.0) points and that of ASPP-UNet by +15.0 (+15.0 to +15.0) points (3 held-out "
        "patients, 1 seed)."
    )
    assert findings.on_letter(letter.query("model != 'unet'"), pd.concat(own)) == ""
    assert findings.on_letter(letter, own[1]) == ""
    with_one_more = pd.concat([letter, scored("0", 1, unet=0.0), scored("0", 9, aspp_unet=0.0)])
    assert findings.on_letter(with_one_more, pd.concat(own)) == findings.on_letter(
        letter, pd.concat(own)
    )


def test_scores_beside_the_paper():
    text = findings.on_scores(table3(L1=(90, 82), T11=(80, 88)))
    assert "mean DSC of 85.0 (80.0 to 90.0) %" in text
    assert "34 held-out patients, 3 seeds." in text
    assert text.endswith("The paper prints 85.0 % and 85.0 %, for other patients.")


def test_scores_of_a_method_that_was_not_run():
    missing = table3(L1=(np.nan, 82), T11=(np.nan, 88))
    assert findings.on_scores(missing) == ""
    assert findings.on_scores(missing, "unet") == ""
    assert findings.on_worst_class(missing, scores()) == ""


def test_the_worst_class():
    rows = table3(L1=(90, 82), T11=(80, 88))
    text = findings.on_worst_class(rows, scores(a=0.1, b=0.9, c=0.8))
    assert "lowest DSC is T11 (80.0 %). In the paper, it is L1 (82.0 %)." in text
    assert "In 1 of 3 patients its DSC is below 70 %; in the others it is 85.0 %" in text
    assert "below" not in findings.on_worst_class(rows, scores(a=0.8, b=0.9))
    assert "in every patient" in findings.on_worst_class(rows, scores(a=0.1, b=0.2))
    same = findings.on_worst_class(table3(L1=(90, 88), T11=(80, 82)), scores(a=0.9))
    assert "lowest DSC is T11 (80.0 %), as in the paper (82.0 %)." in same


def test_losses():
    curves = pd.DataFrame(
        {"epoch": [1, 2, 1, 2], "train_loss": [2.0, 0.5, 2.2, 0.7], "test_loss": [1, 0.4, 1, 0.6]}
    )
    text = findings.on_losses(curves)
    assert text.startswith("The training loss falls from 2.10 in the first epoch to 0.600 in ")
    assert text.endswith("epoch 2. The testing loss ends below it, at 0.500.")
    assert "testing" not in findings.on_losses(curves.assign(test_loss=np.nan))
    assert findings.on_losses(curves[:0]) == ""
    one = findings.on_losses(curves[curves["epoch"] == curves["epoch"].min()])
    assert one.startswith("The training loss of the only epoch is ")
    rising = findings.on_losses(curves.assign(train_loss=[0.5, 2.0, 0.7, 2.2]))
    assert "does not fall: it goes from 0.60 in the first epoch to 2.100 in epoch 2." in rising


def test_more_epochs():
    row = {"model": "aspp_unet", "epochs": 120, "DSC": 89.0, "change": 0.8}
    row |= {"low": 0.5, "high": 1.2, "trained_out": True, "seeds": 1}
    assert (
        "by +0.8 (+0.5 to +1.2) points, so ASPP-UNet counts as trained out (one seed)."
        in findings.on_more_epochs(pd.DataFrame([row]))
    )
    slow = row | {"change": 4.0, "trained_out": False}
    assert "not trained out" in findings.on_more_epochs(pd.DataFrame([slow]))
    untried = row | {"change": np.nan, "trained_out": False}
    assert "More than 120 epochs were not tried." in findings.on_more_epochs(
        pd.DataFrame([untried])
    )
    assert "not tried" in findings.on_more_epochs(pd.DataFrame([row]), "unet")


def test_rivals_that_are_close_with_more_epochs():
    columns = ["model", "epochs", "seeds", "DSC", "DSC_twice", "trained_out"]
    rows = [
        ("deeplabv3", 240, 1, 67.0, 69.0, False),
        ("nnunet", 24, 2, 87.0, 89.5, False),
        ("aspp_unet", 120, 1, 89.0, 90.5, False),
    ]
    close = findings.on_close_rivals(pd.DataFrame(rows, columns=columns))
    assert close.startswith("Of those that are not trained out, nnU-Net-2D reaches ASPP-UNet on ")
    assert "With the most epochs tried, nnU-Net-2D has 89.5 % (48 epochs)." in close
    assert close.endswith("with twice its epochs, 90.5 % (one seed and two of nnU-Net-2D).")
    assert "DeepLabV3" not in close
    untried = [("nnunet", 48, 1, 89.5, np.nan, False), rows[-1]]
    text = findings.on_close_rivals(pd.DataFrame(untried, columns=columns))
    assert "nnU-Net-2D has 89.5 % (48 epochs)" in text
    both = [("unet3d", 240, 1, 88.4, 89.6, False), *rows]
    text = findings.on_close_rivals(pd.DataFrame(both, columns=columns))
    assert "Of those that are not trained out, U-Net-3D and nnU-Net-2D reach ASPP-UNet" in text
    assert "U-Net-3D has 89.6 % (480 epochs) and nnU-Net-2D has 89.5 % (48 epochs)." in text
    assert text.count("ASPP-UNet has 89.0 %") == 1
    for part in (rows[:2], rows[2:], []):
        assert findings.on_close_rivals(pd.DataFrame(part, columns=columns)) == ""

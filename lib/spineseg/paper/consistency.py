"""Is the paper consistent with itself? Each check recomputes a claim from the printed tables alone.

The tables are those of `spineseg.paper.printed`, with scores in per cent. Each check returns a
table. In its column `holds`, False means that the claim is wrong for every value that rounds to the
printed digits.
"""

import numpy as np
import pandas as pd

from spineseg.evaluation.metrics import Number, iou_of
from spineseg.labels import ALL_CLASSES, FOREGROUND, NUM_CLASSES
from spineseg.methods import METHODS, PROPOSED

PROPOSED_TITLE = METHODS[PROPOSED].title
UNET_TITLE = METHODS["unet"].title

CLASS_ROUNDING = 0.05  # per cent: half the last digit of a class's score in Table 3
MEAN_ROUNDING = 0.005  # per cent: half the last digit of a mean over the classes, and of a lead
SECONDS_ROUNDING = 0.0005
FLOAT_ERROR = 1e-9  # of sums of decimal fractions

SLIGHTLY_PERCENT = 10  # "only slightly more" is taken to mean at most this much more
PARAMETER_TOLERANCE_PERCENT = 2  # between a printed and a counted number of parameters

# One die of a Tesla K80 (a card has two): float32 cores, and the base and boost clock in GHz
# (Nvidia's data sheet). A core does one multiply-add, which is two operations, per cycle.
K80_CORES = 2496
K80_GHZ = {"base": 0.560, "boost": 0.875}
K80_TFLOPS = {clock: 2 * K80_CORES * ghz / 1000 for clock, ghz in K80_GHZ.items()}
WINOGRAD_SAVING = 4  # F(4x4, 3x3) needs 36 multiplications instead of 144

MODULES_ALONE = "ASPP modules alone, branches of {} width"  # a row of `times`
DEEPER_IS_BETTER = "a single module is better the deeper it is placed"
FOUR_ARE_BEST = "four modules are best"
SLIGHTLY_MORE = "only slightly more than U-Net-2D"


def value_of(stated: pd.DataFrame, claim: str) -> float:
    """The value of a claim that the text states once."""
    return stated.set_index("claim")["value"].loc[[claim]].item()


def split(table1: pd.DataFrame, stated: pd.DataFrame) -> pd.DataFrame:
    """Numbers of volumes as stated, and as computed from Table 1 divided into five folds.

    Columns: claim, stated, computed, holds.
    """
    volumes = int(table1["volumes"].sum())
    test = round(volumes / value_of(stated, "folds"))
    computed = {
        "volumes": volumes,
        "training volumes": volumes - test,
        "test volumes": test,
        "test cases of the loss curves": test,
    }
    numbers = [int(value_of(stated, claim)) for claim in computed]
    rows = pd.DataFrame(
        {"claim": computed.keys(), "stated": numbers, "computed": computed.values()}
    )
    return rows.assign(holds=rows["stated"] == rows["computed"])


def means(table3: pd.DataFrame) -> pd.DataFrame:
    """Printed mean and SD over the classes, and those computed from the eight classes.

    Columns: model, metric, statistic (mean or sd), printed, computed, to_the_digit (equal as
    printed), holds (equal within the rounding of the classes).
    """
    keys = ["model", "metric", "statistic"]
    long = table3.melt(["model", "metric", "class"], ["mean", "sd"], "statistic", "printed")
    overall = long["class"] == ALL_CLASSES
    computed = long[~overall].groupby(keys)["printed"].mean().rename("computed")
    rows = long[overall].drop(columns="class").join(computed, on=keys).reset_index(drop=True)
    difference = (rows["printed"] - rows["computed"]).abs()
    rows["to_the_digit"] = difference <= MEAN_ROUNDING + FLOAT_ERROR
    rows["holds"] = difference <= MEAN_ROUNDING + CLASS_ROUNDING + FLOAT_ERROR
    return rows


def headline(table3: pd.DataFrame, stated: pd.DataFrame) -> pd.DataFrame:
    """The abstract's two scores (0..1), and ASPP-UNet's printed means (per cent).

    Columns: metric, stated, mean, holds.
    """
    rows = stated[stated["claim"] == "headline"].rename(columns={"value": "stated"})
    rows = rows[["metric", "stated"]].merge(_proposed_means(table3).reset_index())
    difference = (100 * rows["stated"] - rows["mean"]).abs()
    return rows.assign(holds=difference <= CLASS_ROUNDING + MEAN_ROUNDING + FLOAT_ERROR)


def leads(table3: pd.DataFrame, stated: pd.DataFrame) -> pd.DataFrame:
    """ASPP-UNet's leads as stated, from the printed means, and from the other model's classes.

    Columns: metric, model, stated, from_means, from_classes, holds.
    """
    rows = stated[stated["claim"] == "lead"].rename(columns={"subject": "model", "value": "stated"})
    rows = rows[["metric", "model", "stated"]].merge(means(table3).query("statistic == 'mean'"))
    proposed = rows["metric"].map(_proposed_means(table3))
    rows["from_means"] = proposed - rows["printed"]
    rows["from_classes"] = proposed - rows["computed"]
    allowed = CLASS_ROUNDING + 2 * MEAN_ROUNDING + FLOAT_ERROR
    rows["holds"] = (rows["stated"] - rows["from_classes"]).abs() <= allowed
    return rows[["metric", "model", "stated", "from_means", "from_classes", "holds"]]


def _proposed_means(table3: pd.DataFrame) -> pd.Series:
    """ASPP-UNet's printed mean over all classes, by metric."""
    rows = (table3["model"] == PROPOSED_TITLE) & (table3["class"] == ALL_CLASSES)
    return table3[rows].set_index("metric")["mean"]


def leaders(table3: pd.DataFrame, stated: pd.DataFrame) -> pd.DataFrame:
    """The classes on which ASPP-UNet leads, and those on which it is stated to lead.

    Columns: metric, class, aspp_unet, best_other, best_other_model, leads, stated, holds. Rounding
    cannot reverse the order of two printed scores. A tie may be broken either way.
    """
    wide = table3.pivot(index=["metric", "class"], columns="model", values="mean")
    wide = wide.reindex(
        pd.MultiIndex.from_product([("DSC", "IoU"), FOREGROUND], names=wide.index.names)
    )
    others = wide.drop(columns=PROPOSED_TITLE)
    rows = pd.DataFrame({"aspp_unet": wide[PROPOSED_TITLE], "best_other": others.max(axis=1)})
    rows["best_other_model"] = others.idxmax(axis=1)
    rows["leads"] = rows["aspp_unet"] > rows["best_other"]
    first = stated[stated["claim"] == "rank"].set_index(["metric", "subject"]).index
    rows["stated"] = rows.index.isin(first)
    tied = rows["aspp_unet"] == rows["best_other"]
    return rows.assign(holds=tied | (rows["leads"] == rows["stated"])).reset_index()


def highest_mean_iou(mean: Number, sd: Number) -> Number:
    """The largest mean IoU of mask pairs whose DSC has this mean and SD; all in per cent.

    Proof: IoU = D / (2 - D) has a positive third derivative in D. The parabola that touches it at
    x = m - s^2 / (1 - m) and meets it at 1 is therefore above it elsewhere on [0, 1]. The mean of
    a parabola depends only on mean and SD. The bound is reached if DSC takes only the values x and
    1.
    """
    m, variance = mean / 100, (sd / 100) ** 2
    x = m - variance / (1 - m)
    weight = (1 - m) ** 2 / ((1 - m) ** 2 + variance)
    return weight * iou_of(100 * x) + (1 - weight) * 100


def convexity(table3: pd.DataFrame) -> pd.DataFrame:
    """Each printed pair of DSC and IoU, and the least mean IoU that the mean DSC allows.

    IoU = D / (2 - D) is convex, so the mean IoU is at least the IoU of the mean DSC (Jensen), if
    both are averaged over the same cases. Columns: model, class, DSC, IoU, least, holds. `least` is
    computed from the smallest DSC that rounds to the printed one.
    """
    rows = _pairs(table3, "mean")
    rounding = np.where(rows["class"] == ALL_CLASSES, MEAN_ROUNDING, CLASS_ROUNDING)
    rows["least"] = iou_of(rows["DSC"] - rounding)
    return rows.assign(holds=rows["IoU"] + rounding >= rows["least"] - FLOAT_ERROR)


def spread(table3: pd.DataFrame) -> pd.DataFrame:
    """The largest mean IoU that the DSC and its SD allow for each class (`highest_mean_iou`).

    It assumes that the SD is taken over the cases that are averaged. Columns: model, class, DSC,
    IoU, sd, most, holds. `most` is computed from the largest DSC and SD that round to the printed
    ones.
    """
    rows = _pairs(table3, "mean").assign(sd=_pairs(table3, "sd")["DSC"])
    rows = rows[rows["class"] != ALL_CLASSES]
    most = highest_mean_iou(rows["DSC"] + CLASS_ROUNDING, rows["sd"] + CLASS_ROUNDING)
    return rows.assign(most=most, holds=rows["IoU"] - CLASS_ROUNDING <= most + FLOAT_ERROR)


def _pairs(table3: pd.DataFrame, value: str) -> pd.DataFrame:
    """DSC and IoU side by side, in the order of the print: model, class, DSC, IoU."""
    keys = ["model", "class"]
    wide = table3.pivot(index=keys, columns="metric", values=value).rename_axis(columns=None)
    return table3[keys].drop_duplicates().merge(wide.reset_index())


def ablation(table2: pd.DataFrame) -> pd.DataFrame:
    """Table 2, and the step of each metric from the row before.

    Columns: row, positions, DSC, IoU, DSC_step, IoU_step, holds (both steps have the same sign).
    """
    wide = table2.pivot(index=["row", "positions"], columns="metric", values="mean")
    rows = wide.rename_axis(columns=None).reset_index()
    rows["DSC_step"], rows["IoU_step"] = rows["DSC"].diff(), rows["IoU"].diff()
    return rows.assign(holds=~(rows["DSC_step"] * rows["IoU_step"] < 0))


def trends(table2: pd.DataFrame) -> pd.DataFrame:
    """What the text concludes from Table 2, for each metric: claim, metric, holds."""
    rows = ablation(table2)
    single = rows["positions"].str.len() == 1
    found = []
    for metric in ("DSC", "IoU"):
        found.append((DEEPER_IS_BETTER, metric, rows[single][metric].is_monotonic_increasing))
        found.append((FOUR_ARE_BEST, metric, rows[metric].idxmax() == rows.index[-1]))
    return pd.DataFrame(found, columns=["claim", "metric", "holds"])


def _conv(inputs: int, outputs: int, kernel: int = 3, bias: bool = True) -> int:
    return kernel**2 * inputs * outputs + bias * outputs


def _norm(channels: int) -> int:
    return 2 * channels


def classic_unet_parameters() -> int:
    """Parameters of the 2-D U-Net of Ronneberger et al. (2015): 64 to 1024 channels, no BN."""
    widths = [64, 128, 256, 512, 1024]
    pairs = list(zip([1, *widths], widths, strict=False))
    down = sum(_conv(i, o) + _conv(o, o) for i, o in pairs)
    up = sum(_conv(o, i, 2) + _conv(2 * i, i) + _conv(i, i) for i, o in pairs[1:])
    return down + up + _conv(widths[0], NUM_CLASSES, 1)


def nnunet_2d_parameters() -> int:
    """Parameters of the 2-D network that nnU-Net (Isensee et al., 2021) plans for 880 x 464.

    It has eight stages of two convolutions with biases and instance norm, transposed convolutions,
    and a head at each level of the decoder for deep supervision.
    """

    def block(inputs: int, outputs: int) -> int:
        return _conv(inputs, outputs) + _conv(outputs, outputs) + 2 * _norm(outputs)

    widths = [min(32 * 2**stage, 512) for stage in range(8)]
    pairs = list(zip([1, *widths], widths, strict=False))
    down = sum(block(i, o) for i, o in pairs)
    up = sum(_conv(o, i, 2) + block(2 * i, i) + _conv(i, NUM_CLASSES, 1) for i, o in pairs[1:])
    return down + up


def auxiliary_head_parameters(classes: int = 9) -> int:
    """Parameters of the FCN head on 1024 channels with which DeepLabV3 is often trained."""
    return _conv(1024, 256, bias=False) + _norm(256) + _conv(256, classes, 1)


def parameters(table4: pd.DataFrame) -> pd.DataFrame:
    """Printed numbers of parameters, and those of networks built as the text describes them.

    Columns: row (of Table 4), network, printed and counted (millions), difference_percent, holds,
    guess (the text does not name this network for the row).
    """
    from spineseg.models import counting

    classic, with_head = "classic 2-D U-Net of 64 to 1024 channels", "DeepLabV3 with auxiliary head"
    eight_stages = "nnU-Net-2D of eight stages"
    deeplab = counting.parameters("deeplabv3")
    counted = {
        "U-Net-2D": counting.parameters("unet"),
        "ASPP-UNet, branches of quarter width": counting.parameters(PROPOSED, branch=0.25),
        "ASPP-UNet, branches of half width": counting.parameters(PROPOSED, branch=0.5),
        "ASPP-UNet, branches of full width": counting.parameters(PROPOSED, branch=1.0),
        "SegNet": counting.parameters("segnet"),
        "U-Net-3D": counting.parameters("unet3d"),
        classic: classic_unet_parameters(),
        "DeepLabV3": deeplab,
        with_head: deeplab + auxiliary_head_parameters(),
        eight_stages: nnunet_2d_parameters(),
    }
    pairs = [(row, name) for row in table4["model"] for name in counted if name.startswith(row)]
    guesses = [("U-Net-3D", classic), ("DeepLabV3", eight_stages), ("nnU-Net-2D", with_head)]
    rows = pd.DataFrame([*pairs, *guesses], columns=["row", "network"])
    rows["counted"] = rows["network"].map(counted) / 1e6
    rows.insert(2, "printed", rows["row"].map(table4.set_index("model")["parameters_millions"]))
    rows["difference_percent"] = 100 * (rows["counted"] / rows["printed"] - 1)
    rows["holds"] = rows["difference_percent"].abs() <= PARAMETER_TOLERANCE_PERCENT
    return rows.assign(
        guess=[pair in guesses for pair in zip(rows["row"], rows["network"], strict=True)]
    )


def times(table4: pd.DataFrame) -> pd.DataFrame:
    """The rate that each printed time requires, and whether one die of a K80 reaches it.

    An image is a slice of 880 x 464. Columns: network, gflop (per image), seconds (per image, the
    longest that rounds to the printed time), tflops (the required rate), direct, fast. `direct`:
    the boosted clock suffices if all multiplications are done. `fast`: it suffices with a quarter
    of them. That favours the paper, because only plain 3x3 convolutions can save this much.
    """
    from spineseg.models.counting import gflops

    seconds = table4.set_index("model")["seconds"] + SECONDS_ROUNDING
    unet = gflops("unet")
    networks = [
        ("U-Net-2D", "U-Net-2D", unet),
        ("SegNet", "SegNet", gflops("segnet")),
        ("DeepLabV3", "DeepLabV3, output stride 8", gflops("deeplabv3")),
        ("DeepLabV3", "DeepLabV3, output stride 16", gflops("deeplabv3", output_stride=16)),
        ("U-Net-3D", "U-Net-3D", gflops("unet3d")),
    ]
    work = [(network, gflop, seconds[row]) for row, network, gflop in networks]
    added_seconds = seconds[PROPOSED_TITLE] - seconds[UNET_TITLE] + 2 * SECONDS_ROUNDING
    for width, branch in (("quarter", 0.25), ("half", 0.5), ("full", 1.0)):
        gflop = gflops(PROPOSED, branch=branch)
        work.append((f"ASPP-UNet, branches of {width} width", gflop, seconds[PROPOSED_TITLE]))
        work.append((MODULES_ALONE.format(width), gflop - unet, added_seconds))
    rows = pd.DataFrame(work, columns=["network", "gflop", "seconds"])
    rows["tflops"] = rows["gflop"] / rows["seconds"] / 1000
    rows["direct"] = rows["tflops"] <= K80_TFLOPS["boost"]
    rows["fast"] = rows["tflops"] / WINOGRAD_SAVING <= K80_TFLOPS["boost"]
    return rows


def costs(table4: pd.DataFrame) -> pd.DataFrame:
    """Parameters and time of each model relative to U-Net-2D, as printed, in per cent more."""
    values = table4.set_index("model")
    return (100 * (values / values.loc[UNET_TITLE] - 1)).reset_index()


def sampling(stated: pd.DataFrame) -> pd.DataFrame:
    """The number of points of the loss curves, under two readings of "every 20 epochs".

    Columns: sampled (which curves), aspp_unet_points, nnunet_points, holds. `holds`: the curve of
    ASPP-UNet has points at both epochs that the text names.
    """
    every = int(value_of(stated, "epochs between two samples of the loss"))
    epochs = int(value_of(stated, "epochs"))
    nnunet_epochs = int(value_of(stated, "epochs of nnU-Net"))
    named = {
        int(value_of(stated, f"epoch at which the loss {what}"))
        for what in ("flattens", "is stable")
    }
    readings = [("all networks", range(0, epochs, every)), ("nnU-Net alone", range(epochs))]
    return pd.DataFrame(
        {
            "sampled": which,
            "aspp_unet_points": len(points),
            "nnunet_points": nnunet_epochs // every,
            "holds": named <= set(points),
        }
        for which, points in readings
    )


def summary(
    table1: pd.DataFrame,
    table2: pd.DataFrame,
    table3: pd.DataFrame,
    table4: pd.DataFrame,
    stated: pd.DataFrame,
) -> pd.DataFrame:
    """All checks, one row per claim: check, claim, computed, holds.

    `holds` is yes, no, or open if it depends on how the text is read.
    """
    volumes, first, pairs = split(table1, stated), leaders(table3, stated), convexity(table3)
    dsc, iou = (first[first["metric"] == metric] for metric in ("DSC", "IoU"))
    averaged, conclusions = pairs["class"] == ALL_CLASSES, trends(table2)
    deeper = conclusions["claim"] == DEEPER_IS_BETTER
    networks = parameters(table4).query("not guess").groupby("row")[["holds"]].any()
    more = costs(table4).set_index("model").loc[PROPOSED_TITLE]
    size, time = more["parameters_millions"], more["seconds"]
    modules = times(table4).set_index("network").loc[MODULES_ALONE.format("half")]
    rate = f"{modules['tflops']:.1f} TFLOP/s of {K80_TFLOPS['boost']:.1f}"
    rows = [
        ("volumes", "172 volumes, 138 for training and 34 for testing", *_all(volumes[:-1])),
        ("volumes", "42 cases in the test set", *_all(volumes[-1:])),
        ("means", "the abstract's scores are those of Table 3", *_all(headline(table3, stated))),
        ("means", "each mean and SD is that of its eight classes", *_all(means(table3))),
        ("leads", "the ten leads of ASPP-UNet", *_all(leads(table3, stated))),
        ("leads", "first in DSC on exactly the classes named", *_all(dsc)),
        ("leads", "first in MIoU on exactly the classes named", *_all(iou)),
        ("convexity", "DSC and MIoU of a class are averaged alike", *_all(pairs[~averaged])),
        ("convexity", "DSC and MIoU of a model are averaged alike", *_all(pairs[averaged])),
        ("ablation", DEEPER_IS_BETTER, *_all(conclusions[deeper])),
        ("ablation", FOUR_ARE_BEST, *_all(conclusions[~deeper])),
        ("ablation", "each step changes DSC and MIoU the same way", *_all(ablation(table2)[1:])),
        ("parameters", "each row counts the network that it names", *_all(networks)),
        ("parameters", SLIGHTLY_MORE, f"{size:+.1f} %", size <= SLIGHTLY_PERCENT),
        ("time", SLIGHTLY_MORE, f"{time:+.1f} %", time <= SLIGHTLY_PERCENT),
        ("time", "a K80 can run the ASPP modules in the time they add", rate, modules["fast"]),
    ]
    table = pd.DataFrame(rows, columns=["check", "claim", "computed", "holds"])
    table["holds"] = np.where(table["holds"].astype(bool), "yes", "no")
    readings = sampling(stated)
    count, every = _all(readings)
    holds = "yes" if every else "open" if readings["holds"].any() else "no"
    table.loc[len(table)] = [
        "curves",
        "the loss curves have points at epochs 15 and 35",
        count,
        holds,
    ]
    return table


def _all(table: pd.DataFrame) -> tuple[str, bool]:
    """How many rows of a check hold, as text, and whether all do."""
    return f"{table['holds'].sum()} of {len(table)}", bool(table["holds"].all())

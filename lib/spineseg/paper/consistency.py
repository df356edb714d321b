"""Does the paper agree with itself? Each check recomputes a claim from the printed tables alone.

The tables are those of `spineseg.paper.printed`, scores in per cent. A check returns a table, where it can
with a column `holds`: False only where no rounding of the printed digits lets the claim stand.
"""

import numpy as np
import pandas as pd

from spineseg.evaluation.metrics import Number, iou_of
from spineseg.labels import FOREGROUND

OURS = "ASPP-UNet"
CLASS_ROUNDING = 0.05  # per cent, half the last digit of a class's score in Table 3
MEAN_ROUNDING = 0.005  # per cent, half the last digit of a mean and of a lead
SECONDS_ROUNDING = 0.0005
EXACT = 1e-9  # what binary fractions may add to a sum of decimal ones
SLIGHT = 10  # per cent more that "slightly" is taken to allow
NEAR = 2  # per cent between a printed and a counted number of parameters

# One die of a Tesla K80 (two make a card): float32 cores, and the clock's base and boost in GHz
# (Nvidia's data sheet). A core does one multiply-add, two operations, a cycle.
K80_CORES = 2496
K80_GHZ = {"base": 0.560, "boost": 0.875}
K80_TFLOPS = {clock: 2 * K80_CORES * ghz / 1000 for clock, ghz in K80_GHZ.items()}
FAST_SAVING = 4  # Winograd's F(4x4, 3x3) multiplies 36 times where 144 are counted

MODULES = "its ASPP modules alone, {} width"  # a row of `times`
DEEPER, MORE = "one module does better the deeper it stands", "four modules do best"


def stated(claims: pd.DataFrame, name: str) -> float:
    """The value of a claim that is made once."""
    return claims.set_index("claim")["value"].loc[[name]].item()


def split(table1: pd.DataFrame, claims: pd.DataFrame) -> pd.DataFrame:
    """Numbers of volumes said and computed: the sum of Table 1, divided into five folds."""
    volumes = int(table1["volumes"].sum())
    test = round(volumes / stated(claims, "folds"))
    computed = {
        "volumes": volumes,
        "training volumes": volumes - test,
        "test volumes": test,
        "test cases of the loss curves": test,
    }
    said = [int(stated(claims, claim)) for claim in computed]
    rows = pd.DataFrame({"claim": computed.keys(), "said": said, "computed": computed.values()})
    return rows.assign(holds=rows["said"] == rows["computed"])


def means(table3: pd.DataFrame) -> pd.DataFrame:
    """The printed mean and SD of each model and metric beside the mean of its eight classes."""
    keys = ["model", "metric", "statistic"]
    long = table3.melt(["model", "metric", "class"], ["mean", "sd"], "statistic", "printed")
    overall = long["class"] == "mean"
    computed = long[~overall].groupby(keys)["printed"].mean().rename("computed")
    rows = long[overall].drop(columns="class").join(computed, on=keys).reset_index(drop=True)
    off = (rows["printed"] - rows["computed"]).abs()
    rows["to_the_digit"] = off <= MEAN_ROUNDING + EXACT
    rows["holds"] = off <= MEAN_ROUNDING + CLASS_ROUNDING + EXACT
    return rows


def headline(table3: pd.DataFrame, claims: pd.DataFrame) -> pd.DataFrame:
    """The abstract's two scores (0..1) beside ASPP-UNet's printed means."""
    rows = claims[claims["claim"] == "headline"].rename(columns={"value": "said"})
    ours = table3[(table3["model"] == OURS) & (table3["class"] == "mean")]
    rows = rows[["metric", "said"]].merge(ours[["metric", "mean"]])
    off = (100 * rows["said"] - rows["mean"]).abs()
    return rows.assign(holds=off <= CLASS_ROUNDING + MEAN_ROUNDING + EXACT)


def leads(table3: pd.DataFrame, claims: pd.DataFrame) -> pd.DataFrame:
    """ASPP-UNet's leads as said, from the printed means, and from the other model's classes."""
    said = claims[claims["claim"] == "lead"].rename(columns={"subject": "model", "value": "said"})
    rows = said[["metric", "model", "said"]].merge(means(table3).query("statistic == 'mean'"))
    ours = table3[(table3["model"] == OURS) & (table3["class"] == "mean")].set_index("metric")
    ours_printed = rows["metric"].map(ours["mean"])
    rows["from_means"] = ours_printed - rows["printed"]
    rows["from_classes"] = ours_printed - rows["computed"]
    allowed = CLASS_ROUNDING + 2 * MEAN_ROUNDING + EXACT
    rows["holds"] = (rows["said"] - rows["from_classes"]).abs() <= allowed
    return rows[["metric", "model", "said", "from_means", "from_classes", "holds"]]


def leaders(table3: pd.DataFrame, claims: pd.DataFrame) -> pd.DataFrame:
    """Where ASPP-UNet leads, and where it is said to; rounding never turns an order around."""
    wide = table3.pivot(index=["metric", "class"], columns="model", values="mean")
    wide = wide.reindex(
        pd.MultiIndex.from_product([("DSC", "IoU"), FOREGROUND], names=wide.index.names)
    )
    others = wide.drop(columns=OURS)
    rows = pd.DataFrame({"ours": wide[OURS], "best_other": others.max(axis=1)})
    rows["whose"] = others.idxmax(axis=1)
    rows["leads"] = rows["ours"] > rows["best_other"]
    first = claims[claims["claim"] == "rank"].set_index(["metric", "subject"]).index
    rows["said"] = rows.index.isin(first)
    tied = rows["ours"] == rows["best_other"]
    return rows.assign(holds=tied | (rows["leads"] == rows["said"])).reset_index()


def highest_mean_iou(mean: Number, sd: Number) -> Number:
    """The largest mean IoU over mask pairs whose DSC has this mean and SD; all in per cent.

    D / (2 - D) has a positive third derivative, so the parabola that touches it at
    x = m - s^2 / (1 - m) and meets it at 1 lies above it elsewhere on [0, 1]. The mean of a
    parabola depends on mean and SD alone, and DSC of only x and 1 reach it.
    """
    m, variance = mean / 100, (sd / 100) ** 2
    x = m - variance / (1 - m)
    weight = (1 - m) ** 2 / ((1 - m) ** 2 + variance)
    return weight * iou_of(100 * x) + (1 - weight) * 100


def convexity(table3: pd.DataFrame) -> pd.DataFrame:
    """Each printed pair of DSC and IoU, the least IoU that its DSC allows, and whether it holds.

    `least` is that of the smallest DSC which rounds to the print.
    """
    rows = _pairs(table3, "mean")
    rounding = np.where(rows["class"] == "mean", MEAN_ROUNDING, CLASS_ROUNDING)
    rows["least"] = iou_of(rows["DSC"] - rounding)
    return rows.assign(holds=rows["IoU"] + rounding >= rows["least"] - EXACT)


def spread(table3: pd.DataFrame) -> pd.DataFrame:
    """The most IoU that DSC and its SD allow by class, if the SD is that over the cases averaged.

    `most` is that of the largest DSC and SD which round to the print.
    """
    rows = _pairs(table3, "mean").assign(sd=_pairs(table3, "sd")["DSC"])
    rows = rows[rows["class"] != "mean"]
    most = highest_mean_iou(rows["DSC"] + CLASS_ROUNDING, rows["sd"] + CLASS_ROUNDING)
    return rows.assign(most=most, holds=rows["IoU"] - CLASS_ROUNDING <= most + EXACT)


def _pairs(table3: pd.DataFrame, value: str) -> pd.DataFrame:
    """DSC and IoU side by side: model, class, DSC, IoU, in the order of the print."""
    keys = ["model", "class"]
    wide = table3.pivot(index=keys, columns="metric", values=value).rename_axis(columns=None)
    return table3[keys].drop_duplicates().merge(wide.reset_index())


def ablation(table2: pd.DataFrame) -> pd.DataFrame:
    """Table 2 by row, with each metric's step from the row before; `holds`: both go one way."""
    wide = table2.pivot(index=["row", "positions"], columns="metric", values="mean")
    rows = wide.rename_axis(columns=None).reset_index()
    rows["DSC_step"], rows["IoU_step"] = rows["DSC"].diff(), rows["IoU"].diff()
    return rows.assign(holds=~(rows["DSC_step"] * rows["IoU_step"] < 0))


def trends(table2: pd.DataFrame) -> pd.DataFrame:
    """What the text reads off Table 2, for each metric: claim, metric, holds."""
    rows = ablation(table2)
    alone = rows["positions"].str.len() == 1
    found = []
    for metric in ("DSC", "IoU"):
        found.append((DEEPER, metric, rows[alone][metric].is_monotonic_increasing))
        found.append((MORE, metric, rows[metric].idxmax() == rows.index[-1]))
    return pd.DataFrame(found, columns=["claim", "metric", "holds"])


def _conv(inputs: int, outputs: int, kernel: int = 3, bias: bool = True) -> int:
    return kernel**2 * inputs * outputs + bias * outputs


def _norm(channels: int) -> int:
    return 2 * channels


def classic_unet_parameters(in_channels: int = 1, classes: int = 9) -> int:
    """The 2-D U-Net of Ronneberger et al. (2015): widths 64 to 1024, biases, no BN."""
    widths = [64, 128, 256, 512, 1024]
    pairs = list(zip([in_channels, *widths], widths, strict=False))
    down = sum(_conv(i, o) + _conv(o, o) for i, o in pairs)
    up = sum(_conv(o, i, 2) + _conv(2 * i, i) + _conv(i, i) for i, o in pairs[1:])
    return down + up + _conv(widths[0], classes, 1)


def nnunet_2d_parameters(in_channels: int = 1, classes: int = 9) -> int:
    """The 2-D net that nnU-Net (Isensee et al., 2021) plans for 880 x 464: eight stages.

    Two convolutions a stage with biases and instance norm, transposed convolutions, and a head at
    each level of the decoder for deep supervision.
    """

    def block(inputs: int, outputs: int) -> int:
        return _conv(inputs, outputs) + _conv(outputs, outputs) + 2 * _norm(outputs)

    widths = [min(32 * 2**stage, 512) for stage in range(8)]
    pairs = list(zip([in_channels, *widths], widths, strict=False))
    down = sum(block(i, o) for i, o in pairs)
    up = sum(_conv(o, i, 2) + block(2 * i, i) + _conv(i, classes, 1) for i, o in pairs[1:])
    return down + up


def auxiliary_head_parameters(classes: int = 9) -> int:
    """The FCN head that DeepLabV3 is often trained with, on the backbone's 1024 channels."""
    return _conv(1024, 256, bias=False) + _norm(256) + _conv(256, classes, 1)


def parameters(table4: pd.DataFrame) -> pd.DataFrame:
    """Printed millions of parameters beside those of networks built as the text describes them.

    `guess` marks a network that the text does not put into that row.
    """
    from spineseg.benchmark import cost

    deeplab, with_head = "DeepLabV3", "DeepLabV3 with auxiliary head"
    classic, eight = "classic 2-D U-Net of 64 to 1024 channels", "nnU-Net-2D of eight stages"
    counted = {
        "U-Net-2D": cost.parameters("unet"),
        "ASPP-UNet, branches of quarter width": cost.parameters("aspp_unet", branch=0.25),
        "ASPP-UNet, branches of half width": cost.parameters("aspp_unet", branch=0.5),
        "ASPP-UNet, branches of full width": cost.parameters("aspp_unet", branch=1.0),
        "SegNet": cost.parameters("segnet"),
        "U-Net-3D": cost.parameters("unet3d"),
        classic: classic_unet_parameters(),
        deeplab: cost.parameters("deeplabv3"),
        with_head: cost.parameters("deeplabv3") + auxiliary_head_parameters(),
        eight: nnunet_2d_parameters(),
    }
    pairs = [(row, name) for row in table4["model"] for name in counted if name.startswith(row)]
    guesses = [("U-Net-3D", classic), ("DeepLabV3", eight), ("nnU-Net-2D", with_head)]
    rows = pd.DataFrame([*pairs, *guesses], columns=["row", "network"])
    rows["counted"] = rows["network"].map(counted) / 1e6
    rows.insert(2, "printed", rows["row"].map(table4.set_index("model")["parameters_millions"]))
    rows["difference_percent"] = 100 * (rows["counted"] / rows["printed"] - 1)
    rows["holds"] = rows["difference_percent"].abs() <= NEAR
    return rows.assign(
        guess=[pair in guesses for pair in zip(rows["row"], rows["network"], strict=True)]
    )


def times(table4: pd.DataFrame) -> pd.DataFrame:
    """What rate (TFLOP/s) each printed time asks for, and whether a K80's die has it.

    `direct`: at its boosted clock, multiplying as the convolutions are written; `fast`: with a
    quarter of all multiplications, which flatters it, as only plain 3x3 convolutions can save so
    much. Times count as the longest that round to the print; an image is a slice.
    """
    from spineseg.benchmark.cost import gflops

    seconds = table4.set_index("model")["seconds"] + SECONDS_ROUNDING
    unet = gflops("unet")
    built = [
        ("U-Net-2D", "U-Net-2D", unet),
        ("SegNet", "SegNet", gflops("segnet")),
        ("DeepLabV3", "DeepLabV3, output stride 8", gflops("deeplabv3")),
        ("DeepLabV3", "DeepLabV3, output stride 16", gflops("deeplabv3", output_stride=16)),
        ("U-Net-3D", "U-Net-3D", gflops("unet3d")),
    ]
    work = [(network, count, seconds[row]) for row, network, count in built]
    longer = seconds[OURS] - seconds["U-Net-2D"] + 2 * SECONDS_ROUNDING
    for words, branch in (("quarter", 0.25), ("half", 0.5), ("full", 1.0)):
        count = gflops("aspp_unet", branch=branch)
        work.append((f"ASPP-UNet, branches of {words} width", count, seconds[OURS]))
        work.append((MODULES.format(words), count - unet, longer))
    rows = pd.DataFrame(work, columns=["network", "gflop", "seconds"])
    rows["tflops"] = rows["gflop"] / rows["seconds"] / 1000
    rows["direct"] = rows["tflops"] <= K80_TFLOPS["boost"]
    rows["fast"] = rows["tflops"] / FAST_SAVING <= K80_TFLOPS["boost"]
    return rows


def costs(table4: pd.DataFrame) -> pd.DataFrame:
    """How much more than U-Net-2D each model has and takes, in per cent, as printed."""
    values = table4.set_index("model")
    return (100 * (values / values.loc["U-Net-2D"] - 1)).reset_index()


def sampling(claims: pd.DataFrame) -> pd.DataFrame:
    """Points of a loss curve under two readings of "every 20 epochs", and what they show.

    `holds`: both epochs that the text reads off ASPP-UNet's curve are among its points.
    """
    every = int(stated(claims, "epochs between two samples of the loss"))
    epochs, longest = int(stated(claims, "epochs")), int(stated(claims, "epochs of nnU-Net"))
    named = {
        int(stated(claims, f"epoch at which the loss {what}")) for what in ("flattens", "is stable")
    }
    readings = [("all networks", range(0, epochs, every)), ("nnU-Net alone", range(epochs))]
    return pd.DataFrame(
        {
            "sampled": who,
            "aspp_unet_points": len(points),
            "nnunet_points": longest // every,
            "holds": named <= set(points),
        }
        for who, points in readings
    )


def summary(
    table1: pd.DataFrame,
    table2: pd.DataFrame,
    table3: pd.DataFrame,
    table4: pd.DataFrame,
    claims: pd.DataFrame,
) -> pd.DataFrame:
    """One line a claim: check, claim, computed, holds (yes, no, or open: it hangs on a reading)."""
    volumes, first, pairs = split(table1, claims), leaders(table3, claims), convexity(table3)
    dsc, iou = (first[first["metric"] == metric] for metric in ("DSC", "IoU"))
    averaged, rising = pairs["class"] == "mean", trends(table2)
    deeper = rising["claim"] == DEEPER
    networks = parameters(table4).query("not guess").groupby("row")[["holds"]].any()
    more = costs(table4).set_index("model").loc[OURS]
    size, time = more["parameters_millions"], more["seconds"]
    modules = times(table4).set_index("network").loc[MODULES.format("half")]
    rate = f"{modules['tflops']:.1f} TFLOP/s of {K80_TFLOPS['boost']:.1f}"
    lines = [
        ("volumes", "172 volumes, 138 to train on and 34 to test on", *_all(volumes[:-1])),
        ("volumes", "42 cases in the test set", *_all(volumes[-1:])),
        ("means", "the abstract's scores are Table 3's", *_all(headline(table3, claims))),
        ("means", "each mean and SD is that of its eight classes", *_all(means(table3))),
        ("leads", "the ten leads of ASPP-UNet", *_all(leads(table3, claims))),
        ("leads", "first in DSC on the classes named, on no other", *_all(dsc)),
        ("leads", "first in MIoU on the classes named, on no other", *_all(iou)),
        ("convexity", "DSC and MIoU of a class are averaged alike", *_all(pairs[~averaged])),
        ("convexity", "DSC and MIoU of a model are averaged alike", *_all(pairs[averaged])),
        ("ablation", DEEPER, *_all(rising[deeper])),
        ("ablation", MORE, *_all(rising[~deeper])),
        ("ablation", "DSC and MIoU go the same way at each step", *_all(ablation(table2)[1:])),
        ("parameters", "each row counts the network that it names", *_all(networks)),
        ("parameters", "only slightly more than U-Net-2D", f"{size:+.1f} %", size <= SLIGHT),
        ("time", "only slightly more than U-Net-2D", f"{time:+.1f} %", time <= SLIGHT),
        ("time", "a K80 runs the ASPP modules in the time they add", rate, modules["fast"]),
    ]
    table = pd.DataFrame(lines, columns=["check", "claim", "computed", "holds"])
    table["holds"] = np.where(table["holds"].astype(bool), "yes", "no")
    readings = sampling(claims)
    count, every = _all(readings)
    verdict = "yes" if every else "open" if readings["holds"].any() else "no"
    table.loc[len(table)] = ["curves", "epochs 15 and 35 are points of it", count, verdict]
    return table


def _all(table: pd.DataFrame) -> tuple[str, bool]:
    """How many of a check's rows hold, and whether all do."""
    return f"{table['holds'].sum()} of {len(table)}", bool(table["holds"].all())

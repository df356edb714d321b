"""What the networks cost."""

import numpy as np
import pandas as pd

from spineseg.methods import METHODS, PLAIN, PROPOSED
from spineseg.paper.findings.words import joined
from spineseg.paper.tables import percent_more

SAME_RATE = 1.1  # a factor between two rates, or two ratios of times, that is not worth a word


def on_cost(table4: pd.DataFrame) -> str:
    """What ASPP costs; `table4` is that of `beside_table4`."""
    rows = table4.set_index("model")
    more = {
        quantity: percent_more(rows[column], METHODS[PROPOSED].title, METHODS[PLAIN].title)
        for quantity, column in (
            ("parameters", "parameters_ours"),
            ("arithmetic", "gflops"),
            ("here", "seconds_ours"),
            ("paper", "seconds_paper"),
        )
    }
    sentences = [
        f"ASPP adds {more['parameters']:.0f} % to the parameters of U-Net-2D and "
        f"{more['arithmetic']:.0f} % to its arithmetic."
    ]
    if not np.isnan(more["here"]):
        sentences.append(
            f"The time per image changes by {more['here']:+.0f} % here, and by "
            f"{more['paper']:+.0f} % in the paper."
        )
    for whose, column in (("In the paper", "ratio_paper"), ("Here", "ratio_ours")):
        rates = (rows["gflops_ratio"] / rows[column]).drop(METHODS[PLAIN].title).dropna()
        if len(rates):
            listed = joined(f"{name} {rate:.2f}" for name, rate in rates.items())
            sentences.append(
                f"{whose}, the networks compute at these multiples of U-Net-2D's rate: {listed}."
            )
    return " ".join(sentences)


def on_peak(cost: pd.DataFrame) -> str:
    """How busy the networks keep the device; `cost` is that of `measure_cost`."""
    shares = cost.set_index("model")["share_of_peak"].dropna()
    if shares.empty:
        return ""
    listed = joined(
        f"{100 * share:.0f} % ({METHODS[str(name)].title})" for name, share in shares.items()
    )
    sentences = [f"The networks reach these shares of the rate of matrix products: {listed}."]
    if PLAIN in shares:
        sentences.append(
            "So, in this measurement, no network could compute at more than "
            f"{max(1 / shares[PLAIN], 1):.2f} times U-Net-2D's rate."
        )
    return " ".join(sentences)


def on_other_measurement(cost: pd.DataFrame, speed: pd.DataFrame) -> str:
    """How ASPP-UNet's time compares with U-Net-2D's in the measurements of the benchmark.

    `cost` is that of `measure_cost`, `speed` the benchmark's speed.csv. Empty if one of them lacks
    a network, or if matrices were multiplied at about the same rate in both.
    """
    rows = speed.query("part == 'inference' and size == \"paper's\" and version == 'ours'")
    there, here = rows.set_index("what"), cost.set_index("model")
    if not {PLAIN, PROPOSED} <= set(there.index) & set(here.index):
        return ""
    ratios = [float(each["seconds"][PROPOSED] / each["seconds"][PLAIN]) for each in (there, here)]
    rates = [float(each["gemm_gflops_per_s"][PLAIN]) for each in (there, here)]
    if not ratios[1] > 0 or abs(np.log(rates[0] / rates[1])) < np.log(SAME_RATE):
        return ""
    differ = abs(np.log(ratios[0] / ratios[1])) > np.log(SAME_RATE)
    changes = "So this ratio is no constant; the processor, its load or the code can be the reason."
    return (
        "Appendix A2 was measured at another time, when matrices were multiplied at "
        f"{rates[0]:.0f} instead of {rates[1]:.0f} GFLOP/s. There ASPP-UNet takes "
        f"{ratios[0]:.1f} times as long as U-Net-2D, here {ratios[1]:.1f} times. "
        f"{changes if differ else 'So this ratio hardly changes.'}"
    )


def on_plain_version(speed: pd.DataFrame) -> str:
    """How many times as long as U-Net-2D ASPP-UNet takes in two forms; `speed` as above.

    Empty if one of the networks was not measured in both.
    """
    inference = speed.query("part == 'inference' and size == \"paper's\"")
    seconds = inference.pivot_table("seconds", "version", "what")
    if not {PLAIN, PROPOSED} <= set(seconds):
        return ""
    times = (seconds[PROPOSED] / seconds[PLAIN]).dropna()
    plain = times[times.index.str.startswith("plain")]
    if plain.empty or "ours" not in times:
        return ""
    return (
        "This ratio depends on how networks are computed. In Appendix A2, ASPP-UNet takes "
        f"{times['ours']:.1f} times as long as U-Net-2D in our fastest form, and "
        f"{plain.iloc[0]:.1f} times in plain float32."
    )


def on_printed_times(rates: pd.Series, peak: float) -> str:
    """Whether printed times can be; `rates` (by network) and the device's `peak` in TFLOP/s."""
    above, within = rates[rates > peak], rates[rates <= peak]
    parts = []
    for part, words in ((above, "more than"), (within, "no more than")):
        if len(part):
            listed = joined(f"{name} ({rate:.1f})" for name, rate in part.items())
            parts.append(f"{listed} need{'s' * (len(part) == 1)} {words} this")
    return f"A die has at most {peak:.1f} TFLOP/s. By the printed times, {joined(parts)}."

"""What became of the paper's claims, and of its own numbers."""

import pandas as pd

from spineseg.methods import METHODS, TABLE3_METHODS
from spineseg.paper.findings.words import joined
from spineseg.paper.verdicts import (
    ALL_VERDICTS,
    CANNOT_ACT,
    CHANCE,
    NEEDS_PATIENTS,
    UNTRAINED,
    lead_key,
)


def on_verdicts(judged: pd.DataFrame) -> list[str]:
    """Each claim with its verdict, one sentence each; `judged` holds rows of verdicts.csv."""
    sentences = []
    for row in judged.to_dict("records"):
        sentences.append(
            f"Claim: {row['claim']}. In the paper {row['paper']}, here {row['ours']}. Verdict: "
            f"{row['verdict']}."
        )
    return sentences


def on_outcome(judged: pd.DataFrame, scans: str) -> str:
    """How many claims got which verdict, and what of the five leads can be said.

    `judged` is that of `verdicts.judge`, and `scans` names what was measured on.
    """
    if judged.empty:
        return f"On {scans}, no claim can be looked at yet."
    counts = judged["verdict"].value_counts()
    listed = ", ".join(f"{name} {counts[name]}" for name in ALL_VERDICTS if name in counts)
    sentences = [f"On {scans}, {len(judged)} claims were looked at. Their verdicts: {listed}."]
    verdicts = judged.set_index("key")["verdict"]
    leads = {
        METHODS[model].title: verdicts[lead_key(model)]
        for model in TABLE3_METHODS
        if lead_key(model) in verdicts
    }
    parts = []
    for name in ALL_VERDICTS:
        if rivals := [title for title, verdict in leads.items() if verdict == name]:
            parts.append(f"{name} for {joined(rivals)}")
    if parts:
        sentences.append(f"The lead of ASPP-UNet in DSC is: {'; '.join(parts)}.")
    return " ".join(sentences)


def on_needs(judged: pd.DataFrame) -> list[str]:
    """What it would take to judge the claims without a verdict, one sentence for each reason."""
    needs = {
        UNTRAINED: "train the methods until twice the epochs change the DSC by less than a point",
        CANNOT_ACT: "take larger images (or, to see whether ASPP helps, networks of fewer stages)",
        CHANCE: "test more patients and train more seeds",
        NEEDS_PATIENTS: "get the paper's own scans, under the agreement of their organisers",
    }
    counts = judged["verdict"].value_counts()
    return [
        f"{counts[name]} claim{'s' * int(counts[name] > 1)} ({name}): {need}."
        for name, need in needs.items()
        if name in counts
    ]


def on_audit(summary: pd.DataFrame) -> str:
    """How many checks of the printed numbers hold; `summary` is that of `consistency`."""
    held = summary["holds"].value_counts()
    words = (
        ("yes", ("holds", "hold")),
        ("no", ("does not hold", "do not hold")),
        ("open", ("depends on how the text is read", "depend on how the text is read")),
    )
    counted = joined(
        f"{held[answer]} {said[int(held[answer] > 1)]}" for answer, said in words if answer in held
    )
    return f"Of {len(summary)} checks of the printed numbers, {counted}."

"""How much of an image a network sees."""

import pandas as pd

from spineseg.paper.findings.words import in_stages
from spineseg.profiles import Profile, load_profile


def on_reach(extents: pd.DataFrame, rows: int) -> str:
    """How far untrained networks can see, and how far they look, in an image of `rows` rows.

    `extents` has the columns network, holds (words) and rows. The first row of each network is the
    whole receptive field, the second the part that holds most of the gradient.
    """
    sentences = []
    for name, of_network in extents.groupby("network", sort=False):
        seen, looked = of_network.to_dict("records")
        share = 100 * seen["rows"] / rows
        sentences.append(
            f"{name} can see {seen['rows']} of {rows} rows ({share:.0f} %), and "
            f"{looked['holds']} is within {looked['rows']} rows."
        )
    return " ".join(sentences)


def on_share(profile: Profile) -> str:
    """Which share of the image's rows U-Net-2D sees under a profile, and in the paper."""
    return f"U-Net-2D sees {_share(profile)}; in the paper, {_share(load_profile('paper'))}."


def _share(profile: Profile) -> str:
    from spineseg.models.receptive_field import rows_seen

    seen, rows = rows_seen(profile.stages), profile.image_size
    return f"{seen} of {rows} rows ({100 * seen / rows:.0f} %)"


def on_view(stages: int, seen: int, rows: int) -> str:
    """How much of an image of `rows` rows a plain U-Net sees, and so what ASPP can add."""
    part = f"U-Net-2D with {in_stages(stages)} can see"
    if seen >= rows:
        return f"{part} all of {rows} rows from the middle: there ASPP cannot add a single one."
    return (
        f"{part} {seen} of {rows} rows ({100 * seen / rows:.0f} %). ASPP can add the other "
        f"{rows - seen}."
    )

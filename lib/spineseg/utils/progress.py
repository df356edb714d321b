"""Progress bars on stderr, with the time left. TQDM_DISABLE=1 hides them all."""

import logging
import os
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

LIGHTNING = "lightning_fabric.utilities.rank_zero"  # its log


def silence_lightning() -> None:
    """Keep Lightning's messages on precision off stderr, where they break progress bars."""
    logging.getLogger(LIGHTNING).setLevel(logging.WARNING)


def progress_bar(iterable: Iterable | None = None, *, shown: bool = True, **settings: Any) -> tqdm:
    """A tqdm bar with the given settings, hidden if `shown` is false."""
    if not shown or os.environ.get("TQDM_DISABLE"):  # tqdm reads it only when it is imported
        settings["disable"] = True
    return tqdm(iterable, **settings)

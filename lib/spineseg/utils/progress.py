"""Progress bars on stderr, with the time left. TQDM_DISABLE=1 hides them all."""

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(iterable: Iterable | None = None, *, shown: bool = True, **settings: Any) -> tqdm:
    """A tqdm bar with the given settings, hidden if `shown` is false."""
    if not shown:  # passing `disable` at all would override TQDM_DISABLE
        settings["disable"] = True
    return tqdm(iterable, **settings)

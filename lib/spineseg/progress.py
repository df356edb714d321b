"""Progress bars on stderr, with the time left. TQDM_DISABLE=1 hides them all."""

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(iterable: Iterable | None = None, *, shown: bool = True, **settings: Any) -> tqdm:
    """A tqdm bar with its own settings; hidden where `shown` is false."""
    if not shown:  # given either way, it would override TQDM_DISABLE
        settings["disable"] = True
    return tqdm(iterable, **settings)

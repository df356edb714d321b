"""How a profile trains, as a table that can be read without knowing the settings' names."""

from typing import Any

import pandas as pd

from spineseg.profiles import Profile

NAMES = {
    "image_size": "rows of an image",
    "width": "channels of the first stage",
    "stages": "stages",
    "epochs": "epochs",
    "slices_per_epoch": "slices per epoch",
    "batch_size": "slices per batch",
    "optimizer": "optimiser",
    "learning_rate": "learning rate",
    "schedule": "its change",
    "weight_decay": "weight decay",
    "augment": "augmentation",
}
WORDS = {
    "sgd": "SGD",
    "adamw": "AdamW",
    "exponential": "times 0.99 per epoch",
    "onecycle": "one cycle: up, then down",
    True: "yes",
    False: "no",
    None: "all",
}


def recipe_table(paper: Profile, own: Profile) -> pd.DataFrame:
    """Two profiles side by side, one row per setting that decides how a network is trained."""
    rows = {
        name: {"the paper's": _words(getattr(paper, key)), own.name: _words(getattr(own, key))}
        for key, name in NAMES.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.rename_axis("setting")


def _words(value: Any) -> str:
    if value is None or isinstance(value, (bool, str)):
        return WORDS[value]
    return f"{value:g}"

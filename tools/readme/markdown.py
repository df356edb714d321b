"""Tables in Markdown."""

import re
from collections.abc import Iterable, Sequence

import pandas as pd

NUMBERS = re.compile(r"[-+0-9.,()% ]+( to [-+0-9.,()% ]+)?")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; "|" in cells is escaped, and numbers with their intervals stay on one line."""
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def frame_table(frame: pd.DataFrame) -> str:
    """A table of a frame; its index is the first column."""
    columns = frame.reset_index()
    return table([*columns], columns.itertuples(index=False))


def _cell(value: object) -> str:
    text = str(value).replace("|", "\\|")
    return text.replace(" ", "\u00a0") if NUMBERS.fullmatch(text) else text


def link(text: str, target: str) -> str:
    return f"[{text}]({target})"

"""Questions to answer before a lesson runs. They need no server and also work on a static page."""

import json
import random
from pathlib import Path

from IPython.display import display
from IPython.utils.capture import capture_output
from jupyterquiz import display_quiz

# jupyterquiz loads this for formulas if the page has begun to load MathJax. No question has any.
OUTSIDE = "https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-svg.js"
QUESTIONS = Path(__file__).with_name("questions")  # <lesson>.json, in the format of jupyterquiz


def quiz(lesson: str) -> None:
    """Show the questions of a lesson, such as "03"."""
    text = (QUESTIONS / f"{lesson}.json").read_text(encoding="utf-8")
    state = random.getstate()
    random.seed(lesson)  # the names of the page's elements, the same each time
    with capture_output() as captured:
        display_quiz(json.loads(text), shuffle_answers=False)
    random.setstate(state)
    for output in captured.outputs:
        page = {kind: content.replace(OUTSIDE, "") for kind, content in output.data.items()}
        display(page, raw=True)  # type: ignore[no-untyped-call]

"""Questions to answer before a lesson runs. They need no server and also work on a static page."""

import json
import random
from pathlib import Path

from jupyterquiz import display_quiz

QUESTIONS = Path(__file__).with_name("questions")  # <lesson>.json, in the format of jupyterquiz


def quiz(lesson: str) -> None:
    """Show the questions of a lesson, such as "03"."""
    text = (QUESTIONS / f"{lesson}.json").read_text(encoding="utf-8")
    state = random.getstate()
    random.seed(lesson)  # the names of the page's elements, the same each time
    display_quiz(json.loads(text), shuffle_answers=False)
    random.setstate(state)

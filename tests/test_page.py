"""Pages load nothing from elsewhere, draw formulas, and keep what is said of figures."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from spineseg.workflow.page import formula, page_of
from spineseg.workflow.report import _within_page

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
# One gray pixel.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)
QUIZ = "document.getElementById('quiz').textContent = 'asked'; // https://example.org"


class Loaded(HTMLParser):
    """What a browser loads with a page, and the alt texts of its pictures."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.alt: list[str | None] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        if tag != "a":
            loaded = ("src", "href", "srcset", "data", "poster")
            self.addresses += [names[name] or "" for name in loaded if name in names]
        if tag == "img":
            self.alt.append(names.get("alt"))


def is_elsewhere(address: str) -> bool:
    return not address.startswith(("data:", "#"))


@pytest.fixture(scope="module")
def page():
    figure = new_output(
        "display_data",
        {"image/png": PIXEL, "text/plain": "a figure"},
        metadata={"image/png": {"alt": 'A scan, "gray" & small'}},
    )
    quiz = new_output("display_data", {"text/html": f'<p id="quiz"></p><script>{QUIZ}</script>'})
    script = new_output("display_data", {"application/javascript": "let asked = 1 < 2;"})
    text = (
        "See [the site](https://example.org), $C = 2$ and `$HOME`.\n\n"
        "$$\\mathrm{DSC} = \\frac{2\\,|A \\cap B|}{|A| + |B|}\\qquad(2)$$\n\n"
        "```\nprice = '$5 or $6'\n```"
    )
    cells = [new_markdown_cell(text), new_code_cell("draw()", outputs=[figure, quiz, script])]
    return page_of(new_notebook(cells=cells), "title", "")


def test_nothing_is_loaded_from_elsewhere(page):
    assert [each for each in Loaded(page).addresses if is_elsewhere(each)] == []
    styles = "".join(re.findall(r"<style.*?</style>", page, re.DOTALL))
    assert re.findall(r"@import|url\([\"']?(?!data:|#)[^)]*\)", styles) == []
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    assert [each.strip() for each in scripts if "asked" not in each] == []


def test_links_stay(page):
    assert 'href="https://example.org"' in page


def test_every_picture_has_a_text(page):
    formulas = ["C = 2", r"\mathrm{DSC} = \frac{2\,|A \cap B|}{|A| + |B|}\qquad(2)"]
    assert Loaded(page).alt == [*formulas, 'A scan, "gray" & small']


def test_scripts_of_outputs_stay(page):
    assert QUIZ in page
    assert "let asked = 1 < 2;" in page


def test_a_dollar_in_code_is_no_formula(page):
    assert "$HOME" in page
    assert "$5 or $6" in page


def test_a_formula_has_a_size_and_is_drawn_alike_each_time():
    inline, display = formula("x^2"), formula(r"\frac{x}{2}", display=True)
    assert inline == formula("x^2")
    assert "vertical-align: -" in inline
    assert "display: block" in display
    svg = base64.b64decode(display.partition("base64,")[2].partition('"')[0])
    assert b"<svg" in svg
    assert b"<text" not in svg  # its letters are outlines, so it needs no font


def test_what_cannot_be_drawn_is_shown_as_it_is_written():
    assert formula(r"\begin{aligned} a < b") == r"<code>\begin{aligned} a &lt; b</code>"


def formulas_of(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    return [a or b for a, b in re.findall(r"\$\$(.+?)\$\$|(?<![$\\])\$(.+?)\$", text, re.DOTALL)]


@pytest.mark.parametrize("notebook", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_formula_of_the_lessons_can_be_drawn(notebook):
    wrong = [tex for tex in formulas_of(notebook) if not formula(tex).startswith("<img")]
    assert wrong == []


def test_links_to_other_lessons_lead_to_their_chapters():
    anchors = {"00_start.ipynb": "chapter-1", "02_b.ipynb": "chapter-2"}
    text = "[a](02_b.ipynb), [b](00_start.ipynb#Glossary), [c](09_absent.ipynb), [d](../x.md)"
    moved = "[a](#chapter-2), [b](#Glossary), [c](09_absent.ipynb), [d](../x.md)"
    assert _within_page(text, anchors) == moved

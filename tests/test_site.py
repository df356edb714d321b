"""The sources of the site: links, notebooks, pages of results, sliders. Sphinx is not needed."""

import json
import re
import sys
from html.parser import HTMLParser

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from spineseg.labels import COLOURS
from spineseg.models.counting import on_meta
from spineseg.models.trace import trace_stages
from spineseg.utils.paths import REPOSITORY

sys.path.insert(0, str(REPOSITORY))
from tools.website import bundle, explore, results, slider, sources
from tools.website.api import api_pages
from tools.website.folders import pages


@pytest.fixture
def repository(tmp_path) -> sources.Repository:
    """A small repository with two pages, a module and some files."""
    for name in ("README.md", "docs/a.md", "notebooks/01_x.ipynb", "results/t.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    for name in ("models/__init__.py", "models/blocks.py", "labels.py"):
        path = tmp_path / sources.LIBRARY / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return sources.Repository(tmp_path, ["README.md", "docs/a.md", "notebooks/01_x.ipynb"])


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("[w](https://a.b/c)", "[w](https://a.b/c)"),
        ("[w](../README.md)", "[w](../README.md)"),
        ("[w](../notebooks/01_x.ipynb#The-Glossary)", "[w](../notebooks/01_x.ipynb#the-glossary)"),
        ("[w](#Own-Heading)", "[w](#own-heading)"),
        ("[w](../lib/spineseg/models/blocks.py)", "[w](#api-models-blocks)"),
        ("[w](../lib/spineseg/models)", "[w](#api-models)"),
        ("[w](../lib/spineseg/labels.py)", "[w](#api-labels)"),
        ("[w](../results/t.csv)", "[w](../results/t.csv)"),
        ("[w](../results)", "w"),
        ("[w](../gone.md)", "w"),
        ("[w](../../elsewhere.md)", "w"),
        ("[`w`[1]](../gone.md)", "`w`[1]"),
        ("```\n[w](../gone.md)\n```", "```\n[w](../gone.md)\n```"),
    ],
)
def test_links_lead_to_places_on_the_site(link, expected, repository):
    assert repository.rewrite(link, "docs/a.md") == expected


def test_a_folder_leads_to_the_repository_if_its_address_is_known(repository, tmp_path):
    citation = tmp_path / "CITATION.cff"
    assert sources.repository_address(citation) == ""
    citation.write_text('title: x\nrepository-code: "https://a.test/b/"\n')
    address = sources.repository_address(citation)
    known = sources.Repository(repository.folder, repository.pages, address)
    assert (
        known.rewrite("[w](../results)", "docs/a.md") == "[w](https://a.test/b/tree/main/results)"
    )


def test_files_that_a_page_shows_are_found(repository):
    text = "[t](../results/t.csv) ![p](../results/t.csv) [a](a.md) [x](https://x.y)"
    assert repository.linked_files(text, "docs/a.md") == {"results/t.csv"}


QUIZ = "<div id='q' data-shufflequestions='False'><style>a{}</style>"
SCRIPT = (
    "var Question; if (typeof MathJax != 'undefined') {} if (typeof MathJax !== 'undefined') {}"
    "s.src = 'https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-svg.js';"
)


def executed_lesson() -> nbformat.NotebookNode:
    picture = new_output(
        "display_data",
        {"image/png": "eA=="},
        metadata={"image/png": {"alt": "A curve that falls"}},
    )
    plain = new_output("display_data", {"image/png": "eA=="})
    quiz = [
        new_output("display_data", {"text/html": QUIZ}),
        new_output("display_data", {"application/javascript": SCRIPT}),
    ]
    return new_notebook(
        cells=[
            new_markdown_cell("# 1 · A lesson\n[a](../docs/a.md)"),
            new_code_cell("quiz('01')", outputs=quiz),
            new_code_cell("draw()", outputs=[picture, plain]),
            new_code_cell("answer = 1", metadata={"tags": ["solution"]}),
            new_code_cell("check(answer)", metadata={"tags": ["check"]}),
        ]
    )


def test_a_quiz_asks_no_server_and_closes_its_element(repository):
    notebook = executed_lesson()
    sources.adapt(notebook, repository, "notebooks/01_x.ipynb")
    text = nbformat.writes(notebook)
    assert "cdn." not in text
    assert "typeof MathJax" not in text
    html = next(
        output.data["text/html"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "text/html" in output.data
    )
    assert html.count("<div") == html.count("</div>")


def test_the_quizzes_of_today_are_tamed(repository):
    """What the installed jupyterquiz writes, not only what this test has written down."""
    from jupyterquiz.dynamic.loader import load_questions_script
    from jupyterquiz.dynamic.renderer import build_script, render_div

    question = {"question": "q", "type": "numeric", "answers": []}
    script = build_script(*load_questions_script([question], "abc"), "abc", True)
    output = new_output(
        "display_data",
        {
            "application/javascript": script,
            "text/html": render_div("abc", False, False, False, 1, 600, 10, "left"),
        },
    )
    sources.tame(output)
    assert not re.search(r"https?://|typeof MathJax", output.data["application/javascript"])
    assert output.data["text/html"].endswith("</div>")


def test_solutions_and_checks_are_folded(repository):
    notebook = executed_lesson()
    sources.adapt(notebook, repository, "notebooks/01_x.ipynb")
    solution, check = notebook.cells[-2:]
    assert "hide-input" in solution.metadata.tags
    assert "hide-cell" in check.metadata.tags


def test_links_in_outputs_are_rewritten_too(repository):
    output = new_output("display_data", {"text/markdown": "[w](../docs/a.md#X) [v](gone.ipynb)"})
    notebook = new_notebook(
        cells=[new_markdown_cell("# T"), new_code_cell("f()", outputs=[output])]
    )
    sources.adapt(notebook, repository, "notebooks/02_x.ipynb")
    text = notebook.cells[1].outputs[0].data["text/markdown"]
    assert text == "[w](../docs/a.md#x) v"


def test_pictures_keep_their_texts():
    texts = sources.alternative_texts(executed_lesson())
    assert texts == ["A curve that falls", sources.NO_ALT]


def test_a_lesson_leads_to_its_slider(repository):
    notebook = executed_lesson()
    sources.adapt(notebook, repository, "notebooks/01_x.ipynb")
    assert "explore-slices" in notebook.cells[1].source
    labels = (REPOSITORY / "site" / "explore.md").read_text(encoding="utf-8")
    assert all(f"({label})=" in labels for label, _ in sources.SLIDERS.values())


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_page_of_the_repository_can_be_copied(page, tmp_path):
    name = page.relative_to(REPOSITORY).as_posix()
    names = [other.relative_to(REPOSITORY).as_posix() for other in pages()]
    whole = sources.Repository(REPOSITORY, names)
    sources.copy_pages(sources.Repository(REPOSITORY, [name]), tmp_path)
    assert (tmp_path / name).is_file()
    if name.endswith(".md"):
        text = whole.rewrite(page.read_text(encoding="utf-8"), name)
        assert "](lib/" not in text
        assert "](../lib/" not in text


# -- the library ------------------------------------------------------------------------------


def test_links_to_modules_lead_to_headings_of_the_api():
    texts = api_pages(REPOSITORY)
    labels = set(re.findall(r"^\(([\w-]+)\)=$", "\n".join(texts.values()), re.MULTILINE))
    modules = [p for p in (REPOSITORY / sources.LIBRARY).rglob("*.py") if p.stem != "__main__"]
    wanted = {sources.api_target(p.relative_to(REPOSITORY).as_posix()) for p in modules}
    assert wanted <= labels
    assert "automodule:: spineseg.models.blocks" in texts["api/models.md"]


# -- results ----------------------------------------------------------------------------------


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_tables_have_at_most_five_columns_and_no_nan():
    for text in (results.results_page(), results.audit_page(), results.errata_page()):
        rows = rows_of(text)
        assert rows
        assert max(map(len, rows)) <= 5
        assert not re.search(r"\bnan\b", text.lower())


def test_errata_are_the_statements_that_do_not_hold():
    audit = pd.DataFrame(
        [
            ("means", "good claim", "2 of 2", "yes"),
            ("leads", "bad claim", "1 of 2", "no"),
            ("curves", "unclear claim", "1 of 2", "open"),
        ],
        columns=["check", "claim", "computed", "holds"],
    )
    text = results.errata_page(audit)
    wrong, unclear = text.split("## Depends on how the text is read")
    assert "bad claim" in wrong
    assert "good claim" not in text
    assert "unclear claim" in unclear
    assert "1 hold, 1 do not, and 1 depend" in results.audit_page(audit)


def test_each_check_of_the_audit_has_a_heading():
    audit = pd.read_csv(results.RESULTS / results.SHOWN / "audit.csv")
    assert set(audit["check"]) <= set(results.SECTIONS)


def test_a_method_that_was_not_run_is_named_so():
    columns = ["model", "metric", "class", "paper", "ours", "low", "high", "difference"]
    rows = pd.DataFrame([("unet", "DSC", "all", 79.9, *[np.nan] * 4)], columns=columns)
    assert rows_of(results.table3(rows))[-1][:3] == ["U-Net-2D", "79.9", results.NOT_RUN]


# -- sliders ----------------------------------------------------------------------------------


class Elements(HTMLParser):
    """The tags that are open, and the attributes of all elements."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attributes) -> None:
        self.seen.append((tag, dict(attributes)))
        if tag not in ("img", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes) -> None:
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def small_slider(**changes) -> slider.Slider:
    panel = slider.Panel("A & B", 'a "text"', [("a0.png", "l0.png"), ("a1.png", "l1.png")])
    settings = {"curves": {"one": [0.0, 100.0]}, **changes}
    return slider.Slider("n", "k =", ["0", "<1>"], ["none", "</script>"], [panel], **settings)


def test_a_slider_is_whole_html_that_shows_its_first_position():
    text = small_slider(first=1).html()
    elements = Elements()
    elements.feed(text)
    assert elements.open == []
    assert "\n\n" not in text  # Markdown would end the block
    pictures = [attributes["src"] for tag, attributes in elements.seen if tag == "img"]
    assert pictures == ["a1.png", "l1.png"]
    found = re.search(r'<script type="application/json">(.*)</script>', text)
    data = json.loads(found[1])
    assert data["panels"] == [[["a0.png", "l0.png"], ["a1.png", "l1.png"]]]
    assert data["texts"][1] == "</script>"


def test_the_marker_is_at_the_first_position():
    assert f'x1="{slider.CURVE_WIDTH:.1f}"' in small_slider(first=1).html()
    assert slider.place(0, 1) == 0


def test_labels_are_drawn_in_their_colours_and_the_background_is_clear(tmp_path):
    classes = np.repeat(np.arange(9, dtype=np.uint8)[:, None], 4, axis=1)
    address = slider.save_labels(classes, (2.0, 1.0), tmp_path / "f" / "l.png")
    assert address == "_static/f/l.png"
    with Image.open(tmp_path / "f" / "l.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape[0] / pixels.shape[1] == pytest.approx(9 * 2 / 4, rel=0.02)
    centres = pixels[:: len(pixels) // 9][:9, 0]
    assert centres[0, 3] == 0
    assert "#{:02x}{:02x}{:02x}".format(*centres[1, :3]) == COLOURS["S"].lower()


def test_mean_dsc_leaves_the_background_out():
    truth = np.array([[0, 1, 2, 2]], np.uint8)
    assert explore.mean_dsc(truth, truth) == 100
    assert explore.mean_dsc(truth, np.array([[0, 1, 0, 0]], np.uint8)) == 50


@pytest.mark.parametrize(
    ("rate", "rows", "columns"), [(1, 5, 4), (2, 5, 4), (6, 28, 16), (18, 14, 8)]
)
def test_taps_are_those_of_a_convolution(rate, rows, columns):
    ones = torch.ones(1, 1, rows, columns)
    met = F.conv2d(ones, torch.ones(1, 1, 3, 3), padding=rate, dilation=rate)
    assert explore.mean_taps(rows, columns, rate) == pytest.approx(met.mean().item())


def test_maps_are_those_of_the_network():
    network = on_meta("aspp_unet")
    traced = trace_stages(network, explore.PAPER_IMAGE).set_index("module")
    for position in range(1, 5):
        size = tuple(traced.loc[f"aspp.{position - 1}", ["rows", "columns"]])
        assert explore.map_size(*explore.PAPER_IMAGE, 4, position) == size


def test_a_volume_has_gray_values_classes_and_files(tmp_path):
    volume = explore.simulated((4, 32, 32), 0)
    assert volume.gray.dtype == volume.classes.dtype == np.uint8
    assert volume.gray.max() == 255
    explore.write_volume(volume, tmp_path)
    script = (tmp_path / "volume.js").read_text(encoding="utf-8")
    data = json.loads(script.removeprefix("window.spineVolume = ").rstrip(";\n"))
    assert set(data) == {"image", "labels", "names", "colours"}
    shown = explore.slices_slider(volume, tmp_path / "slices")
    assert len(shown.values) == len(shown.texts) == len(shown.panels[0].frames) == 4


def test_a_training_gives_a_prediction_before_and_after_each_epoch(monkeypatch):
    monkeypatch.setattr(explore, "PATIENTS", 2)
    monkeypatch.setattr(explore, "EPOCHS", 2)
    gray = np.zeros((64, 32), np.uint8)
    found = list(explore.predictions_by_epoch(gray))
    assert len(found) == 3
    assert all(classes.shape == gray.shape for _, classes in found)
    assert np.isfinite([loss for loss, _ in found[1:]]).all()


def test_the_template_names_only_parts_that_exist():
    text = (REPOSITORY / "site" / "explore.md").read_text(encoding="utf-8")
    known = {"slices", "volume", "noise", "rates", "epochs", "seconds", "legend"}
    assert set(explore.PARTS.findall(text)) == known


# -- what comes from npm ----------------------------------------------------------------------


def test_without_npm_nothing_is_bundled(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle.shutil, "which", lambda _: None)
    assert bundle.bundle(bundle.MATHJAX, tmp_path) is None


def test_what_was_fetched_is_not_fetched_again(tmp_path, monkeypatch):
    kept = tmp_path / "mathjax-3.2.2" / "tex-svg-full.js"
    kept.parent.mkdir()
    kept.write_text("x")
    monkeypatch.setattr(bundle.shutil, "which", lambda _: pytest.fail("asked for npm"))
    assert bundle.bundle(bundle.MATHJAX, tmp_path) == kept


def test_another_package_than_the_pinned_one_is_refused(tmp_path, monkeypatch):
    def pack(_, cwd, **__):
        (bundle.Path(cwd) / "x.tgz").write_bytes(b"something else")
        return bundle.subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(bundle.shutil, "which", lambda _: "npm")
    monkeypatch.setattr(bundle.subprocess, "run", pack)
    with pytest.raises(SystemExit, match="not the package that is pinned"):
        bundle.bundle(bundle.NIIVUE, tmp_path)


def test_the_scripts_ask_no_server():
    for script in (REPOSITORY / "site" / "static").glob("*.js"):
        addresses = re.findall(r"https?://[^\"'\s]+", script.read_text(encoding="utf-8"))
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}  # a name, not a request

"""A notebook as one HTML page that needs no other file and no network.

nbconvert's own page loads scripts for formulas, diagrams and widgets from other servers. Here,
formulas are drawn when the page is made, and these scripts are left out. Scripts in the outputs of
cells, such as those of quizzes, stay.
"""

import base64
import io
from html import escape
from typing import Any

from jinja2 import DictLoader, pass_context
from jinja2.runtime import Context
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block data_png scoped -%}
<div class="jp-RenderedImage jp-OutputArea-output {{ extra_class }}">
{%- set alt = output | get_metadata('alt', 'image/png') %}
<img src="data:image/png;base64,{{ output.data['image/png'] | escape_html }}"
{%- if alt is not none %} alt="{{ alt | escape_html }}"{% endif %}>
</div>
{%- endblock -%}
"""
FORMULA_STYLE: Any = {
    "mathtext.fontset": "dejavusans",
    "svg.fonttype": "path",
    "svg.hashsalt": "spineseg",
}
FORMULA_SIZE = 12  # points
PADDING = 1  # points around a formula


def page_of(notebook: NotebookNode, title: str, folder: str) -> str:
    """The page of an executed notebook. Pictures of its text are looked up in `folder`."""
    exporter = _PageExporter(
        embed_images=True,
        extra_loaders=[DictLoader({"page.html.j2": TEMPLATE})],
        template_file="page.html.j2",
    )
    resources = {"metadata": {"name": title, "path": folder}}
    page, _ = exporter.from_notebook_node(notebook, resources=resources)
    return page


def formula(tex: str, display: bool = False) -> str:
    """A formula as an <img> whose alt text is its TeX, or as code if matplotlib cannot draw it.

    `display` gives a line of its own to it.
    """
    tex = " ".join(tex.split())
    drawn = tex.replace(r"\frac", r"\dfrac") if display else tex
    try:
        picture, width, height, depth = _svg(f"${drawn}$")
    except ValueError:
        return f"<code>{escape(tex)}</code>"
    size = f"width: {width:g}pt; height: {height:g}pt; max-width: none"
    place = "display: block; margin: 1em auto" if display else f"vertical-align: -{depth:g}pt"
    encoded = base64.b64encode(picture).decode()
    source = f"data:image/svg+xml;base64,{encoded}"
    return f'<img class="formula" style="{size}; {place}" alt="{escape(tex)}" src="{source}">'


def _svg(text: str) -> tuple[bytes, float, float, float]:
    """An SVG file of a formula; its width, its height and how far it reaches below the line."""
    with rc_context(FORMULA_STYLE):
        font = FontProperties(size=FORMULA_SIZE)
        width, height, depth, *_ = MathTextParser("path").parse(text, 72, font)
        width, height, depth = (
            float(width) + 2 * PADDING,
            float(height) + 2 * PADDING,
            float(depth) + PADDING,
        )
        figure = Figure(figsize=(width / 72, height / 72))
        figure.text(PADDING / width, depth / height, text, fontproperties=font)
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue(), width, height, depth


class _Renderer(IPythonRenderer):
    """Markdown with formulas as pictures."""

    def block_math(self, body: str) -> str:
        return formula(body, display=True)

    def inline_math(self, body: str) -> str:
        return formula(body)


class _PageExporter(HTMLExporter):
    @pass_context
    def markdown2html(self, context: Context, source: str) -> str:
        cell = context.get("cell", {})
        resources: dict[str, Any] = context.get("resources", {})
        renderer = _Renderer(
            escape=False,
            attachments=cell.get("attachments", {}),
            embed_images=self.embed_images,
            path=resources.get("metadata", {}).get("path", ""),
            anchor_link_text=self.anchor_link_text,
        )
        return MarkdownWithMath(renderer=renderer).render(source)

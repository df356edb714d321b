"""Sphinx's settings. `python -m tools.website` writes the sources that it reads."""

import re
import sys
from pathlib import Path

import nbformat
from docutils import nodes

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "lib")]

from tools.website.bundle import MATHJAX, NIIVUE  # noqa: E402
from tools.website.folders import SOURCE, STATIC  # noqa: E402
from tools.website.sources import alternative_texts  # noqa: E402

project = "ASPP-UNet for spine MRI"
author = "The spineseg authors"
html_title = project
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
root_doc = "index"
nitpicky = False

# -- notebooks and Markdown --------------------------------------------------------------------
nb_execution_mode = "off"  # notebooks come with their outputs
nb_ipywidgets_js = {}  # or the pages ask a server for it
nb_merge_streams = True
nb_render_markdown_format = "myst"  # with tables, and with links between pages
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 4
myst_heading_slug_func = "tools.website.sources.slug"
myst_update_mathjax = False
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type", "misc.highlighting_failure"]

# -- the library's docstrings --------------------------------------------------------------------
autodoc_typehints = "signature"
autodoc_mock_imports = ["nnunetv2", "batchgenerators", "dynamic_network_architectures"]
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # or the pages hold texts of other libraries
add_module_names = False
default_role = "literal"  # docstrings write `names` like Markdown

# -- pages -----------------------------------------------------------------------------------------
html_theme = "furo"
html_static_path = [str(HERE / "static"), str(STATIC)]
templates_path = [str(HERE / "templates")]
html_favicon = str(HERE / "static" / "favicon.svg")
html_css_files = ["site.css"]
html_js_files = ["slider.js", "volume.js"] if (STATIC / NIIVUE.folder).is_dir() else ["slider.js"]
html_show_sourcelink = False
html_copy_source = False
html_domain_indices = False
html_show_sphinx = False
html_show_copyright = False
mathjax_path = "mathjax.js"  # its settings alone: formulas stay as text
if (STATIC / MATHJAX.folder).is_dir():
    mathjax_path = f"{MATHJAX.folder}/{MATHJAX.script}"
    mathjax_config_path = str(HERE / "static" / "mathjax.js")


def add_alternative_texts(app, doctree):
    """Give the pictures of a notebook the texts that its outputs carry."""
    path = SOURCE / f"{app.env.docname}.ipynb"
    if not path.is_file():
        return
    texts = alternative_texts(nbformat.read(path, as_version=4))
    shown = [
        image
        for output in doctree.findall(nodes.container)
        if "cell_output" in output["classes"]
        for image in output.findall(nodes.image)
    ]
    for image, text in zip(shown, texts, strict=True):
        image["alt"] = text


def escape_docstring(app, what, name, obj, options, lines):
    """Docstrings are plain text: a star is a star, and a word may follow `code` at once."""
    for number, line in enumerate(lines):
        pieces = re.split(r"(``?[^`]*``?)", line)
        prose = [re.sub(r"^(?=\w)", r"\\ ", piece.replace("*", r"\*")) for piece in pieces[2::2]]
        pieces[0::2] = [pieces[0].replace("*", r"\*"), *prose]
        lines[number] = "".join(pieces)


def setup(app):
    app.connect("autodoc-process-docstring", escape_docstring)
    app.connect("doctree-read", add_alternative_texts)

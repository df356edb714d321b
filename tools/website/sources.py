"""Copies of the repository's pages and notebooks whose links work on the site."""

from __future__ import annotations

import posixpath
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

LIBRARY = "lib/spineseg"
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
LARGEST_DOWNLOAD = 2_000_000  # bytes of a file that the site offers
HIDDEN = {  # cells that are folded, by tag, and the words that unfold them
    "solution": ("hide-input", "code_prompt_show", "Show the solution"),
    "check": ("hide-cell", "code_prompt_show", "Show the check"),
}
SLIDERS = {  # of the page Explore, by lesson: the label and what a reader can do there
    "01": ("explore-slices", "move through the slices of a volume, and turn it"),
    "04": ("explore-epochs", "see what a network predicts after each epoch"),
    "05": ("explore-rate", "move a kernel on maps of many sizes"),
    "07": ("explore-noise", "add noise to an image and see what two networks make of it"),
}
NO_ALT = "The output of the cell above."


@dataclass(frozen=True)
class Repository:
    """What links can lead to: the repository's folder, its pages, and its address if it has one."""

    folder: Path
    pages: Collection[str]  # paths relative to the folder
    address: str = ""

    def rewrite(self, text: str, page: str) -> str:
        """Markdown of `page` (its path in the repository) with links that work on the site."""
        parts, end = [], 0
        for fence in FENCE.finditer(text):  # code stays as it is
            parts += [self._rewrite_prose(text[end : fence.start()], page), fence[0]]
            end = fence.end()
        return "".join([*parts, self._rewrite_prose(text[end:], page)])

    def _rewrite_prose(self, text: str, page: str) -> str:
        return LINK.sub(lambda link: self._link(link[1], link[2], page), text)

    def _link(self, words: str, target: str, page: str) -> str:
        if re.match(r"[a-z]+:", target):
            return f"[{words}]({target})"
        name, _, anchor = target.partition("#")
        anchor = f"#{slug(anchor)}" if anchor else ""
        if not name:
            return f"[{words}]({anchor})"
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), name))
        file = self.folder / path
        if path in self.pages:
            return f"[{words}]({name}{anchor})"
        if path.startswith("..") or not file.exists():
            return words
        if PurePosixPath(path).is_relative_to(LIBRARY) and (api := api_target(path)):
            return f"[{words}](#{api})"
        if file.is_file() and file.stat().st_size <= LARGEST_DOWNLOAD:
            return f"[{words}]({name})"
        return f"[{words}]({self.address}/tree/main/{path})" if self.address else words

    def linked_files(self, text: str, page: str) -> set[str]:
        """The files of the repository that the rewritten `text` shows or offers."""
        targets = [link[2] for link in LINK.finditer(text)] + IMAGE.findall(text)
        paths = {
            posixpath.normpath(posixpath.join(posixpath.dirname(page), target.partition("#")[0]))
            for target in targets
            if not re.match(r"[a-z]+:|#", target)
        }
        return {p for p in paths if p not in self.pages and (self.folder / p).is_file()}


def slug(heading: str) -> str:
    """A heading's anchor as GitHub writes it. Jupyter's anchors keep capitals."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def api_target(path: str) -> str:
    """The label of a module or folder of the library on the pages of the API.

    What is deeper, such as the exercises, has no place of its own there: it leads to its folder.
    """
    inside = PurePosixPath(path).relative_to(LIBRARY)
    parts = tuple(part for part in inside.with_suffix("").parts if part != "__init__")
    has_place = len(inside.parts) < 2 or (len(inside.parts) == 2 and inside.suffix == ".py")
    return "-".join(("api", *(parts if has_place else parts[:1])))


def repository_address(citation: Path) -> str:
    """The address of the repository that CITATION.cff names, or nothing."""
    text = citation.read_text(encoding="utf-8") if citation.is_file() else ""
    found = re.search(r"^repository-code:\s*[\"']?(\S+?)[\"']?\s*$", text, re.MULTILINE)
    return found[1].rstrip("/") if found else ""


def copy_pages(repository: Repository, out: Path, executed: Path | None = None) -> None:
    """Copy all pages to the folder `out`, with the files that they show or offer.

    Notebooks come from the folder `executed` if it has them.
    """
    import nbformat

    files: set[str] = set()
    for page in repository.pages:
        target = out / page
        target.parent.mkdir(parents=True, exist_ok=True)
        if page.endswith(".ipynb"):
            own = executed / target.name if executed else None
            path = own if own and own.is_file() else repository.folder / page
            notebook = nbformat.read(path, as_version=4)
            files |= adapt(notebook, repository, page)
            nbformat.write(notebook, target)
        else:
            text = (repository.folder / page).read_text(encoding="utf-8")
            text = repository.rewrite(text, page).replace("```mermaid", "```text")
            files |= repository.linked_files(text, page)
            target.write_text(text, encoding="utf-8")
    for name in files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(repository.folder / name, out / name)


def adapt(notebook: NotebookNode, repository: Repository, page: str) -> set[str]:
    """Make a notebook fit for the site, in place; returns the files that it shows or offers.

    Links are rewritten, solutions and checks are folded, quizzes are made safe for a page, and a
    line leads to the slider of the lesson.
    """
    from nbformat.v4 import new_markdown_cell

    files: set[str] = set()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = repository.rewrite(cell.source, page)
            files |= repository.linked_files(cell.source, page)
        elif cell.cell_type == "code":
            fold(cell)
            for output in cell.outputs:
                tame(output)
                if text := output.get("data", {}).get("text/markdown"):
                    text = output.data["text/markdown"] = repository.rewrite(text, page)
                    files |= repository.linked_files(text, page)
    if slider := SLIDERS.get(PurePosixPath(page).name[:2]):
        label, words = slider
        line = f"**On this site** you can [{words}](#{label}), without Python."
        notebook.cells.insert(1, new_markdown_cell(f":::{{tip}}\n{line}\n:::", id="slider"))
    return files


def fold(cell: NotebookNode) -> None:
    """Hide solutions and checks until a reader asks for them."""
    tags = cell.metadata.setdefault("tags", [])
    for tag, (hiding, prompt, words) in HIDDEN.items():
        if tag in tags:
            tags.append(hiding)
            cell.metadata.setdefault("mystnb", {})[prompt] = words


def tame(output: NotebookNode) -> None:
    """Make the output of jupyterquiz safe for a static page, in place.

    Its script would ask a server for MathJax, which our questions do not need, and its HTML leaves
    an element open, which would take in the rest of the page.
    """
    data = output.get("data", {})
    script = data.get("application/javascript", "")
    if "Question" in script and "MathJax" in script:
        script = re.sub(r"typeof MathJax !==? ['\"]undefined['\"]", "false", script)
        data["application/javascript"] = re.sub(r"https://cdn\.[^'\"]*", "", script)
    html = data.get("text/html", "")
    if "data-shufflequestions" in html:
        missing = len(re.findall(r"<div\b", html)) - html.count("</div>")
        data["text/html"] = html + "</div>" * missing


def alternative_texts(notebook: NotebookNode) -> list[str]:
    """The text for each picture that a notebook shows, in order."""
    return [
        output.metadata.get("image/png", {}).get("alt") or NO_ALT
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]


def title(notebook: NotebookNode) -> str:
    return notebook.cells[0].source.splitlines()[0].lstrip("# ")

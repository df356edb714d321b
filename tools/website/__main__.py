"""Build the site: `python make.py site`."""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
from tools.website.api import api_pages
from tools.website.bundle import MATHJAX, NIIVUE, bundle
from tools.website.explore import explore_page
from tools.website.folders import DOCTREES, HTML, SITE, SOURCE, STATIC, VENDOR, pages
from tools.website.results import audit_page, errata_page, results_page
from tools.website.sources import Repository, copy_pages, repository_address, title

from spineseg.utils.paths import REPOSITORY

START = "notebooks/00_start.ipynb"
SHORT = {START: "Start here", "README": "About", "CONTRIBUTING": "Contributing"}  # for the sidebar


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the sources, then let Sphinx make pages of them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python make.py site", description=__doc__)
    parser.add_argument("--without-npm", action="store_true", help="as on a machine without npm")
    parser.add_argument("--strict", action="store_true", help="a warning is an error")
    parser.add_argument(
        "--notebooks", type=Path, metavar="DIR", help="take notebooks from here if it has them"
    )
    options = parser.parse_args(arguments)
    if options.notebooks and not options.notebooks.is_dir():
        parser.error(f"{options.notebooks}: no such folder")
    start = time.monotonic()
    for folder in (SOURCE, STATIC, DOCTREES, HTML):
        shutil.rmtree(folder, ignore_errors=True)
    bundled = [] if options.without_npm else bundle_scripts()
    write_sources(NIIVUE.script in bundled, options.notebooks)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-c", str(SITE), "-q"]
    command += ["-d", str(DOCTREES)]
    command += [*(["-W", "--keep-going"] if options.strict else []), str(SOURCE), str(HTML)]
    code = subprocess.run(command, cwd=REPOSITORY, check=False).returncode
    if code == 0:
        print(summary(time.monotonic() - start))
    return code


def bundle_scripts() -> list[str]:
    """Copy MathJax and NiiVue into the site's static files; returns what is there, and says what
    is not."""
    found = []
    for package, without in (
        (MATHJAX, "formulas stay as text"),
        (NIIVUE, "the 3-D viewer is left out"),
    ):
        script = bundle(package, VENDOR)
        if script is None:
            print(f"{package.name} {package.version} was not fetched (npm): {without}")
            continue
        target = STATIC / package.folder
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(script, target / package.script)
        found.append(package.script)
    return found


def write_sources(with_viewer: bool, executed: Path | None) -> None:
    """Write all that Sphinx reads. Notebooks come from the folder `executed` if it has them."""
    names = [page.relative_to(REPOSITORY).as_posix() for page in pages()]
    address = repository_address(REPOSITORY / "CITATION.cff")
    copy_pages(Repository(REPOSITORY, names, address), SOURCE, executed)
    generated = {
        "explore.md": explore_page(STATIC, with_viewer),
        "results.md": results_page(),
        "audit.md": audit_page(),
        "errata.md": errata_page(),
        **api_pages(REPOSITORY),
        "index.md": index_page(names),
    }
    for name, text in generated.items():
        (SOURCE / name).parent.mkdir(parents=True, exist_ok=True)
        (SOURCE / name).write_text(text, encoding="utf-8")


def index_page(names: Sequence[str]) -> str:
    """The first page, with the contents of the site: `names` are the repository's pages."""
    notebooks = [name for name in names if name.endswith(".ipynb")]
    lessons = [name for name in notebooks if name.removeprefix("notebooks/")[0].isdigit()]
    docs = [name for name in names if name.startswith("docs/") and name != "docs/course.md"]
    course = [name for name in names if name == "docs/course.md"]
    contents = {
        "Lessons": [*lessons, *course],
        "Appendix": [name for name in notebooks if name not in lessons],
        "Results": ["explore", "results", "audit", "errata"],
        "Project": ["README", *docs, "CONTRIBUTING", "api/index"],
    }
    trees = "\n".join(_toctree(caption, entries) for caption, entries in contents.items())
    template = (SITE / "index.md").read_text(encoding="utf-8")
    text = template.replace("LESSONS", lesson_list(lessons)).replace("START", lessons[0])
    return f"{text}\n{trees}"


def lesson_list(lessons: Sequence[str]) -> str:
    """A list of links to the lessons, by title."""
    lines = []
    for name in lessons:
        heading = title(nbformat.read(REPOSITORY / name, as_version=4))
        lines.append(f"- [{heading}]({name})")
    return "\n".join(lines)


def _toctree(caption: str, entries: Sequence[str]) -> str:
    lines = (
        f"{SHORT[entry]} <{_document(entry)}>" if entry in SHORT else _document(entry)
        for entry in entries
    )
    body = "\n".join(lines)
    return f"```{{toctree}}\n:hidden:\n:caption: {caption}\n{body}\n```\n"


def _document(entry: str) -> str:
    return entry.removesuffix(".ipynb").removesuffix(".md")


def summary(seconds: float) -> str:
    """How large the site is."""
    files = [path for path in HTML.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    count = sum(path.suffix == ".html" for path in files)
    where = (HTML / "index.html").relative_to(REPOSITORY)
    return f"{count} pages, {size:.0f} MB, in {seconds:.0f} s: open {where}"


if __name__ == "__main__":
    sys.exit(main())

"""Pages of the library, one per folder, for Sphinx's autodoc."""

import ast
from pathlib import Path

from tools.website.sources import LIBRARY, api_target

OWN_FOLDER = "spineseg"  # the page of the modules that are in no folder
HIDDEN = ("__init__", "__main__")


def api_pages(repository: Path) -> dict[str, str]:
    """{path: text} of the pages in Markdown: api/index.md, and one page per folder."""
    library = repository / LIBRARY
    folders = [library, *sorted(p.parent for p in library.glob("*/__init__.py"))]
    texts = {f"api/{_name(folder, library)}.md": folder_page(folder, library) for folder in folders}
    lines = [
        f"| [{Path(page).stem}]({Path(page).name}) | {_first_line(folder / '__init__.py')} |"
        for page, folder in zip(texts, folders, strict=True)
    ]
    names = "\n".join(Path(page).stem for page in texts)
    texts["api/index.md"] = "\n".join(
        [
            "# API",
            "\nThe public functions and classes of `lib/spineseg`, from their docstrings.\n",
            "| Folder | Contents |\n|---|---|",
            *lines,
            f"\n```{{toctree}}\n:hidden:\n{names}\n```\n",
        ]
    )
    return texts


def folder_page(folder: Path, library: Path) -> str:
    """The page of one folder: its modules with all public members."""
    name = _name(folder, library)
    package = ".".join(("spineseg", *folder.relative_to(library).parts))
    parts = [f"(api-{name})=" if folder != library else "(api)=", f"# {package}"]
    parts.append(_docstring(folder / "__init__.py"))
    for module in public_modules(folder):
        path = f"{LIBRARY}/{module.relative_to(library).as_posix()}"
        parts += [
            f"({api_target(path)})=",
            f"## {module.stem}",
            f"```{{eval-rst}}\n.. automodule:: {package}.{module.stem}\n   :members:\n"
            "   :member-order: bysource\n```",
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def public_modules(folder: Path) -> list[Path]:
    """The modules of a folder that have public functions, classes or a docstring to show."""
    modules = sorted(folder.glob("*.py"))
    return [m for m in modules if m.stem not in HIDDEN and not m.stem.startswith("_")]


def _name(folder: Path, library: Path) -> str:
    return OWN_FOLDER if folder == library else folder.name


def _docstring(module: Path) -> str:
    return ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""


def _first_line(module: Path) -> str:
    return _docstring(module).split("\n\n")[0].replace("\n", " ").replace("|", "\\|")

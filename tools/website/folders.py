"""Where the site's sources and results are."""

from pathlib import Path

from spineseg.utils.paths import REPOSITORY

SITE = REPOSITORY / "site"
BUILD = SITE / "_build"  # ignored by git
SOURCE = BUILD / "source"  # what Sphinx reads: copies of pages and notebooks, and generated pages
STATIC = BUILD / "static"  # generated pictures and data, and what comes from npm
VENDOR = BUILD / "vendor"  # what comes from npm, kept from one build to the next
DOCTREES = BUILD / "doctrees"  # what Sphinx read
HTML = BUILD / "html"


def pages() -> list[Path]:
    """The Markdown pages and notebooks of the repository that become pages of the site."""
    return [
        REPOSITORY / "README.md",
        REPOSITORY / "CONTRIBUTING.md",
        *sorted((REPOSITORY / "docs").glob("*.md")),
        *sorted((REPOSITORY / "notebooks").glob("*.ipynb")),
    ]

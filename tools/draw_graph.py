"""Write the graph of the Snakefile into docs/graph.md, from Snakemake's own drawing in Mermaid.

snakemake --rulegraph mermaid-js … | python tools/draw_graph.py
"""

import re
import sys

from spineseg.utils.paths import REPOSITORY

PAGE = REPOSITORY / "docs" / "graph.md"
BLOCK = re.compile(r"(?<=```mermaid\n).*?(?=```)", re.DOTALL)


def drawn(page: str, graph: str) -> str:
    """The page with its drawing replaced; ValueError if `graph` holds none."""
    start = graph.find("flowchart")
    if start < 0:
        raise ValueError("no Mermaid flowchart on stdin")
    return BLOCK.sub(lambda _: graph[start:].rstrip() + "\n", page)


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8"), sys.stdin.read()), encoding="utf-8")
    print(PAGE)

"""The steps of the graph: prepare, train, score, gather, tables, report; and what users run."""

"""The paper's printed numbers, whether they are consistent, and how our results compare."""

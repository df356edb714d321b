"""The project's site: what is read, computed and rewritten before Sphinx makes pages of it.

`python make.py site` runs this package. Only `__main__` and `api` need Sphinx and npm.
"""

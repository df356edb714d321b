"""From scan files to arrays: read, check, convert, preprocess, split.

Start with `volume.py` (one scan), `layouts.py` (folders of scans), `preprocess.py` and `splits.py`.
`headers.py` and `dicom.py` guard against damaged files.
"""

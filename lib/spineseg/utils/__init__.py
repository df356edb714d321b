"""Support that knows nothing about spines: files, locks, paths, errors, progress bars."""

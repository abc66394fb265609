"""Collected where the package is installed, and not from celljury's own checkout."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("celljury_nearest_centroid") else ["test_nearest_centroid.py"]

"""Exports of a run: for the CELLxGENE archive, as Cell Annotation Schema, and as h5ad or h5mu of the query."""

"""Two runs over the same cells side by side: what changed, cell by cell and term by term, and why."""

from celljury.compare.make import Comparison, compare_runs

__all__ = ["Comparison", "compare_runs"]

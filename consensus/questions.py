"""Questions to parquet files in SQL, which DuckDB reads from disk as it goes."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def connect(*, memory: str) -> Any:
    """Return a connection to an empty DuckDB in memory, to be closed by ``with``.

    Parameters
    ----------
    memory
        What it may hold, such as ``1GB``; it writes to disk beyond that.
    """
    import duckdb

    # Threads: celljury takes one unless it is told otherwise. Nothing may be fetched from elsewhere.
    config = {"memory_limit": memory, "temp_directory": tempfile.gettempdir(), "autoinstall_known_extensions": "false",
              "autoload_known_extensions": "false", "threads": "1"}  # fmt: skip
    return duckdb.connect(config=config)


def parquet_sql(path: Path) -> str:
    """Return how SQL reads one parquet file, with ``file_row_number``; signs of patterns in its path mean themselves."""
    plain = "".join(f"[{sign}]" if sign in "[*?" else sign for sign in str(path))
    quoted = plain.replace("'", "''")
    return f"read_parquet('{quoted}', file_row_number = true)"

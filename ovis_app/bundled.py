"""Where the files lie that come along: the small model and the examples' media. Knows folders, not what is in them."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """A folder of assets/: a wheel has that inside the package, a checkout beside it."""
    inside = HERE / "assets" / name
    return inside if inside.is_dir() else HERE.parent / "assets" / name

"""Options that events share."""

from __future__ import annotations

from typing import Any

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
AT_ONCE: dict[str, Any] = PRIVATE | {"queue": False}  # events that only touch the page

Updates = dict[Any, Any]  # by component

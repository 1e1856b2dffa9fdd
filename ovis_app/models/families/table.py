"""The families by name. Adding one is adding a file and a line here."""

from __future__ import annotations

from ovis_app.models.families import ovis1_6, ovis2, ovis2_5, ovis2_6
from ovis_app.models.families.base import Family

FAMILIES: dict[str, Family] = {row.FAMILY.name: row.FAMILY for row in (ovis1_6, ovis2, ovis2_5, ovis2_6)}

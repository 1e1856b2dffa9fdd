"""The Ovis2.6 family: to the eye an Ovis2.5, with a mixture of experts behind it, or another Qwen3."""

from __future__ import annotations

from dataclasses import replace

from ovis_app.models.families import ovis2_5

FAMILY = replace(ovis2_5.FAMILY, name="ovis2_6")

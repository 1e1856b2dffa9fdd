"""What the engine can do with one loaded model here, and why not more: values for the log, the page and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ovis_app.engine import decode_step
from ovis_app.models.ovis import Ovis


@dataclass(frozen=True)
class Capabilities:
    """How steps are made. `why` says what keeps a faster way out, in a few words."""

    decode: Literal["by hand", "modules"]
    attention: Literal["torch"]
    why: str = ""

    @classmethod
    def of(cls, model: Ovis) -> Capabilities:
        lacks = decode_step.unfit(model.llm)
        return cls("modules" if lacks else "by hand", "torch", lacks)

    def __str__(self) -> str:
        return f"decode {self.decode}, attention in {self.attention}" + (f" ({self.why})" if self.why else "")

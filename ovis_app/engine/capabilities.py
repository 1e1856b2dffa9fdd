"""What the engine can do with one loaded model here, and why not more: values for the log, the page and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ovis_app.engine import decode_step
from ovis_app.models.ovis import Ovis

LAYER_TYPES = {"full_attention", "sliding_attention"}  # that the KV pool serves


@dataclass(frozen=True)
class Capabilities:
    """How steps are made. `why` says what keeps a faster way out, in a few words."""

    # plain: by transformers' generate, since the engine can't serve the model
    decode: Literal["by hand", "modules", "plain"]
    attention: Literal["torch"]
    why: str = ""

    @classmethod
    def of(cls, model: Ovis) -> Capabilities:
        config: Any = model.llm.config.get_text_config()
        odd = set(getattr(config, "layer_types", None) or []) - LAYER_TYPES
        if odd:
            return cls("plain", "torch", f"{config.model_type} has layers of {' and '.join(sorted(odd))}")
        lacks = decode_step.unfit(model.llm)
        return cls("modules" if lacks else "by hand", "torch", lacks)

    def __str__(self) -> str:
        return f"decode {self.decode}, attention in {self.attention}" + (f" ({self.why})" if self.why else "")

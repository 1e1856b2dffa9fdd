"""A checkpoint's config.json as one `OvisConfig`, whatever generation it declares.

Reads json only: no AutoConfig on the whole file, because released files carry an `auto_map` that would ask to run code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from ovis_app.generation import BackendError


class OvisConfig(PreTrainedConfig):
    """What `Ovis` is built from: the language model's config, the tower's raw facts and the visual vocabulary."""

    model_type = "ovis_app"

    family: str = "ovis2_5"
    llm_config: Any = None  # PreTrainedConfig of the language model
    vision_config: Any = None  # the tower's dict, as the checkpoint states it
    visual_vocab_size: int = 65536  # indicator rows included
    tokenize_function: str = "softmax"
    max_context: int = 32768  # tokens, prompt and answer together

    def get_text_config(self, *args: Any, **kwargs: Any) -> PreTrainedConfig:
        return self.llm_config if self.llm_config is not None else self

    @classmethod
    def read(cls, folder: Path | str) -> OvisConfig:
        """The config of the checkpoint in `folder`. Raises BackendError when there is none or it is no known Ovis."""
        path = Path(folder) / "config.json"
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BackendError(
                f"There is no config.json in {Path(folder).name}: is this an Ovis checkpoint?"
            ) from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise BackendError(f"config.json in {Path(folder).name} is damaged: download it again.") from error
        return cls.from_released(raw)

    @classmethod
    def from_released(cls, raw: Mapping[str, Any]) -> OvisConfig:
        """The config from a released config.json's content. Raises BackendError for an unknown generation."""
        if "vit_config" not in raw:
            raise BackendError("This config.json is not of an Ovis generation that this app knows (2.5).")
        llm = language_model_config(raw["llm_config"])
        return cls(
            family="ovis2_5",
            llm_config=llm,
            vision_config=dict(raw["vit_config"]),
            visual_vocab_size=raw["visual_vocab_size"],
            max_context=llm.max_position_embeddings,
            tie_word_embeddings=llm.tie_word_embeddings,
        )


def language_model_config(raw: Mapping[str, Any]) -> PreTrainedConfig:
    """The language model's own config class, without the legacy defaults that released files dump beside it."""
    dropped = {"model_type", "torch_dtype", "transformers_version", "architectures", "_attn_implementation_autoset"}
    kept = {key: value for key, value in raw.items() if value is not None and key not in dropped}
    return AutoConfig.for_model(raw["model_type"], **kept)

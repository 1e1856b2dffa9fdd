"""What `--trust-remote-code` runs of a made-up checkpoint: the config of an Ovis2.5, as little as vLLM asks of it.

Copied into checkpoints by released.py. Knows transformers alone, since it runs where nothing else of ours is.
"""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig, Qwen3Config


class TowerConfig(PreTrainedConfig):
    """The facts of `vit_config`, as they stand there."""

    model_type = "siglip2_navit"


class Ovis2_5_Config(PreTrainedConfig):
    """`text_config` is where vLLM looks for the language model's."""

    model_type = "ovis2_5"

    def __init__(
        self, *, llm_config: dict[str, Any] | None = None, vit_config: dict[str, Any] | None = None, **facts: Any
    ) -> None:
        super().__init__(**facts)
        self.text_config = Qwen3Config(**(llm_config or {}))
        self.vit_config = TowerConfig(**(vit_config or {}))

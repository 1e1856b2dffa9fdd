"""A checkpoint's config.json as one `OvisConfig`, whatever generation and layout it declares.

Reads json only: no AutoConfig on the whole file, because released files carry an `auto_map` that would ask to run code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig

from ovis_app.errors import BackendError, visible
from ovis_app.models.preprocess.pixel_format import PixelFormat
from ovis_app.models.prompt import FORMATS
from ovis_app.zoo import FAMILY_ROWS, generation

UNKNOWN = "This config.json is of no Ovis that this app knows (1.6, 2, 2.5 or 2.6)."
OTHER_LLM = (
    "The language model of this checkpoint is {name}, which this app doesn't compute: choose another checkpoint."
)
BROKEN = "No model can be built from this config.json: download it again, or choose another checkpoint."
NO_PIXELS = (
    "No model can be built from this preprocessor_config.json ({reason}): "
    "download it again, or choose another checkpoint."
)


class OvisConfig(PreTrainedConfig):
    """What `Ovis` is built from: the language model's config, the tower's raw facts and the visual vocabulary."""

    model_type = "ovis_app"

    family: str = "ovis2_5"
    layout: str = "released"  # or "hf", "native": conversions of Ovis2 and 2.5, each with its own weight names
    llm_config: Any = None  # PreTrainedConfig of the language model
    vision_config: Any = None  # the tower's dict, as the checkpoint states it
    preprocessor: Any = None  # preprocessor_config.json's dict
    hidden_stride: int = 2
    visual_vocab_size: int = 65536  # indicator rows included
    tokenize_function: str = "softmax"  # or st_argmax: one-hot visual tokens
    max_context: int = 32768  # tokens, prompt and answer together
    attention: Any = None  # the language model's attention implementation; None leaves it to transformers
    quantization: Any = None  # quantization_config's dict of weights that were released quantized

    def get_text_config(self, *args: Any, **kwargs: Any) -> PreTrainedConfig:
        return self.llm_config if self.llm_config is not None else self

    @property
    def pixel_format(self) -> PixelFormat:
        """How the checkpoint wants its pixels. No field, since a config's fields must be JSON."""
        return PixelFormat.read(self.preprocessor or {}, self.family)

    @classmethod
    def read(cls, folder: Path | str) -> OvisConfig:
        """The config of the checkpoint in `folder`. Raises BackendError when there is none or it is no known Ovis."""
        folder = Path(folder)
        processor = folder / "preprocessor_config.json"
        return cls.from_released(_read(folder / "config.json"), _read(processor) if processor.is_file() else None)

    @classmethod
    def from_released(cls, raw: Mapping[str, Any], preprocessor: Mapping[str, Any] | None = None) -> OvisConfig:
        """The config from a released config.json's content. Raises BackendError for an unknown generation."""
        family = generation(raw)
        if family is None:
            raise BackendError(UNKNOWN)
        try:
            facts = {"family": family, "quantization": raw.get("quantization_config"), **_facts(raw)}
            if family == "ovis2_6":  # the language model could read more than it was shown pictures with
                facts["max_context"] = min(facts["max_context"], FAMILY_ROWS[family].context)
            _positive(facts)
        except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, StrictDataclassError) as error:
            raise BackendError(BROKEN) from error
        if facts["tokenize_function"] not in ("softmax", "st_argmax"):
            raise BackendError(
                f"The visual tokens of this checkpoint are drawn by {facts['tokenize_function']}, which this app can't "
                "repeat: choose another checkpoint."
            )
        config = cls(
            preprocessor=dict(preprocessor or {}),
            tie_word_embeddings=facts["llm_config"].tie_word_embeddings,  # type: ignore[call-arg]
            **facts,
        )
        try:
            _ = config.pixel_format
        except ValueError as error:
            raise BackendError(NO_PIXELS.format(reason=error)) from error
        return config


def called(folder: Path) -> str:
    """What people call the model in a folder: the repository's name for one in the hub's cache."""
    if folder.parent.name != "snapshots":
        return visible(folder.name)
    return visible(folder.parent.parent.name).removeprefix("models--").replace("--", "/")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BackendError(f"There is no {path.name} in {called(path.parent)}: is this an Ovis checkpoint?") from error
    except OSError as error:
        raise BackendError(f"{path.name} in {called(path.parent)} can't be read: check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise BackendError(f"{path.name} in {called(path.parent)} is damaged: download it again.") from error
    if not isinstance(content, dict):
        raise BackendError(f"{path.name} in {called(path.parent)} is damaged: download it again.")
    return content


def _facts(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What the four layouts say, each in its own place."""
    if "vit_config" in raw:
        llm = language_model_config(raw["llm_config"])
        tower = dict(raw["vit_config"])
        return {
            "llm_config": llm,
            "vision_config": tower,
            "hidden_stride": tower.get("hidden_stride", 2),
            "visual_vocab_size": raw["visual_vocab_size"],
            "tokenize_function": "softmax",
            "max_context": llm.max_position_embeddings,
        }
    if "visual_tokenizer_config" in raw:
        visual = raw["visual_tokenizer_config"]
        llm = language_model_config(raw["llm_config"])
        return {
            "llm_config": llm,
            "vision_config": dict(visual["backbone_config"]),
            "hidden_stride": visual.get("hidden_stride", 1),
            "visual_vocab_size": visual["vocab_size"],
            "tokenize_function": visual.get("tokenize_function", "softmax"),
            "max_context": raw.get("multimodal_max_length") or llm.max_position_embeddings,
        }
    llm = language_model_config(raw["text_config"])
    tower = dict(raw["vision_config"])
    if raw["model_type"] == "ovis2_5":
        return {
            "layout": "native",
            "llm_config": llm,
            "vision_config": {**tower, "fullatt_block_indexes": _full_layers(tower)},
            "hidden_stride": tower.get("hidden_stride", 2),
            "visual_vocab_size": raw.get("visual_vocab_size") or tower["vocab_size"],
            "tokenize_function": "softmax",
            "max_context": llm.max_position_embeddings,
        }
    return {
        "layout": "hf",
        "llm_config": llm,
        "vision_config": tower,
        "hidden_stride": tower.get("hidden_stride", 2),
        "visual_vocab_size": tower["vocab_size"],
        "tokenize_function": tower.get("tokenize_function", "softmax"),
        "max_context": llm.max_position_embeddings,
    }


def _full_layers(tower: Mapping[str, Any]) -> str | None:
    """Which of the tower's layers see whole frames, in the words of the released config; None: all."""
    kinds = tower.get("layer_types")
    if not kinds or set(kinds) == {"full_attention"}:
        return tower.get("fullatt_block_indexes")
    return "|".join(str(number) for number, kind in enumerate(kinds) if kind == "full_attention")


def _positive(facts: Mapping[str, Any]) -> None:
    """Raises ValueError where a size is none."""
    llm = facts["llm_config"]
    sizes = {name: facts[name] for name in ("hidden_stride", "visual_vocab_size", "max_context")}
    sizes |= {name: getattr(llm, name) for name in ("hidden_size", "num_hidden_layers", "vocab_size")}
    for name in ("num_experts", "moe_intermediate_size", "num_experts_per_tok"):  # of a mixture of experts
        sizes |= {name: getattr(llm, name)} if hasattr(llm, name) else {}
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"{name} is {size!r}")


def language_model_config(raw: Mapping[str, Any]) -> PreTrainedConfig:
    """The language model's own config class, without the legacy defaults that released files dump beside it."""
    dropped = {"model_type", "torch_dtype", "transformers_version", "architectures", "auto_map"}
    dropped |= {"attn_implementation", "_attn_implementation", "_attn_implementation_autoset"}
    if raw["model_type"] not in FORMATS:
        raise BackendError(OTHER_LLM.format(name=str(raw["model_type"])[:60]))
    kept = {key: value for key, value in raw.items() if value is not None and key not in dropped}
    return AutoConfig.for_model(raw["model_type"], **kept)

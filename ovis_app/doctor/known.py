"""What is known of released checkpoints beside the rows of the zoo: rope bases, ids of control tokens, which formatter
writes their prompts. Facts that the files of a checkpoint are held against, and that nothing else in the app asks for.

Sources: the public config.json and tokenizer files of Qwen3, its mixture of experts, Qwen2.5, Gemma 2 and Llama 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

from ovis_app.engine.kv_pool import KVShape
from ovis_app.models.config import OvisConfig
from ovis_app.zoo import FAMILY_ROWS, MODELS, ModelSpec


@dataclass(frozen=True)
class KnownLanguageModel:
    """What every released Ovis with that language model has."""

    rope_base: float
    formatter: str  # in config.json, for Ovis2 and 1.6, whose original code has a class for each format
    ends: frozenset[str]  # tokens that may end an answer
    vocabularies: frozenset[int]  # rows of the released tables; with another number the ids are others too
    ids: tuple[tuple[str, int], ...]
    rope_type: str = "default"


_QWEN = (("<|endoftext|>", 151643), ("<|im_start|>", 151644), ("<|im_end|>", 151645))
_QWEN_ENDS = frozenset({"<|endoftext|>", "<|im_end|>"})
_QWEN_ROWS = frozenset({151646, 151936, 152064})
_QWEN3 = KnownLanguageModel(
    1e6, "Qwen3ConversationFormatter", _QWEN_ENDS, _QWEN_ROWS, (*_QWEN, ("<think>", 151667), ("</think>", 151668))
)
KNOWN = {  # by the language model's model_type
    "qwen3": _QWEN3,
    "qwen3_moe": KnownLanguageModel(1e7, _QWEN3.formatter, _QWEN_ENDS, _QWEN_ROWS, _QWEN3.ids),
    "qwen2": KnownLanguageModel(1e6, "QwenConversationFormatter", _QWEN_ENDS, _QWEN_ROWS, _QWEN),
    "gemma2": KnownLanguageModel(
        1e4,
        "GemmaConversationFormatter",
        frozenset({"<eos>", "<end_of_turn>"}),
        frozenset({256000}),
        (("<pad>", 0), ("<eos>", 1), ("<bos>", 2), ("<start_of_turn>", 106), ("<end_of_turn>", 107)),
    ),
    "llama": KnownLanguageModel(
        5e5,
        "Llama3ConversationFormatter",
        frozenset({"<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"}),
        frozenset({128256}),
        (
            ("<|begin_of_text|>", 128000),
            ("<|end_of_text|>", 128001),
            ("<|start_header_id|>", 128006),
            ("<|end_header_id|>", 128007),
            ("<|eot_id|>", 128009),
        ),
        rope_type="llama3",
    ),
}
MINI_ROPE_BASE = 1e4  # it reads less far than Qwen3, and was trained with less
USES_TEMPLATE = ("ovis2_5", "ovis2_6")  # the original code of the others writes prompts by itself


def alike(config: OvisConfig) -> ModelSpec | None:
    """The known model whose language model has these sizes; None where there is none."""
    shape = KVShape.of(config.llm_config)
    width = config.vision_config.get("hidden_size")
    sizes = (config.family, width, shape.layers, shape.heads, shape.head_size)
    known = ((row, row.llm) for row in MODELS if row.llm is not None and not row.quantization)
    return next(
        (row for row, llm in known if (row.family, row.tower, llm.layers, llm.kv_heads, llm.head_dim) == sizes), None
    )


def row_of(config: OvisConfig) -> ModelSpec:
    """That one, or else what its family has in common."""
    return alike(config) or FAMILY_ROWS[config.family]


def rope_base(config: OvisConfig) -> float:
    row = alike(config)
    return MINI_ROPE_BASE if row is not None and row.bundled else KNOWN[config.llm_config.model_type].rope_base

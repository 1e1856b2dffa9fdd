"""Ovis2.5 in the layout of a transformers that has it (ovis-community/Ovis2.5-*): its weight names as ours, in our own
module.

Names as two stages of that work have them; it isn't released, so they may still move.
"""

from __future__ import annotations

from ovis_app.errors import BackendError

VIT = "visual_tokenizer.vit.vision_model."
# The longest prefix that fits is the one.
PREFIXES = {
    "model.language_model.": "llm.model.",
    "lm_head.": "llm.lm_head.",
    "model.visual_embeddings_table.": "vte.",
    "model.visual_tokenizer.head_linear.": "visual_tokenizer.head.0.",
    "model.visual_tokenizer.head_norm.": "visual_tokenizer.head.1.",
    "model.vision_tower.head_linear.": "visual_tokenizer.head.0.",
    "model.vision_tower.head_norm.": "visual_tokenizer.head.1.",
    "model.vision_tower.transformer.": VIT,
    "model.vision_tower.": VIT,
}
UNKNOWN = (
    "{name} is a weight that this app doesn't know: the layout is newer than the app. Choose the Ovis2.5 that was "
    "released, or a newer app."
)


def rename(name: str) -> tuple[str, int, int]:
    """Where a tensor of such a file goes: our name, and which of how many parts it is. Raises BackendError."""
    found = max((prefix for prefix in PREFIXES if name.startswith(prefix)), key=len, default="")
    if not found:
        raise unknown(name)
    return PREFIXES[found] + name.removeprefix(found), 0, 1


def unknown(name: str) -> BackendError:
    """For a tensor that has no place in our module."""
    return BackendError(UNKNOWN.format(name=name[-100:]))

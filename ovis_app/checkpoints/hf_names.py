"""The -hf conversion of Ovis2 (thisisiron/Ovis2-*-hf): its weight names as ours, in our own module.

transformers' own Ovis2 computes other logits than the original, so its files are read here and its code is not used.
"""

from __future__ import annotations

import re

TOWER, OURS = r"^model\.vision_tower\.transformer", "visual_tokenizer.backbone"

# Applied one after the other to every name.
RENAMINGS = (
    (r"^model\.language_model\.", "llm.model."),
    (r"^lm_head\.", "llm.lm_head."),
    (r"^model\.visual_embeddings_table\.", "vte."),
    (r"^model\.vision_tower\.head_linear\.", "visual_tokenizer.head.0."),
    (r"^model\.vision_tower\.head_norm\.", "visual_tokenizer.head.1."),
    (rf"{TOWER}\.embeddings\.patch_embedding\.", f"{OURS}.preprocessor.patchifier.proj."),
    (rf"{TOWER}\.embeddings\.rms_norm\.", f"{OURS}.preprocessor.patchifier.norm."),
    (rf"{TOWER}\.embeddings\.position_embedding\.weight$", f"{OURS}.preprocessor.pos_embed"),
    (rf"{TOWER}\.rms_norm\.", f"{OURS}.trunk.post_trunk_norm."),
    (rf"{TOWER}\.encoder\.layers\.", f"{OURS}.trunk.blocks."),
    (r"\.attention\.out_proj\.", ".attn.proj."),
    (r"\.ffn\.gate_proj\.", ".mlp.fc1."),
    (r"\.ffn\.up_proj\.", ".mlp.fc3."),
    (r"\.ffn\.down_proj\.", ".mlp.fc2."),
    (r"\.rms_norm1\.", ".norm_1."),
    (r"\.rms_norm2\.", ".norm_2."),
)
FUSED = re.compile(r"\.attention\.([qkv])_proj\.(weight|bias)$")


def rename(name: str) -> tuple[str, int, int]:
    """Where a tensor of an -hf file goes: our name, and which of how many equal parts of its rows it is."""
    fused = FUSED.search(name)
    part, parts = ("qkv".index(fused[1]), 3) if fused else (0, 1)
    name = FUSED.sub(r".attn.qkv.\2", name)
    for old, new in RENAMINGS:
        name = re.sub(old, new, name)
    return name, part, parts

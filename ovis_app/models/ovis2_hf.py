"""The -hf conversion of Ovis2 (thisisiron/Ovis2-*-hf): its weight names as ours, in our own module.

transformers' own Ovis2 computes other logits than the original, so its files are read here and its code is not used.
"""

from __future__ import annotations

from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import Concatenate, MergeModulelist, WeightConverter, WeightRenaming

from ovis_app.models.ovis import Ovis

TOWER, OURS = r"model\.vision_tower\.transformer", "visual_tokenizer.backbone"


class OvisFromHF(Ovis):
    """An Ovis2 whose files carry the -hf names: transformers looks the conversion up by the class's name."""


# Applied one after the other to every name.
RENAMINGS = [
    WeightRenaming(old, new)
    for old, new in (
        (r"^model\.language_model\.", "llm.model."),
        (r"^lm_head\.", "llm.lm_head."),
        (r"^model\.visual_embeddings_table\.", "vte."),
        (r"^model\.vision_tower\.head_linear\.", "visual_tokenizer.head.0."),
        (r"^model\.vision_tower\.head_norm\.", "visual_tokenizer.head.1."),
        (rf"^{TOWER}\.embeddings\.patch_embedding\.", f"{OURS}.preprocessor.patchifier.proj."),
        (rf"^{TOWER}\.embeddings\.rms_norm\.", f"{OURS}.preprocessor.patchifier.norm."),
        (rf"^{TOWER}\.rms_norm\.", f"{OURS}.trunk.post_trunk_norm."),
        (rf"^{TOWER}\.encoder\.layers\.", f"{OURS}.trunk.blocks."),
        (r"\.attention\.out_proj\.", ".attn.proj."),
        (r"\.ffn\.gate_proj\.", ".mlp.fc1."),
        (r"\.ffn\.up_proj\.", ".mlp.fc3."),
        (r"\.ffn\.down_proj\.", ".mlp.fc2."),
        (r"\.rms_norm1\.", ".norm_1."),
        (r"\.rms_norm2\.", ".norm_2."),
    )
]
CONVERTERS = [
    WeightConverter(
        [f"attention.{name}_proj.weight" for name in "qkv"],
        "attn.qkv.weight",
        operations=[Concatenate(dim=0)],
    ),
    WeightConverter(
        "model.vision_tower.transformer.embeddings.position_embedding.weight",
        f"{OURS}.preprocessor.pos_embed",
        operations=[MergeModulelist(dim=0)],
    ),
]
register_checkpoint_conversion_mapping(OvisFromHF.__name__, [*RENAMINGS, *CONVERTERS], overwrite=True)

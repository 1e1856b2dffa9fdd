"""The same weights under other names give the same tokens."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ovis_app.checkpoints.load import load

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden" / "ovis2" / "public-a" / "checkpoint"

TO_HF = (
    (r"^llm\.model\.", "model.language_model."),
    (r"^llm\.lm_head\.", "lm_head."),
    (r"^vte\.weight$", "model.visual_embeddings_table.weight"),
    (r"^visual_tokenizer\.head\.0\.", "model.vision_tower.head_linear."),
    (r"^visual_tokenizer\.head\.1\.", "model.vision_tower.head_norm."),
    (r"^visual_tokenizer\.backbone\.preprocessor\.patchifier\.proj\.", "@.embeddings.patch_embedding."),
    (r"^visual_tokenizer\.backbone\.preprocessor\.patchifier\.norm\.", "@.embeddings.rms_norm."),
    (r"^visual_tokenizer\.backbone\.preprocessor\.pos_embed$", "@.embeddings.position_embedding.weight"),
    (r"^visual_tokenizer\.backbone\.trunk\.post_trunk_norm\.", "@.rms_norm."),
    (r"^visual_tokenizer\.backbone\.trunk\.blocks\.(\d+)\.attn\.proj\.", r"@.encoder.layers.\1.attention.out_proj."),
    (r"^visual_tokenizer\.backbone\.trunk\.blocks\.(\d+)\.mlp\.fc1\.", r"@.encoder.layers.\1.ffn.gate_proj."),
    (r"^visual_tokenizer\.backbone\.trunk\.blocks\.(\d+)\.mlp\.fc2\.", r"@.encoder.layers.\1.ffn.down_proj."),
    (r"^visual_tokenizer\.backbone\.trunk\.blocks\.(\d+)\.mlp\.fc3\.", r"@.encoder.layers.\1.ffn.up_proj."),
    (r"^visual_tokenizer\.backbone\.trunk\.blocks\.(\d+)\.norm_(\d)\.", r"@.encoder.layers.\1.rms_norm\2."),
)


def hf_weights(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    out = {}
    for name, tensor in weights.items():
        block = re.match(r"visual_tokenizer\.backbone\.trunk\.blocks\.(\d+)\.attn\.qkv\.weight", name)
        if block:
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                out[f"@.encoder.layers.{block[1]}.attention.{letter}_proj.weight"] = part.contiguous()
            continue
        for old, new in TO_HF:
            name, changed = re.subn(old, new, name)
            if changed:
                break
        else:
            raise AssertionError(f"no -hf name for {name}")
        out[name] = tensor[0] if name.endswith("position_embedding.weight") else tensor
    return {name.replace("@", "model.vision_tower.transformer"): tensor for name, tensor in out.items()}


@pytest.fixture
def hf_folder(tmp_path: Path) -> Path:
    raw = json.loads((GOLDEN / "config.json").read_text())
    visual = raw["visual_tokenizer_config"]
    tower = {k: v for k, v in visual["backbone_config"].items() if v is not None}
    tower |= {"hidden_stride": visual["hidden_stride"], "vocab_size": visual["vocab_size"]}
    config = {
        "model_type": "ovis2",
        "text_config": raw["llm_config"],
        "vision_config": {**tower, "model_type": "ovis2"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(hf_weights(load_file(GOLDEN / "model.safetensors")), tmp_path / "model.safetensors")
    shutil.copy(GOLDEN / "preprocessor_config.json", tmp_path)
    return tmp_path


def test_golden_hf_layout_computes_the_same(hf_folder: Path) -> None:
    ours, theirs = load(GOLDEN), load(hf_folder)
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name
    tiles = torch.linspace(-1, 1, 2 * 3 * 56 * 56).view(2, 3, 56, 56)
    with torch.inference_mode():
        assert torch.equal(ours.encode(tiles), theirs.encode(tiles))

"""The same weights under other names give the same tokens."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ovis_app import zoo
from ovis_app.checkpoints.checkpoint import Checkpoint
from ovis_app.checkpoints.load import load
from ovis_app.errors import BackendError
from ovis_app.models.config import OvisConfig
from tests.engine.driven import SHORT
from tests.engine.engines import engine_over
from tests.engine.prompts import Tiny, tiny

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


def hf(folder: Path) -> Path:
    """The golden Ovis2 as that layout has it, but for its tokenizer, into a folder that is there."""
    raw = json.loads((GOLDEN / "config.json").read_text())
    visual = raw["visual_tokenizer_config"]
    tower = {k: v for k, v in visual["backbone_config"].items() if v is not None}
    tower |= {"hidden_stride": visual["hidden_stride"], "vocab_size": visual["vocab_size"]}
    config = {
        "model_type": "ovis2",
        "text_config": raw["llm_config"],
        "vision_config": {**tower, "model_type": "ovis2"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file(hf_weights(load_file(GOLDEN / "model.safetensors")), folder / "model.safetensors")
    shutil.copy(GOLDEN / "preprocessor_config.json", folder)
    return folder


@pytest.fixture
def hf_folder(tmp_path: Path) -> Path:
    return hf(tmp_path)


def test_golden_hf_layout_computes_the_same(hf_folder: Path) -> None:
    ours, theirs = load(GOLDEN), load(hf_folder)
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name
    tiles = torch.linspace(-1, 1, 2 * 3 * 56 * 56).view(2, 3, 56, 56)
    with torch.inference_mode():
        assert torch.equal(ours.encode(tiles), theirs.encode(tiles))


STAGES = {  # of a layout that isn't released yet: our name's beginning, and theirs
    "one": {
        "visual_tokenizer.head.0.": "model.visual_tokenizer.head_linear.",
        "visual_tokenizer.head.1.": "model.visual_tokenizer.head_norm.",
        "visual_tokenizer.vit.vision_model.": "model.vision_tower.",
    },
    "another": {
        "visual_tokenizer.head.0.": "model.vision_tower.head_linear.",
        "visual_tokenizer.head.1.": "model.vision_tower.head_norm.",
        "visual_tokenizer.vit.vision_model.": "model.vision_tower.transformer.",
    },
}
ALWAYS = {"llm.model.": "model.language_model.", "llm.lm_head.": "lm_head.", "vte.": "model.visual_embeddings_table."}
OVIS2_5 = GOLDEN.parents[2] / "ovis2.5" / "public-a" / "checkpoint"


def native(folder: Path, stage: str = "one") -> Path:
    """The golden Ovis2.5 as that layout has it, without a norm that nobody applies."""
    shutil.copytree(OVIS2_5, folder)
    raw = json.loads((folder / "config.json").read_text())
    tower = {key: value for key, value in raw.pop("vit_config").items() if key != "fullatt_block_indexes"}
    tower |= {"model_type": "ovis2_5_vision", "vocab_size": raw["visual_vocab_size"]}
    tower |= {"layer_types": ["full_attention"] * tower["num_hidden_layers"]}
    config = {"model_type": "ovis2_5", "text_config": raw["llm_config"], "vision_config": tower}
    (folder / "config.json").write_text(json.dumps(config))
    names, weights = STAGES[stage] | ALWAYS, {}
    for name, tensor in load_file(OVIS2_5 / "model.safetensors").items():
        begin = next(begin for begin in names if name.startswith(begin))
        if "post_layernorm" not in name:
            weights[names[begin] + name.removeprefix(begin)] = tensor
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_golden_native_layout_answers_the_same(stage: str, tmp_path: Path) -> None:
    ours, theirs = tiny("ovis2.5"), load(native(tmp_path / "native", stage))
    assert theirs.config.family == "ovis2_5" and zoo.resolve(str(tmp_path / "native")).thinking
    written = ours.written([("What is it?", (("image", 1),))], thinking=True)
    again = Tiny(theirs, ours.prompts)
    assert torch.equal(again.seen("image", 1)[1], ours.seen("image", 1)[1])
    with engine_over(theirs) as driven:
        assert driven.generate(written, SHORT).tolist() == ours.plain(written, SHORT)


def test_windows_of_the_native_layout_are_those_of_the_released_one() -> None:
    raw = json.loads((OVIS2_5 / "config.json").read_text())
    tower = raw["vit_config"] | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
    config = {
        "model_type": "ovis2_5",
        "text_config": raw["llm_config"],
        "vision_config": tower,
        "visual_vocab_size": 128,
    }
    assert OvisConfig.from_released(config).vision_config["fullatt_block_indexes"] == "1"


@pytest.mark.parametrize("name", ["model.connector.weight", "model.vision_tower.encoder.layers.0.norm.weight", "x"])
def test_a_name_that_moved_is_said(name: str, tmp_path: Path) -> None:
    folder = native(tmp_path / "native")
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, name: torch.zeros(3)}, folder / "model.safetensors")
    with pytest.raises(BackendError, match=f"^{re.escape(name)} is a weight that this app doesn't know: .*newer app.$"):
        Checkpoint.read(folder, "native")

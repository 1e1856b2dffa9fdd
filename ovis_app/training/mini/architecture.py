"""What Ovis-mini is made of: its config in the released layout, its picture sizes, and how a checkpoint is written.

Knows sizes and files. Refuses to know what the model learns or how.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from ovis_app.models.config import OvisConfig
from ovis_app.models.ovis import Ovis
from ovis_app.models.preprocess.native_resolution import patches
from ovis_app.models.preprocess.pixel_format import PixelFormat
from ovis_app.models.preprocess.values import Grid

PATCH, STRIDE = 16, 2
IMAGE_PIXELS = 256 * 256  # least and most: every picture becomes about 64 visual tokens
CLIP_PIXELS = 128 * 128  # of one frame: about 16 visual tokens
FRAMES = 8
PIXELS = PixelFormat(Image.Resampling.BILINEAR)  # as the released 2.5 says
SAME_WAY = 0.9  # cosine of two rows that nothing told apart
ASIDE = 0.3  # how much of their common direction, which keeps them from being said, such rows keep
HEAD_GAIN = 4.0  # of the head's LayerNorm: the softmax over the visual words must not start flat

LLM = {
    "model_type": "qwen3", "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 5,
    "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 32, "hidden_act": "silu",
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-06, "rope_theta": 10000, "tie_word_embeddings": True,
    "attention_bias": False, "attention_dropout": 0.0, "initializer_range": 0.02, "use_cache": True,
}  # fmt: skip
TOWER = {
    "model_type": "siglip2_navit", "hidden_size": 160, "intermediate_size": 480, "num_hidden_layers": 5,
    "num_attention_heads": 5, "num_channels": 3, "num_patches": -1, "image_size": 224, "patch_size": PATCH,
    "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-06, "hidden_stride": STRIDE, "window_size": 112,
    "fullatt_block_indexes": None, "temporal_patch_size": 1, "preserve_original_pe": True, "use_rope": True,
    "attention_dropout": 0.0,
}  # fmt: skip
VISUAL_VOCABULARY = 1276
TINY: dict[str, Any] = {
        "llm": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
                "num_key_value_heads": 1, "head_dim": 16},
        "tower": {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        "words": 32}  # fmt: skip


def released_config(*, tokens: int, end: int, pad: int, tiny: bool = False) -> dict[str, Any]:
    """config.json's content for a vocabulary of `tokens` entries, in the layout of the released checkpoints."""
    llm = {**LLM, **(TINY["llm"] if tiny else {}), "vocab_size": tokens, "bos_token_id": pad, "eos_token_id": end}
    return {
        "architectures": ["Ovis2_5"],
        "auto_map": {
            "AutoConfig": "configuration_ovis2_5.Ovis2_5_Config",
            "AutoModelForCausalLM": "modeling_ovis2_5.Ovis2_5",
        },
        "model_type": "ovis2_5",
        "conversation_formatter_class": "Qwen3ConversationFormatter",
        "hidden_size": llm["hidden_size"],
        "llm_config": {"architectures": ["Qwen3ForCausalLM"], **llm},
        "tie_word_embeddings": True,
        "torch_dtype": "float16",
        "visual_vocab_size": TINY["words"] if tiny else VISUAL_VOCABULARY,
        "vit_config": {**TOWER, **(TINY["tower"] if tiny else {})},
    }


def new_model(config: dict[str, Any], seed: int = 0) -> Ovis:
    """An untrained model whose visual half starts as the training needs it."""
    torch.manual_seed(seed)
    model = Ovis(OvisConfig.from_released(config))
    for module in model.visual_tokenizer.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.5 / module.in_features**0.5)
    nn.init.constant_(model.visual_tokenizer.head[1].weight, HEAD_GAIN)
    positions = model.visual_tokenizer.vit.vision_model.embeddings.position_embedding.weight
    positions.data.copy_(_smooth_positions(*positions.shape))
    nn.init.normal_(model.vte.weight, std=1.0)
    nn.init.normal_(model.llm.get_input_embeddings().weight, std=0.04)
    return model


def grown(old: Ovis, config: dict[str, Any], *, seed: int = 0) -> Ovis:
    """A model of this config that says what the old one says. Its tower may have more layers, which begin as nothing,
    and its visual vocabulary more words, which begin as doubles of those that are used most. Rows of the text
    vocabulary that nothing taught, and that training pushed aside together, begin apart again."""
    model = new_model(config, seed)
    weights = model.state_dict()
    weights |= {name: w.clone() for name, w in old.state_dict().items() if weights[name].shape == w.shape}
    _nothing_yet(weights, old)
    _doubles(weights, old)
    rows = weights["llm.model.embed_tokens.weight"]
    lost = unlearnt(rows)
    if lost.any():
        apart = torch.randn(int(lost.sum()), rows.shape[1]) * rows[~lost].std()
        rows[lost] = rows[lost].mean(dim=0) * ASIDE + apart
    weights["llm.lm_head.weight"] = rows
    model.load_state_dict(weights)
    return model


def unlearnt(rows: Tensor) -> Tensor:
    """Which rows of a vocabulary nothing taught: they point where a tenth of all rows point."""
    directions = torch.nn.functional.normalize(rows.float(), dim=1)
    return (directions @ directions.T > SAME_WAY).sum(dim=1) > len(rows) // 10


def _nothing_yet(weights: dict[str, Tensor], old: Ovis) -> None:
    """The last products of the tower's new layers are 0, so that what comes in goes out."""
    for name, weight in weights.items():
        new = ".layers." in name and name.startswith("visual_tokenizer") and name not in old.state_dict()
        if new and (".out_proj." in name or ".fc2." in name):
            weight.zero_()


def _doubles(weights: dict[str, Tensor], old: Ovis) -> None:
    """New visual words take the place behind the old ones and before the indicators. A word and its double share its
    chance, and differ a little, so that they can part."""
    head, gain, shift = (f"visual_tokenizer.head.{name}" for name in ("0.weight", "1.weight", "1.bias"))
    before, words = old.words.detach(), len(weights[head])
    more = words - len(before)
    # How far a word's logits reach says how much it is used.
    used = (old.state_dict()[gain].abs() * old.state_dict()[head].norm(dim=1)).topk(more).indices
    for name in (head, gain, shift):
        known = old.state_dict()[name].clone()
        weights[name] = torch.cat((known, known[used]))
    weights[shift][used] -= math.log(2)
    weights[shift][len(before) :] -= math.log(2)
    weights[head][len(before) :] += torch.randn_like(weights[head][len(before) :]) * weights[head].std() * 0.1
    double = before[used] + torch.randn_like(before[used]) * before.std() * 0.1
    weights["vte.weight"] = torch.cat((before, double, old.indicators.detach()))


def _smooth_positions(places: int, size: int) -> Tensor:
    """Starting rows for the position table: mixed waves of both axes, so that it says where a patch is from the start
    and still does when it is resized."""
    side = round(places**0.5)
    line = (torch.arange(side, dtype=torch.float32) + 0.5) / side
    turns = torch.tensor([0.25, 0.5, 1.0, 2.0, 3.0]) * 2 * torch.pi * line[:, None]
    waves = torch.cat((turns.sin(), turns.cos()), dim=1)  # [side, 10]
    down, across = waves[:, None].expand(side, side, -1), waves[None].expand(side, side, -1)
    features = torch.cat((down, across), dim=2).reshape(places, -1)
    return features @ torch.randn(features.shape[1], size) * 0.1


def look(frames: list[Image.Image], *, clip: bool = False) -> tuple[Tensor, Grid]:
    """Patch rows and grid of an image, or of a clip's frames, at mini's recommended size."""
    pixels = CLIP_PIXELS if clip else IMAGE_PIXELS
    return patches(frames, PIXELS, patch_size=PATCH, stride=STRIDE, min_pixels=pixels, max_pixels=pixels)


def visual_tokens(grid: Grid) -> int:
    frames, rows, columns = grid
    return frames * rows * columns // STRIDE**2


def released_weights(model: Ovis) -> dict[str, Tensor]:
    """The weights in float16 under the released names; the tied output layer is left out."""
    kept = {name: value for name, value in model.state_dict().items() if name != "llm.lm_head.weight"}
    return {name: value.detach().to(torch.float16).contiguous().clone() for name, value in kept.items()}


def save(model: Ovis, config: dict[str, Any], folder: Path) -> None:
    """Writes config, weights, generation_config and preprocessor_config; the tokenizer writes its own files."""
    folder.mkdir(parents=True, exist_ok=True)
    end, pad = config["llm_config"]["eos_token_id"], config["llm_config"]["bos_token_id"]
    _write(folder / "config.json", config)
    _write(
        folder / "generation_config.json",
        {"do_sample": False, "bos_token_id": pad, "eos_token_id": [end, pad], "pad_token_id": pad},
    )
    _write(
        folder / "preprocessor_config.json",
        {
            "do_normalize": True, "do_rescale": True, "do_resize": True,
            "image_mean": list(PIXELS.mean), "image_std": list(PIXELS.std),
            "image_processor_type": "SiglipImageProcessor", "resample": int(PIXELS.resample),
            "rescale_factor": PIXELS.rescale_factor,
            "size": {"height": 256, "width": 256}, "min_pixels": IMAGE_PIXELS, "max_pixels": IMAGE_PIXELS,
            "video_min_pixels": CLIP_PIXELS, "video_max_pixels": CLIP_PIXELS, "frames": FRAMES,
        },
    )  # fmt: skip
    partial = folder / "model.safetensors.partial"
    save_file(released_weights(model), partial, metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.replace(folder / "model.safetensors")


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

"""Attention within segments is attention under a mask, whichever way it is computed, and pictures may go together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ovis_app.checkpoints.load import load
from ovis_app.models import ovis
from ovis_app.models.families.table import FAMILIES
from ovis_app.models.preprocess.values import Visual
from ovis_app.models.vision import segment_attention
from ovis_app.models.vision.segment_attention import Segments, attend
from ovis_app.models.vision.siglip2_navit import NaViT, NaViTConfig, rotary, rotate

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"
CPU = torch.device("cpu")


def masked(query: Tensor, key: Tensor, value: Tensor, names: Tensor) -> Tensor:
    """Attention where two patches see each other if their `names` are equal."""
    states = (tensor.transpose(0, 1)[None] for tensor in (query, key, value))
    out = F.scaled_dot_product_attention(*states, attn_mask=names[:, None] == names[None])
    return out[0].transpose(0, 1)


def states(patches: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(patches, 4, 8, generator=generator) for _ in range(3)]


@pytest.mark.parametrize("lengths", [[6], [4, 4, 4], [4, 9, 4, 1, 9], [1, 2, 3]])
def test_segments_see_only_themselves(lengths: Sequence[int]) -> None:
    names = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    query, key, value = states(sum(lengths))
    found = attend(query, key, value, Segments.of(lengths, CPU))
    torch.testing.assert_close(found, masked(query, key, value, names), atol=1e-5, rtol=1e-5)


def test_on_a_gpu_mixed_lengths_are_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def varlen(query: Tensor, key: Tensor, value: Tensor, ends: Tensor, same: Tensor, most: int, too: int) -> Tensor:
        assert ends.dtype == same.dtype == torch.int32 and ends.tolist() == [0, 4, 13, 17] and most == too == 9
        calls.append(1)
        return masked(query, key, value, torch.bucketize(torch.arange(17), ends[1:], right=True))

    query, key, value = states(17)
    expected = attend(query, key, value, Segments.of([4, 9, 4], CPU))
    monkeypatch.setattr(segment_attention, "varlen", varlen)
    monkeypatch.setattr(segment_attention, "can_vary", lambda states: True)
    torch.testing.assert_close(attend(query, key, value, Segments.of([4, 9, 4], CPU)), expected, atol=1e-5, rtol=1e-5)
    assert calls == [1]
    attend(query[:16], key[:16], value[:16], Segments.of([8, 8], CPU))
    assert calls == [1], "equal lengths are a plain batch"


def test_only_half_precision_on_a_gpu_varies() -> None:
    assert not segment_attention.can_vary(torch.zeros(1, dtype=torch.bfloat16))


@pytest.mark.parametrize("full", [None, "1", "0|2"])
def test_window_layers_see_a_window_and_full_layers_a_frame(full: str | None) -> None:
    torch.manual_seed(1)
    config = NaViTConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, window_size=64,
        fullatt_block_indexes=full,
    )  # fmt: skip
    tower = NaViT(config)
    for weight in tower.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    grids = [(2, 6, 10), (1, 4, 14)]  # windows of 2 x 2 merged patches, cut at the edges
    pixels = torch.randn(2 * 60 + 56, config.patch_values)
    frames, windows = [], []
    for number, (count, rows, columns) in enumerate(grids):
        for frame in range(count):
            for top in range(rows // 2):
                for left in range(columns // 2):
                    frames += [number * 10 + frame] * 4
                    windows += [((number * 10 + frame) * 100 + top // 2) * 100 + left // 2] * 4
    hidden = tower.vision_model.embeddings(pixels, grids)
    turn = rotary(grids, 8, 2, CPU)
    for layer_number, layer in enumerate(tower.vision_model.encoder.layers):
        attention, normed = layer.self_attn, layer.layer_norm1(hidden)
        query, key, value = (getattr(attention, name)(normed).view(-1, 4, 8) for name in ("q_proj", "k_proj", "v_proj"))
        names = torch.tensor(frames if config.is_full(layer_number) else windows)
        mixed = masked(rotate(query, *turn), rotate(key, *turn), value, names)
        hidden = hidden + attention.out_proj(mixed.flatten(1))
        hidden = hidden + layer.mlp(layer.layer_norm2(hidden))
    expected = hidden.view(-1, tower.feature_size)
    torch.testing.assert_close(tower(pixels, grids), expected, atol=1e-3, rtol=1e-3)


def picture(width: int, height: int) -> Visual:
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    return Visual("image", (image,), max_pixels=128 * 128, max_partition=4)


@pytest.mark.parametrize("family", ["ovis2.5", "ovis2", "ovis1.6"])
@pytest.mark.parametrize("patches", [24, 3 * ovis.TILE, 10**6])
def test_pictures_encoded_together_are_the_same(monkeypatch: pytest.MonkeyPatch, family: str, patches: int) -> None:
    model = load(GOLDEN / family / "public-a" / "checkpoint")
    monkeypatch.setattr(ovis, "CPU_PATCHES", patches)
    visuals = [picture(90, 70), picture(60, 130), picture(90, 70), picture(33, 33)]
    pictures = [FAMILIES[model.config.family].pixels(model.config, visual) for visual in visuals]
    with torch.inference_mode():
        together = model.encode_many(pictures)
        assert model.encode_many([]) == ()
        assert len(together) == len(pictures)
        for pixels, found in zip(pictures, together, strict=True):
            torch.testing.assert_close(found, model.encode(pixels.values, pixels.grids), atol=1e-5, rtol=1e-5)
            assert found.untyped_storage().nbytes() == found.nbytes, "a forgotten picture must free its memory"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_variable_lengths_on_a_gpu_are_the_same() -> None:
    lengths = [64, 144, 16, 256]
    query, key, value = (tensor.to("cuda", torch.bfloat16) for tensor in states(sum(lengths)))
    names = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths)).cuda()
    found = attend(query, key, value, Segments.of(lengths, query.device))
    torch.testing.assert_close(found, masked(query, key, value, names), atol=0.03, rtol=0.03)


def test_a_build_without_the_kernel_still_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some builds of torch have the function and not what it calls."""

    def absent(*states: Tensor, **options: object) -> Tensor:
        raise RuntimeError("USE_FLASH_ATTENTION was not enabled for build.")

    expected = attend(*states(17), Segments.of([4, 9, 4], CPU))
    monkeypatch.setattr(segment_attention, "runs_flash", lambda device, dtype: True)
    monkeypatch.setattr(segment_attention, "varlen", absent)
    segment_attention.varies.cache_clear()
    try:
        torch.testing.assert_close(attend(*states(17), Segments.of([4, 9, 4], CPU)), expected)
    finally:
        segment_attention.varies.cache_clear()

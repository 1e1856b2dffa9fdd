"""Bounding memory changes no result."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ovis_app.checkpoints.load import load
from ovis_app.models import ovis

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"


@pytest.mark.parametrize("patches", [1, 24, 10**6])
def test_frames_encoded_a_few_at_a_time_are_the_same(monkeypatch: pytest.MonkeyPatch, patches: int) -> None:
    model = load(GOLDEN / "ovis2.5" / "public-a" / "checkpoint")
    grids = [(3, 4, 6), (1, 2, 2), (1, 8, 4)]
    pixels = torch.linspace(-1, 1, (3 * 24 + 4 + 32) * 768).view(-1, 768)
    with torch.inference_mode():
        whole = model.encode(pixels, grids)
        monkeypatch.setattr(ovis, "CPU_PATCHES", patches)
        monkeypatch.setattr(ovis, "SOFTMAX_ROWS", 5)
        torch.testing.assert_close(model.encode(pixels, grids), whole, rtol=0, atol=1e-5)
    assert len(whole) == (3 * 24 + 4 + 32) // 4


def test_tiles_encoded_a_few_at_a_time_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(GOLDEN / "ovis2" / "public-a" / "checkpoint")
    tiles = torch.linspace(-1, 1, 5 * 3 * 56 * 56).view(5, 3, 56, 56)
    with torch.inference_mode():
        whole = model.encode(tiles)
        monkeypatch.setattr(ovis, "CPU_PATCHES", 2 * ovis.TILE)
        torch.testing.assert_close(model.encode(tiles), whole, rtol=0, atol=1e-5)

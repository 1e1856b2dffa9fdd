"""Figures in the page's own pixels, as far as that is a picture that anybody wants to keep."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from ovis_app.reading.figures import cut_out


def size(width: int, height: int, box: tuple[int, int, int, int]) -> tuple[int, int]:
    return Image.open(BytesIO(cut_out(Image.new("RGB", (width, height)), box))).size


def test_a_figure_larger_than_anybody_wants_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ovis_app.reading.figures.PIXELS", 10_000)
    assert size(400, 800, (0, 0, 250, 125)) == (100, 100)
    width, height = size(400, 800, (0, 0, 1000, 1000))
    assert width * height <= 10_000 and (width, height) == (70, 141)
    assert size(70_000, 1, (0, 0, 1000, 1000))[0] < 65_500, "more than a JPEG can have"

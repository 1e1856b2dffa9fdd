"""Products, norms and rotations of a few rows are what torch's own are, however they are computed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ovis_app.engine import row_product
from ovis_app.engine.decode_step import RowNorm, rotated
from ovis_app.engine.row_product import MOST_ROWS, RowProduct


@pytest.mark.parametrize("parts", [1, 3, 6])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 7, MOST_ROWS, MOST_ROWS + 1, 40])
def test_a_product_in_parts_is_the_product(parts: int, bias: bool, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_product, "parts_for", lambda weight: dict.fromkeys(range(1, MOST_ROWS + 1), parts))
    weight, given, to = torch.randn(384, 40), torch.randn(rows, 40), torch.randn(rows, 384)
    product = RowProduct(weight, torch.randn(384) if bias else None)
    whole = F.linear(given, weight, product.bias)
    torch.testing.assert_close(product(given), whole, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(product.added(given, to), to + whole, atol=1e-4, rtol=1e-4)


def test_a_weight_is_read_where_it_lies() -> None:
    """Whoever changes it in place changes the product, cut into parts or not."""
    weight = torch.randn(1024, 192)
    product, given = RowProduct(weight), torch.randn(4, 192)
    weight.zero_()
    assert not product(given).any() and not product(given[:1]).any()


@pytest.mark.parametrize("shape", [(1024, 192), (1326, 192), (320, 256), (70000, 3)])
def test_every_number_of_rows_has_a_way_that_divides_the_weight(shape: tuple[int, int]) -> None:
    found = row_product.parts_for(torch.randn(shape))
    assert set(found) == set(range(1, MOST_ROWS + 1)) and all(shape[0] % parts == 0 for parts in found.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norms_are_those_of_torch(dtype: torch.dtype) -> None:
    weight, values = torch.randn(48).to(dtype), torch.randn(5, 3, 48).to(dtype)
    values[0] = 0
    values[1] *= 1e-4  # where eps counts
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.05, "rtol": 0.02}
    whole = F.rms_norm(values.float(), (48,), weight.float(), 1e-6).to(dtype)
    other = F.rms_norm(values.float(), (48,), None, 1e-6).to(dtype)
    norm, of_heads = RowNorm(weight, eps=1e-6), RowNorm(weight, torch.ones_like(weight), eps=1e-6, heads=(1, 2))
    torch.testing.assert_close(norm(values), whole, **tolerance)
    torch.testing.assert_close(of_heads(values), torch.cat([whole[:, :1], other[:, 1:]], dim=1), **tolerance)
    weight.zero_()
    assert not norm(values).any() and not of_heads(values)[:, :1].any()


def test_halves_are_rotated_by_their_angle() -> None:
    values, angle = torch.randn(2, 3, 8), torch.randn(2, 1, 4)
    sin, cos = angle.sin(), angle.cos()
    found = rotated(values, torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1))
    first, second = values.chunk(2, -1)
    torch.testing.assert_close(found, torch.cat([first * cos - second * sin, second * cos + first * sin], -1))

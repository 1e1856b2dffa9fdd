"""How fast memory is: by the data sheet of a whole card alone, else measured where the copy is made."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ovis_app.models import memory_speed


@pytest.mark.parametrize(
    ("card", "speed"),
    [
        ("NVIDIA H200", 4.8e12),
        ("NVIDIA H100 80GB HBM3", 3.35e12),
        ("NVIDIA H100 NVL", 3.9e12),
        ("NVIDIA H100 PCIe", 2.0e12),
        ("NVIDIA A100-SXM4-40GB", 1.555e12),
        ("NVIDIA L40", 0.864e12),
        ("NVIDIA L4", 0.3e12),
        ("NVIDIA GeForce RTX 4090", 1.008e12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA L4-24Q", None),
        ("NVIDIA GH200 480GB", None),
    ],
)
def test_only_a_whole_card_has_its_data_sheet(card: str, speed: float | None) -> None:
    assert memory_speed.named(card) == speed


def test_the_second_card_is_waited_for_and_given_back_what_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    zeros, heard = torch.zeros, list[Any]()
    monkeypatch.setattr(torch, "zeros", lambda count, *, dtype, device: zeros(1024, dtype=dtype))
    monkeypatch.setattr(torch.cuda, "synchronize", heard.append)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: heard.append("empty"))
    assert memory_speed.measured("cuda:1")
    assert heard == ["cuda:1"] * memory_speed.COPIES + ["empty"]


def test_a_want_of_memory_is_over_some_day(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(device: str) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(memory_speed, "_found", {})
    monkeypatch.setattr(memory_speed, "BLOCK", {"cpu": 1 << 20})
    with monkeypatch.context() as patched:
        patched.setattr(memory_speed, "_copied", full)
        assert memory_speed.bytes_a_second("cpu", still=True) is None
    assert memory_speed.bytes_a_second("cpu", still=True)

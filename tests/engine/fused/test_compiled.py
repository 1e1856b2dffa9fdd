"""Every kernel that a step launches compiles for every kind of card, reads 16 bytes at a time and spills nothing.

Compiled on a CPU, for the shapes of the 2B, the 9B and the 30B-A3B model.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("Triton is for Linux", allow_module_level=True)
pytest.importorskip("triton", reason="Triton isn't installed")

from tests.engine.fused.compiled import Compiled, compiled, launched, launched_with_prompts

TWO = {
    "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 6144, "vocab_size": 151936,
}  # fmt: skip
NINE = TWO | {"hidden_size": 4096, "num_attention_heads": 32, "intermediate_size": 12288}
THIRTY = TWO | {
    "num_attention_heads": 32, "num_key_value_heads": 4, "num_experts": 128, "num_experts_per_tok": 8,
    "moe_intermediate_size": 768, "norm_topk_prob": True,
}  # fmt: skip
LEAST_SHARED = 99 << 10  # bytes of shared memory that a program may take on the smallest of these cards
A_REGISTER_OR_TWO = 16  # bytes on the stack: the assembler spares them where one more program fits then
WEIGHTS = {"product", "experts_gate_up", "experts_down"}  # what reads them
STREAMS = WEIGHTS | {"attend", "attend_chunk"}  # or keys and values
FEW = [(TWO, "2b", 1, 90), (NINE, "9b", 1, 90), (NINE, "9b", 8, 90), (TWO, "2b", 1, 80), (TWO, "2b", 1, 120)]
FEW += [(THIRTY, "30b", 1, 80), (THIRTY, "30b", 1, 90), (THIRTY, "30b", 8, 90), (THIRTY, "30b", 1, 120)]
ALL = [
    (sizes, name, rows, card)
    for sizes, name in ((TWO, "2b"), (NINE, "9b"), (THIRTY, "30b")) for rows in (1, 2, 4, 8) for card in (80, 90, 120)
]  # fmt: skip
REST = [one for one in ALL if one[1:] not in [few[1:] for few in FEW]]


@pytest.mark.parametrize(
    ("sizes", "name", "rows", "card"),
    [*FEW, *(pytest.param(*one, marks=pytest.mark.kernels) for one in REST)],
    ids=lambda value: None if isinstance(value, dict) else str(value),
)
def test_kernels_load_16_bytes_and_spill_nothing(
    sizes: dict[str, int], name: str, rows: int, card: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    heard = launched(sizes, rows, monkeypatch)
    assert STREAMS & {launch.name for launch in heard}
    for launch in heard:
        done = compiled(launch, card, tmp_path)
        assert done.spilled <= A_REGISTER_OR_TWO, launch
        if launch.name in STREAMS:
            assert_wide(done, launch.name)
            # A processor has 65,536 registers: tiles were chosen for four programs of 128 threads at a time, or more.
            assert done.registers <= (128 if rows == 1 else 255)


@pytest.mark.parametrize(
    ("sizes", "card"),
    [(NINE, 90), *(pytest.param(*one, marks=pytest.mark.kernels) for one in ((NINE, 80), (NINE, 120), (TWO, 90)))],
    ids=["9b-90", "9b-80", "9b-120", "2b-90"],
)
def test_kernels_of_prompts_fit_every_card(
    sizes: dict[str, int], card: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    heard = launched_with_prompts(sizes, monkeypatch)
    assert {launch.name for launch in heard} == {"add_and_norm", "place_heads", "attend_chunk", "gate"}
    for launch in heard:
        done = compiled(launch, card, tmp_path)
        assert done.spilled <= A_REGISTER_OR_TWO, launch
        assert done.shared <= LEAST_SHARED, launch
        if launch.name == "attend_chunk":
            assert_wide(done, launch.name)


def assert_wide(done: Compiled, name: str) -> None:
    if name in WEIGHTS:
        weights = [load for load in done.loads if "evict_first" in load]
        assert len(weights) >= 4, "bytes under way come from the tile"
        assert all(".v4.b32" in load for load in weights)
    else:
        assert done.copied.count(16) >= 8
        assert set(done.copied) <= {4, 16}, "4 are a block's number"
        assert done.ahead > 0, "the next tile comes while this one is looked at"

"""What the fused step launches, compiled for a card without one: the launches are overheard on the meta device.

Names of Triton that move between its versions stand here alone.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
from transformers import AutoConfig, AutoModelForCausalLM
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ovis_app.engine.attention.torch_attention import AttentionBatch, Span
from ovis_app.engine.decode_step import DecodeStep
from ovis_app.engine.fused import (
    around_products,
    attention,
    attention_kernels,
    expert_kernels,
    experts,
    launches,
    prefill,
    triton_kernels,
)
from ovis_app.engine.fused.inputs import Inputs
from ovis_app.engine.kv_pool import KVPool

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
TYPES = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.int32: "*i32"}
KERNELS = {
    name: kernel
    for module in (triton_kernels, attention_kernels, expert_kernels)
    for name, kernel in vars(module).items() if hasattr(kernel, "params")
}  # fmt: skip
OPTIONS = ("num_warps", "num_stages")


@dataclass(frozen=True)
class Launch:
    """One kernel with what it was called with: values by parameter, and options of the compiler."""

    name: str
    values: dict[str, Any]
    options: dict[str, int]

    @property
    def source(self) -> ASTSource:
        """As Triton's launcher specialises it: pointers to 16 bytes, and numbers that are multiples of 16."""
        kernel = KERNELS[self.name]
        types, constants, attributes = {}, {}, {}
        for place, parameter in enumerate(kernel.params):
            value = self.values[parameter.name]
            types[parameter.name], aligned = _type(value)
            if parameter.is_constexpr:
                types[parameter.name], constants[parameter.name] = "constexpr", value
            elif aligned and not parameter.do_not_specialize:
                attributes[(place,)] = [["tt.divisibility", 16]]
        return ASTSource(kernel, types, constexprs=constants, attrs=attributes)


def _type(value: Any) -> tuple[str, bool]:
    if isinstance(value, torch.Tensor):
        return TYPES[value.dtype], value.storage_offset() * value.itemsize % 16 == 0
    return ("fp32", False) if isinstance(value, float) else ("i32", value % 16 == 0)


@dataclass(frozen=True)
class Compiled:
    ptx: str
    registers: int
    spilled: int  # bytes of each thread that lie in memory
    shared: int  # bytes of a program

    @property
    def loads(self) -> list[str]:
        """Loads from the card's memory into registers, as PTX has them."""
        return re.findall(r"ld\.global[\w.:]*", self.ptx)

    @property
    def copied(self) -> list[int]:
        """Bytes of each copy from the card's memory into shared memory."""
        return [int(size, 16) for size in re.findall(r"cp\.async\.c[ag]\.[^,]*,[^,]*, (0x\w+)", self.ptx)]

    @property
    def ahead(self) -> int:
        """Groups of copies that are under way while a loop works."""
        return max(map(int, re.findall(r"cp\.async\.wait_group\s+(\d+)", self.ptx)))


def compiled(launch: Launch, capability: int, folder: Path) -> Compiled:
    done = triton.compile(launch.source, target=GPUTarget("cuda", capability, 32), options=launch.options)
    cubin = folder / "kernel.cubin"
    cubin.write_bytes(done.asm["cubin"])
    said = subprocess.run([TOOLS / "cuobjdump", "-res-usage", cubin], capture_output=True, text=True, check=True).stdout
    used = {name: int(number) for name, number in re.findall(r"(REG|STACK|LOCAL):(\d+)", said)}
    return Compiled(done.asm["ptx"], used["REG"], used["STACK"] + used["LOCAL"], done.metadata.shared)


class Overheard:
    """In a kernel's place: keeps what it is called with."""

    def __init__(self, name: str, heard: list[Launch]) -> None:
        self.name, self.heard = name, heard

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return partial(self._call, grid)

    def _call(self, grid: tuple[int, ...], *values: Any, **named: Any) -> None:
        assert all(0 < size < 2**16 for size in grid[1:]), "more programs than a card takes"
        options = {name: named.pop(name) for name in OPTIONS if name in named}
        names = [parameter.name for parameter in KERNELS[self.name].params]
        self.heard.append(Launch(self.name, dict(zip(names, values, strict=False)) | named, options))


def launched(sizes: dict[str, int], rows: int, monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    """All launches of a step for that many rows with a Qwen 3 of one layer in bfloat16, each once."""
    heard = listening(monkeypatch)
    with torch.inference_mode():
        step = nowhere(sizes)
        at = Inputs(rows, blocks=256, device=torch.device("meta"))
        everything = launches.Launches(step, most_rows=max(rows, 8), processors=132)
        for _ in everything.of(at, KVPool(step.llm, 256, 16)):
            pass
    return list({str(launch.source.hash()): launch for launch in heard}.values())


def launched_with_prompts(sizes: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    """The same of a step with a prompt's beginning and somebody's next token."""
    heard, rows = listening(monkeypatch), torch.empty(301, sizes["hidden_size"], dtype=torch.bfloat16)
    with torch.inference_mode():
        step = nowhere(sizes)
        spans = [Span(0, 300, 300, 0, None), Span(300, 1, 1000, 320, None)]
        batch = AttentionBatch(KVPool(step.llm, 256, 16), torch.zeros(301).long(), spans)
        prefill.FusedPrefill(step)(rows.to("meta"), torch.zeros(301).long(), batch, torch.zeros(2).long().to("meta"))
    return list({str(launch.source.hash()): launch for launch in heard}.values())


def nowhere(sizes: dict[str, int]) -> DecodeStep:
    """A Qwen 3 of one layer in bfloat16, without memory."""
    family = "qwen3_moe" if "num_experts" in sizes else "qwen3"
    config = AutoConfig.for_model(family, num_hidden_layers=1, **sizes)
    with torch.device("meta"):
        llm = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    return DecodeStep(llm, context=4096)


def listening(monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    """What is launched from now on, in the kernels' place."""
    heard: list[Launch] = []
    overheard = {name: Overheard(name, heard) for name in KERNELS}
    for one in (around_products, attention, experts, launches):
        monkeypatch.setattr(one, "kernels", type("Kernels", (), overheard))
    return heard

"""A language model's Linear modules in 8 or 4 bits, by bitsandbytes: int8 is LLM.int8, int4 is NF4 in blocks of 64.

Each is quantized as it is read, so that the whole is never there in full, and some rows at a time: quantizing takes 16
bytes a weight, which the allocator keeps once they are freed. The visual tokenizer, both embedding tables and the head
keep their precision: they are what pictures and words pass through once.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from ovis_app.errors import BackendError

BLOCK, ROWS = 64, 32  # sizes are multiples of these: values with one scale, and rows that are packed together
PIECE = 2**20  # weights that are quantized at a time
MISSING = "Quantizing needs bitsandbytes: pip install bitsandbytes, or drop --quantize."
THRESHOLD = 6.0  # activations above it are multiplied unquantized (https://arxiv.org/abs/2208.07339)


def linears(llm: nn.Module) -> dict[str, nn.Linear]:
    """The modules that may be quantized, by their names in the language model: all of the layers' whose sizes the
    kernels take. Those of every released model do."""
    found = {name: module for name, module in llm.named_modules() if isinstance(module, nn.Linear)}
    return {
        name: module
        for name, module in found.items()
        if name.rpartition(".")[2] != "lm_head" and module.in_features % BLOCK == 0 and module.out_features % ROWS == 0
    }


@dataclass(frozen=True)
class Storage:
    """Where a quantized weight and its scales will be. On a processor memory is taken for all of them before the first
    is quantized: what that takes in between would leave holes, which stay with the process."""

    values: Tensor
    scales: Tensor

    @classmethod
    def of(cls, shape: Sequence[int], bits: str, device: str) -> Storage:
        outputs, inputs = shape
        with torch.device("cpu" if device == "cpu" else "meta"):
            if bits == "int8":
                return cls(torch.empty(outputs, inputs, dtype=torch.int8), torch.empty(outputs, dtype=torch.float32))
            count = outputs * inputs
            scales = torch.empty(count // BLOCK, dtype=torch.float32)
            return cls(torch.empty(count // 2, 1, dtype=torch.uint8), scales)

    def on(self, device: torch.device) -> Storage:
        """The same there."""
        if self.values.device == device:
            return self
        return Storage(torch.empty_like(self.values, device=device), torch.empty_like(self.scales, device=device))


def prepare(llm: nn.Module, bits: str, device: str) -> dict[str, Storage]:
    """Replaces the Linear modules by quantized ones without weights. Returns the storage of their weights, by the
    weights' names. Raises BackendError."""
    if device == "mps":
        raise BackendError(f"Quantization to {bits} needs a CPU or an NVIDIA GPU: use --quantize none here.")
    found = linears(llm)
    for name in found:
        parent, _, child = name.rpartition(".")
        setattr(llm.get_submodule(parent), child, _module(found[name], bits))
    shapes = {name: (linear.out_features, linear.in_features) for name, linear in found.items()}
    found.clear()  # and what was theirs
    return {f"{name}.weight": Storage.of(shape, bits, device) for name, shape in shapes.items()}


def put(module: nn.Module, weight: Tensor, storage: Storage, device: torch.device) -> None:
    """Gives a module made by `prepare` its weight [out, in], which is quantized on its way to the device. Takes none of
    `weight`'s memory."""
    bnb, storage = library(), storage.on(device)
    pieces = (piece.to(device) for piece in weight.split(max(PIECE // weight.shape[1], 1)))
    if isinstance(module, bnb.nn.Linear4bit):
        options: dict[str, Any] = {"quant_type": "nf4", "blocksize": BLOCK}
        state = _in_4_bits(pieces, storage, options)
        kept = bnb.functional.QuantState(
            absmax=storage.scales, shape=weight.shape, code=state.code, dtype=weight.dtype, **options
        )
        options |= {"requires_grad": False, "compress_statistics": False, "bnb_quantized": True}
        module.weight = bnb.nn.Params4bit(storage.values, quant_state=kept, module=module, **options)
        module.quant_state = kept
    else:
        _in_8_bits(pieces, storage)
        options = {"requires_grad": False, "has_fp16_weights": False}
        module.weight = bnb.nn.Int8Params(storage.values, CB=storage.values, SCB=storage.scales, **options)


def _in_8_bits(pieces: Iterable[Tensor], storage: Storage) -> None:
    """A byte a value, with a scale for each row."""
    quantize, begin = library().functional.int8_vectorwise_quant, 0
    for piece in pieces:
        rows = slice(begin, begin := begin + len(piece))
        values, scales, _ = quantize(piece.to(torch.float16))
        storage.values[rows], storage.scales[rows] = values, scales


def _in_4_bits(pieces: Iterable[Tensor], storage: Storage, options: Mapping[str, Any]) -> Any:
    """Two values a byte, with a scale for each block. Returns what the library knows of the last piece."""
    quantize, begin, state = library().functional.quantize_4bit, 0, None
    for piece in pieces:
        end = begin + piece.numel()
        values, state = quantize(piece, compress_statistics=False, **options)
        storage.values[begin // 2 : end // 2] = values
        storage.scales[begin // BLOCK : end // BLOCK] = state.absmax
        begin = end
    return state


def _module(linear: nn.Linear, bits: str) -> nn.Module:
    nothing, has_bias = torch.empty(0), linear.bias is not None
    bnb = library()
    shape = (linear.in_features, linear.out_features)
    with torch.device("meta"):
        if bits == "int4":
            made = bnb.nn.Linear4bit(
                *shape, bias=has_bias, compute_dtype=linear.weight.dtype, compress_statistics=False, quant_type="nf4"
            )
        else:
            made = bnb.nn.Linear8bitLt(*shape, bias=has_bias, has_fp16_weights=False, threshold=THRESHOLD)
    made.weight = type(made.weight)(nothing, requires_grad=False)
    if linear.bias is not None:
        made.bias = linear.bias
    return made


def obstacle(device: str) -> str:
    """Why nothing can be quantized here, as a sentence; imports nothing."""
    if device == "mps":
        return "Quantizing needs a CPU or an NVIDIA GPU: leave the weights as released."
    return MISSING if find_spec("bitsandbytes") is None else ""


def library() -> Any:
    """bitsandbytes, which is imported only by who quantizes, and before anything that imports it otherwise: so it never
    fetches code. Raises BackendError where it is missing."""
    for name in ("autograd._functions", "backends.cpu.ops"):  # a warning for every product
        logging.getLogger(f"bitsandbytes.{name}").setLevel(logging.ERROR)
    try:
        with _without_downloads():
            import bitsandbytes
    except (ImportError, RuntimeError, OSError) as error:
        raise BackendError(MISSING) from error
    return bitsandbytes


@contextmanager
def _without_downloads() -> Iterator[None]:
    """Hides the package `kernels`, also where transformers has imported it: by it, bitsandbytes would fetch compiled
    code from a hub repository and run it."""
    before = sys.modules.get("kernels")
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["kernels"]
        if before is not None:
            sys.modules["kernels"] = before

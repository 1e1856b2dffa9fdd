"""A language model's Linear modules in 8 or 4 bits, by bitsandbytes: int8 is LLM.int8, int4 is NF4 in blocks of 64.

Each is quantized as it is read, so that the whole is never there in full. The visual tokenizer, both embedding tables
and the head keep their precision: they are what pictures and words pass through once.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ovis_app.errors import BackendError

BLOCK, ROWS = 64, 32  # sizes are multiples of these: values with one scale, and rows that are packed together
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


def prepare(llm: nn.Module, bits: str, device: str) -> set[str]:
    """Replaces the Linear modules by quantized ones without weights. Returns their weights' names. Raises
    BackendError."""
    if device == "mps":
        raise BackendError(f"Quantization to {bits} needs a CPU or an NVIDIA GPU: use --quantize none here.")
    found = linears(llm)
    for name in found:
        parent, _, child = name.rpartition(".")
        setattr(llm.get_submodule(parent), child, _module(found[name], bits))
    return {f"{name}.weight" for name in found}


def put(module: nn.Module, weight: Tensor, device: torch.device) -> None:
    """Gives a module made by `prepare` its weight [out, in], which is quantized on its way to the device."""
    kind = type(module.weight)
    options: dict[str, Any] = {"requires_grad": False}
    if isinstance(module, _library().nn.Linear4bit):
        options |= {"quant_type": "nf4", "blocksize": BLOCK, "compress_statistics": False, "module": module}
    else:
        options |= {"has_fp16_weights": False}
    module.weight = kind(weight, **options).to(device)


def _module(linear: nn.Linear, bits: str) -> nn.Module:
    nothing, has_bias = torch.empty(0), linear.bias is not None
    bnb = _library()
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


def _library() -> Any:
    """bitsandbytes, which is imported only by who quantizes. Raises BackendError where it is missing."""
    for name in ("autograd._functions", "backends.cpu.ops"):  # a warning for every product
        logging.getLogger(f"bitsandbytes.{name}").setLevel(logging.ERROR)
    try:
        with _without_downloads():
            import bitsandbytes
    except (ImportError, RuntimeError, OSError) as error:
        raise BackendError("Quantizing needs bitsandbytes: pip install bitsandbytes, or drop --quantize.") from error
    return bitsandbytes


@contextmanager
def _without_downloads() -> Iterator[None]:
    """Hides the package `kernels`: by it, bitsandbytes would fetch compiled code from a hub repository and run it."""
    if "kernels" in sys.modules:
        yield
        return
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["kernels"]

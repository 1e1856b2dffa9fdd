"""Where a model runs and in what precision: what was asked for, or what this machine does best. Loads nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers.utils.import_utils import is_flash_attn_2_available

from ovis_app.errors import BackendError
from ovis_app.zoo import ModelSpec

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FEW_BYTES = 64 << 20  # of a language model, below which a second thread brings a CPU nothing
SMALL = 0.1  # billions of parameters, below which a model takes megabytes, and float32 on a CPU costs nothing


def choose_device(wanted: str) -> str:
    """A torch device for "auto" or a name. Raises BackendError when this machine doesn't have it."""
    kind, _, number = wanted.partition(":")
    have = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if have[name])
    if number and kind != "cuda":
        raise BackendError(f"There is no device {wanted}: only cuda has numbers, as in cuda:1.")
    if int(number or 0) >= have.get(kind, 0):
        raise BackendError(f"This machine has no device {wanted}: use --device auto.")
    return wanted


def choose_dtype(wanted: str, device: str, spec: ModelSpec) -> torch.dtype:
    """ "auto" is bfloat16 where the device computes it fast, else float32."""
    if wanted != "auto":
        return DTYPES[wanted]
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    fast = device == "cpu" and cpu_has_bfloat16() and not 0 < spec.parameters < SMALL
    return torch.bfloat16 if fast else torch.float32


def bytes_held() -> int | None:
    """Bytes that this process holds of all GPUs; None where it uses none."""
    if not torch.cuda.is_initialized():
        return None
    return sum(torch.cuda.memory_reserved(number) for number in range(torch.cuda.device_count()))


@contextmanager
def few_threads(llm: nn.Module) -> Iterator[None]:
    """One thread for a model so small that a CPU computes each product in microseconds: threads then wait for one
    another most of the time, and for as long as something else keeps a core busy."""
    weights = list(llm.parameters())
    threads = torch.get_num_threads()
    if weights[0].device.type != "cpu" or sum(weight.nbytes for weight in weights) > FEW_BYTES:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself (AVX512-BF16, AMX); emulated, it is slower than float32."""
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in questions)


def choose_attention(model_type: str, device: str, dtype: torch.dtype) -> str:
    """The attention implementation of a language model: flash attention where it is installed and runs, else sdpa;
    Gemma 2 caps its attention logits, which sdpa can't."""
    if model_type == "gemma2":
        return "eager"
    flash = is_flash_attn_2_available() and runs_flash(torch.device(device), dtype)  # a card is asked last
    return "flash_attention_2" if flash else "sdpa"


def runs_flash(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether flash attention, whoever wrote it, runs there: in half precision on an NVIDIA GPU from Ampere on."""
    if device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16):
        return False
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)

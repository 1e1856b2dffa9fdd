"""How fast a device's memory is read: of a GPU whose name is known by its data sheet, else by a short copy here.

What a token reads, over that, is how many tokens a second an answer gets at most.
"""

from __future__ import annotations

import time

import torch

# Bytes a second, from data sheets, by a part of the card's name.
BANDWIDTH = {
    "H200": 4.8e12,
    "H100 PCIe": 2.0e12,
    "H100": 3.35e12,
    "A100": 2.0e12,
    "L40S": 0.864e12,
    "L4": 0.3e12,
    "4090": 1.008e12,
}
BLOCK = {"cpu": 1 << 28, "cuda": 1 << 30}  # bytes that are copied
COPIES = 8


def sheet(device: str) -> float | None:
    """Bytes a second by the data sheet of a GPU whose name is known."""
    name = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else ""
    return next((value for part, value in BANDWIDTH.items() if part in name), None)


def measured(device: str, *, most: int = 1 << 40) -> float:
    """Bytes a second that are read and written by a copy here, of `most` bytes at most."""
    kind = torch.device(device).type
    source = torch.zeros(min(BLOCK.get(kind, 1 << 28), most), dtype=torch.int8, device=device)
    goal = torch.zeros_like(source)
    times = []
    for _ in range(COPIES):
        start = time.perf_counter()
        goal.copy_(source)
        if kind != "cpu":  # which is told, and goes on by itself
            (torch.cuda if kind == "cuda" else torch.mps).synchronize()
        times.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(times)


_found: dict[str, float | None] = {}


def bytes_a_second(device: str, *, still: bool) -> float | None:
    """By the data sheet, else measured, once, while nothing else reads that memory: where it isn't `still`, None until
    it was. None also where there is no room for a copy."""
    if device not in _found and still:
        try:
            _found[device] = sheet(device) or measured(device)
        except (RuntimeError, MemoryError):
            _found[device] = None
    return _found.get(device)

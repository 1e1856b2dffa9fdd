"""How fast a device's memory is read: of a GPU whose name is known by its data sheet, else by a short copy here.

What a token reads, over that, is how many tokens a second an answer gets at most. Knows names of whole cards; refuses
to know shares of one, and cards that only begin with the same name: those are measured.
"""

from __future__ import annotations

import re
import time

import torch

# Bytes a second, from data sheets, by words of the card's name; the first row of which it has all.
BANDWIDTH = {
    "H200": 4.8e12,
    "H100 NVL": 3.9e12,
    "H100 PCIe": 2.0e12,
    "H100 HBM3": 3.35e12,
    "A100 80GB PCIe": 1.935e12,
    "A100 80GB": 2.039e12,
    "A100 40GB": 1.555e12,
    "L40S": 0.864e12,
    "L40": 0.864e12,
    "L4": 0.3e12,
    "4090": 1.008e12,
}
OTHERS = re.compile(r"MIG|GRID|Laptop|[0-9]{1,4}[ABCQ]")  # words of shares of a card, and of others by its name
BLOCK = {"cpu": 1 << 28, "cuda": 1 << 30}  # bytes that are copied
COPIES = 8


def sheet(device: str) -> float | None:
    """Bytes a second by the data sheet of a GPU whose name is known."""
    return None if torch.device(device).type != "cuda" else named(torch.cuda.get_device_name(device))


def named(card: str) -> float | None:
    """By a card's name."""
    words = set(re.split(r"[\s-]+", card))
    if any(map(OTHERS.fullmatch, words)):
        return None
    return next((value for row, value in BANDWIDTH.items() if words.issuperset(row.split())), None)


def measured(device: str) -> float | None:
    """Bytes a second that are read and written by a copy here; None where no copy can be made, for want of memory
    mostly. What it took is given back."""
    try:
        return _copied(device)
    except (RuntimeError, MemoryError):  # torch names a want of memory only on some devices
        return None
    finally:
        if torch.device(device).type == "cuda":
            torch.cuda.empty_cache()


def _copied(device: str) -> float:
    kind = torch.device(device).type
    source = torch.zeros(BLOCK.get(kind, 1 << 28), dtype=torch.int8, device=device)
    goal = torch.zeros_like(source)
    times = []
    for _ in range(COPIES):
        start = time.perf_counter()
        goal.copy_(source)
        if kind == "cuda":  # which is told, and goes on by itself
            torch.cuda.synchronize(device)
        elif kind == "mps":
            torch.mps.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(times)


_found: dict[str, float] = {}


def bytes_a_second(device: str, *, still: bool) -> float | None:
    """By the data sheet, else measured, once, while nothing else reads that memory: where it isn't `still`, None until
    it was. None also where there is no room for a copy now."""
    if device not in _found and still:
        speed = sheet(device) or measured(device)
        if speed is not None:
            _found[device] = speed
    return _found.get(device)

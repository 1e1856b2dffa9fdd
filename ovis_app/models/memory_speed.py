"""How fast a device's memory is read: of a GPU whose name is known by its data sheet, else by a short copy here.

What a token reads, over that, is how many tokens a second an answer gets at most.
"""

from __future__ import annotations

import time

import torch

BANDWIDTH = {"H200": 4.8e12, "H100": 3.35e12, "A100": 2.0e12, "L40S": 0.864e12, "L4": 0.3e12, "4090": 1.008e12}
BLOCK = {"cpu": 1 << 28, "cuda": 1 << 30}  # bytes that are copied where no data sheet is known
COPIES = 8


def bandwidth(device: str) -> tuple[float, str]:
    """Bytes a second, and whether that is from a data sheet or measured."""
    kind = torch.device(device).type
    name = torch.cuda.get_device_name(device) if kind == "cuda" else ""
    known = next((value for key, value in BANDWIDTH.items() if key in name), None)
    if known is not None:
        return known, "data sheet"
    source = torch.zeros(BLOCK.get(kind, 1 << 28), dtype=torch.int8, device=device)
    goal = torch.zeros_like(source)
    times = []
    for _ in range(COPIES):
        start = time.perf_counter()
        goal.copy_(source)
        if kind == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(times), "measured"


_found: dict[str, float | None] = {}


def bytes_a_second(device: str, *, still: bool) -> float | None:
    """The same, found once, while nothing else reads that memory: where it isn't `still`, None until it was. None also
    where there is no room for a copy."""
    if device not in _found and still:
        try:
            _found[device] = bandwidth(device)[0]
        except (RuntimeError, MemoryError):
            _found[device] = None
    return _found.get(device)

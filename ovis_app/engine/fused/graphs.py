"""CUDA graphs: what a function launches is recorded once, and launched again as one. They share their memory, so what
one leaves behind holds until any of them is launched again. Knows CUDA; refuses to know what is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Launch = Callable[[], Tensor]


class Graphs:
    """Records functions that allocate on, and launch to, one device, and look at no value."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._pool: Any = None

    @torch.inference_mode()
    def record(self, launch: Launch) -> Launch:
        """The same as `launch`, as a graph. Raises what CUDA raises where it can't be one."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                launch()  # libraries set themselves up in their first call, which can't be recorded
            torch.cuda.current_stream().wait_stream(side)
            # Other threads go on: pictures are encoded meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                out = launch()
        if self._pool is None:
            self._pool = graph.pool()

        def replay() -> Tensor:
            graph.replay()
            return out

        return replay

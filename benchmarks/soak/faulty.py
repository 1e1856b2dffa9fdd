"""The app whose engine runs out of memory as long as a file is there: `python -m benchmarks.soak.faulty FILE ...`.

What a step had made by then is as large as on a card, so that whoever kept the failure kept that, too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from ovis_app import serve
from ovis_app.engine.model_runner import ModelRunner

MADE = 10_000_000  # numbers of four bytes


def main() -> int:
    fault, whole = Path(sys.argv[1]), ModelRunner.run

    def run(self: ModelRunner, *arguments: Any, **options: Any) -> Any:
        if not fault.exists():
            return whole(self, *arguments, **options)
        made = torch.ones(MADE)
        raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {made.numel()} numbers.")

    ModelRunner.run = run  # type: ignore[method-assign]
    return serve.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())

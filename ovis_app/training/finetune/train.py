"""Where training begins: what it needs is there, and libraries are imported in an order in which none fetches code.

Knows which libraries; carry_out.py knows the rest.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec

from ovis_app.checkpoints import bitsandbytes
from ovis_app.errors import BackendError
from ovis_app.training.finetune.plan import Plan


def train(plan: Plan) -> None:
    """Trains as planned. Raises BackendError with a sentence, and KeyboardInterrupt where somebody ended it; what was
    saved before stays."""
    if plan.choices.method == "lora" and find_spec("peft") is None:
        raise BackendError("Fine-tuning an adapter needs peft: pip install -e '.[finetune]', or choose --method full.")
    with suppress(BackendError):  # who doesn't quantize needs none
        bitsandbytes.library()  # first: the Trainer imports peft, peft imports it, and so it could fetch code
    from ovis_app.training.finetune.carry_out import carry_out

    carry_out(plan)

"""A checkpoint that a run goes on from, looked over before a Trainer reads it: who sent the folder may be a stranger.

A Trainer goes by whatever lies there: weights in other formats, a whole model beside an adapter, folders of more
adapters, whose configs name modules that are imported. So nothing may lie there but what training writes, with the
tensors that learn. Pickles are read by `torch.load` with `weights_only`, which runs nothing; what it refuses is a
sentence, too. Refuses to know how it is learnt.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ovis_app.checkpoints.adapter import WEIGHTS
from ovis_app.checkpoints.safetensors import INDEX, Damaged, Stored, Unknown, stored, stored_in
from ovis_app.engine.answer import out_of_memory
from ovis_app.errors import BackendError, UserError
from ovis_app.named_files import printable
from ovis_app.training.finetune.run_folder import STATE_FILE, RunFolder

OF_ALL = r"optimizer\.pt|scheduler\.pt|scaler\.pt|rng_state(?:_\d{1,4})?\.pth|training_args\.bin|trainer_state\.json"
OF_ADAPTERS = re.compile(rf"adapter_model\.safetensors|adapter_config\.json|README\.md|{OF_ALL}")
OF_MODELS = re.compile(
    rf"model(?:-\d{{5}}-of-\d{{5}})?\.safetensors|model\.safetensors\.index\.json|(?:generation_)?config\.json|{OF_ALL}"
)
FIELDS = frozenset(field.name for field in fields(TrainerState))
INTERVALS = ("logging_steps", "eval_steps", "save_steps")
MOST_JSON = 256 * 2**20  # bytes; a state has some lines for each step that was done

BROKEN = "{checkpoint} in {out} is damaged, or not of this run: remove that folder, and {rest}"
STRANGE = "{checkpoint} in {out} holds {name}, which training doesn't write: move that elsewhere, and go on."
BEFORE, ANEW = "the same command goes on from step {step}.", "the same command begins anew."

Shapes = Mapping[str, tuple[int, ...]]


def check(checkpoint: Path, model: nn.Module, folder: RunFolder) -> None:
    """Raises BackendError where something lies in a checkpoint that a Trainer might go by and training didn't write, or
    its state and its tensors aren't those of this run at that step."""
    adapter = hasattr(model, "peft_config")
    known = OF_ADAPTERS if adapter else OF_MODELS
    for found in sorted(checkpoint.iterdir()):
        ours = known.fullmatch(found.name) or found.name.startswith(".")  # what systems leave in folders
        if not (ours and found.is_file()):
            name = printable(found.name)
            raise BackendError(STRANGE.format(checkpoint=checkpoint.name, out=folder.path.name, name=name))
    try:
        tensors = stored_in(checkpoint / WEIGHTS) if adapter else _of_model(checkpoint)
        there = {name: tensor.shape for name, tensor in tensors.items()}
        whole = there == _wanted(model, adapter=adapter) and _fits(_json(checkpoint / STATE_FILE), checkpoint)
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError, Damaged, Unknown) as error:
        raise broken(checkpoint, folder) from error
    if not whole:
        raise broken(checkpoint, folder)


def broken(checkpoint: Path, folder: RunFolder) -> BackendError:
    """What is said of a checkpoint that can't be read."""
    earlier = [step for step, found in folder.checkpoints() if found != checkpoint]
    rest = BEFORE.format(step=earlier[-1]) if earlier else ANEW
    return BackendError(BROKEN.format(checkpoint=checkpoint.name, out=folder.path.name, rest=rest))


def _of_model(checkpoint: Path) -> dict[str, Stored]:
    """Its tensors, in files of this folder alone. Raises Damaged, and what JSON makes of anything."""
    index = checkpoint / INDEX
    if index.exists() and not all(OF_MODELS.fullmatch(name) for name in _json(index)["weight_map"].values()):
        raise ValueError("files of elsewhere")
    return stored(checkpoint)


def _wanted(model: nn.Module, *, adapter: bool) -> Shapes:
    """The tensors that a checkpoint of this model has: of two names of one it has the first."""
    if adapter:
        from peft import get_peft_model_state_dict

        values = get_peft_model_state_dict(model, save_embedding_layers=False)
    else:
        values = model.state_dict()
        for second in getattr(model, "all_tied_weights_keys", {}):
            values.pop(second, None)
    return {name: tuple(value.shape) for name, value in values.items()}


def _json(file: Path) -> Any:
    if file.stat().st_size > MOST_JSON:
        raise ValueError("too large")
    return json.loads(file.read_text(encoding="utf-8"))


def _fits(state: Any, checkpoint: Path) -> bool:
    """Whether that is the state of a run at the step that its checkpoint is named by."""
    if not isinstance(state, dict) or not state.keys() <= FIELDS:
        return False
    whole = [state.get(name) for name in ("global_step", *INTERVALS)]
    numbers = [state.get(name, 0) for name in ("epoch", "total_flos", "num_input_tokens_seen")]
    return (
        all(type(one) is int and one > 0 for one in whole)
        and checkpoint.name == f"checkpoint-{whole[0]}"
        and all(type(one) in (int, float) and math.isfinite(one) for one in numbers)
        and isinstance(state.get("log_history"), list)
        and isinstance(state.get("stateful_callbacks"), dict)
        and state.get("best_model_checkpoint") is None
    )


def _usable(optimizer: Any, scheduler: Any) -> bool:
    """Whether steps can be made with what was read: a Trainer takes it as it is."""
    for group in optimizer.param_groups:
        numbers = [group.get("lr"), group.get("eps"), group.get("weight_decay"), *tuple(group.get("betas") or ())]
        if len(numbers) < 5 or not all(type(one) in (int, float) and math.isfinite(one) for one in numbers):
            return False
        held = [(one, value) for one in group["params"] for value in optimizer.state.get(one, {}).values()]
        if not all(value.dim() == 0 or (value.shape == one.shape and value.is_contiguous()) for one, value in held):
            return False
    rates = scheduler.base_lrs
    return type(scheduler.last_epoch) is int and [type(one) for one in rates] == [float] * len(optimizer.param_groups)


class Reading(TrainerCallback):
    """Knows whether a checkpoint is still being read: until the first step begins. None is where there is none."""

    def __init__(self, checkpoint: Path | None, folder: RunFolder) -> None:
        self._checkpoint, self._folder = checkpoint, folder

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        if self._checkpoint is not None and not _usable(given["optimizer"], given["lr_scheduler"]):
            raise broken(self._checkpoint, self._folder)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        self._checkpoint = None

    @contextmanager
    def in_a_sentence(self) -> Iterator[None]:
        """What goes wrong while it is read is told of the checkpoint. Raises BackendError."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # whatever pickles and states make of a Trainer
            if self._checkpoint is None or isinstance(error, MemoryError) or out_of_memory(error):
                raise
            raise broken(self._checkpoint, self._folder) from error

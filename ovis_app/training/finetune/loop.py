"""transformers' Trainer for a plan: its arguments, what it calls, and what ends it, told in sentences.

Knows the Trainer. The loop, accumulation, checkpoints, and several processes are its; refuses to know consoles.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from ovis_app.engine.answer import out_of_memory
from ovis_app.errors import BackendError, MediaError
from ovis_app.training.finetune import learner
from ovis_app.training.finetune.dataset import Collator, SampleDataset
from ovis_app.training.finetune.plan import Plan
from ovis_app.training.finetune.run_folder import RunFolder

WARM_UP = 0.1  # of the steps, as the original
CLIP = 1.0  # the longest that a gradient is
KEPT = {"lora": 2, "full": 1}  # checkpoints
# Of the errors by which files are written: safetensors' and torch's own say it in words alone.
FULL_WORDS = ("No space left", "Disk quota exceeded", "PytorchStreamWriter", "inline_container", "file write failed")

FULL = "The disk is full: the checkpoint behind step {step} couldn't be saved. Free some space; {rest}"
NO_MEMORY = (
    "The memory was too little at step {step}: lower {what}, and begin anew with another --out. The longest sample is "
    "{longest}."
)
GO_ON = "the same command with --resume goes on from step {step}."
BEGIN = "nothing was saved before, so remove {out} and begin anew."


class Arguments(TrainingArguments):
    """A Trainer's arguments, with one GPU a process: it would cut batches for several, and pixels can't be cut so."""

    @property
    def n_gpu(self) -> int:
        return min(int(super().n_gpu), 1)


def arguments(plan: Plan) -> Arguments:
    """The Trainer's arguments; from here on processes that were launched together know one another. Raises BackendError
    for a GPU that the Trainer wouldn't take."""
    choices, device = plan.choices, plan.placement.device
    if device.startswith("cuda:") and device != "cuda:0":
        number = device.partition(":")[2]
        raise BackendError(f"Training takes the first GPU there is: set CUDA_VISIBLE_DEVICES={number}, not --device.")
    made = Arguments(
        output_dir=str(plan.out),
        per_device_train_batch_size=choices.batch,
        per_device_eval_batch_size=choices.batch,
        gradient_accumulation_steps=choices.accumulate,
        num_train_epochs=choices.epochs,
        learning_rate=max(rate for _, rate in choices.parts),
        lr_scheduler_type="cosine",
        warmup_steps=WARM_UP,
        weight_decay=0.0,
        max_grad_norm=CLIP,
        bf16=plan.placement.dtype == torch.bfloat16,
        fp16=plan.placement.dtype == torch.float16,
        use_cpu=device == "cpu",
        activation_checkpointing=choices.checkpointing,
        seed=choices.seed,
        data_seed=choices.seed,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_total_limit=KEPT[choices.method],
        eval_strategy="steps" if plan.validation else "no",
        prediction_loss_only=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=device.startswith("cuda"),
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        report_to="none",
        log_level="error",
        log_level_replica="error",
    )
    epoch = steps_an_epoch(plan, made.world_size)
    made.eval_steps, made.save_steps = epoch, choices.save_every or epoch
    return made


def steps_an_epoch(plan: Plan, processes: int) -> int:
    batches = math.ceil(len(plan.training) / (plan.choices.batch * processes))
    return math.ceil(batches / plan.choices.accumulate)


class NextEpoch(TrainerCallback):
    """Has each epoch learn from its own old samples, also in a run that goes on."""

    def __init__(self, dataset: SampleDataset) -> None:
        self._dataset = dataset

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self._dataset.epoch = int((state.epoch or 0) + 1e-6)


def trainer(plan: Plan, model: nn.Module, made: Arguments, callbacks: Sequence[TrainerCallback]) -> Trainer:
    """The loop, ready to begin or to go on."""
    optimizer = {"params": learner.groups(model, plan.choices), "lr": made.learning_rate, "weight_decay": 0.0}
    dataset = SampleDataset(plan.training, plan.encoder, plan.later)
    found = Trainer(
        model=model,
        args=made,
        data_collator=Collator(plan.checkpoint.tokenizer.ending.pad),
        train_dataset=dataset,
        eval_dataset=SampleDataset(plan.validation, plan.encoder) if plan.validation else None,
        callbacks=[NextEpoch(dataset), *callbacks],
        optimizer_cls_and_kwargs=(torch.optim.AdamW, optimizer),
    )
    found.remove_callback(PrinterCallback)
    return found


def check_copies(loop: Trainer) -> None:
    """Raises BackendError where processes would share one model: nobody knows how that is written."""
    if loop.is_fsdp_enabled or loop.is_deepspeed_enabled:
        raise BackendError("FSDP and DeepSpeed weren't tried: launch it as accelerate launch --multi_gpu does.")


@contextmanager
def in_sentences(plan: Plan, folder: RunFolder) -> Iterator[None]:
    """What ends a training before its time, for people. What was half saved is removed. Raises BackendError."""
    try:
        yield
    except MediaError as error:  # it went away meanwhile
        raise BackendError(f"A sample can't be read any more: {error} {go_on(folder)}") from error
    except Exception as error:
        step = folder.steps
        if isinstance(error, MemoryError) or out_of_memory(error):
            what = lower(plan)
            raise BackendError(NO_MEMORY.format(step=step + 1, what=what, longest=longest(plan))) from error
        if disk_is_full(error):
            folder.clean()
            raise BackendError(FULL.format(step=step, rest=go_on(folder))) from error
        raise


def go_on(folder: RunFolder) -> str:
    """How to go on, as the end of a sentence."""
    saved = folder.checkpoints()
    return GO_ON.format(step=saved[-1][0]) if saved else BEGIN.format(out=folder.path.name)


def lower(plan: Plan) -> str:
    """What takes less memory, in the words of flags."""
    choices, flags = plan.choices, ["--max-tokens", "--max-pixels"]
    flags += ["--batch"] if choices.batch > 1 else []
    more = [] if choices.checkpointing else ["--checkpointing"]
    more += ["--quantize int4"] if choices.method == "lora" and plan.placement.quantize == "none" else []
    more += ["--method lora"] if choices.method == "full" else []
    return " or ".join(flags) + (f" (or add {' or '.join(more)})" if more else "")


def longest(plan: Plan) -> str:
    """The longest sample of a plan, and its tokens."""
    place = max(range(len(plan.lengths)), key=lambda place: plan.lengths[place].tokens)
    sample = plan.samples[place]
    return f"{sample.id} of {sample.file}, {plan.lengths[place].tokens:,} tokens"


def disk_is_full(error: BaseException) -> bool:
    """Whether an error, or what it came of, says that nothing more can be written."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(found) for words in FULL_WORDS):
            return True
        found = found.__cause__ or found.__context__
    return False

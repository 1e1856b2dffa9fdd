"""A plan carried out: the model learns, says what it does, can be interrupted, and is written down.

Everything is done within one call: pictures that were drawn for it are gone behind it. Knows the order of things.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

from torch import nn
from transformers.utils import logging as transformers_logging

from ovis_app.checkpoints.load import load_weights
from ovis_app.errors import BackendError, UserError
from ovis_app.models.devices import few_threads
from ovis_app.models.ovis import Ovis
from ovis_app.training.finetune import dry_run, learner, loop, mini_samples, results, saved
from ovis_app.training.finetune.examination import Examination, Outcome
from ovis_app.training.finetune.formats import IMAGE, VIDEO
from ovis_app.training.finetune.interruption import Interruption
from ovis_app.training.finetune.plan import Plan
from ovis_app.training.finetune.progress import Progress
from ovis_app.training.finetune.run_folder import NO_FOLDER, RunFolder

Say = Callable[[str], None]


def carry_out(plan: Plan) -> None:
    """Trains as planned. Raises BackendError with a sentence, and KeyboardInterrupt where somebody ended it; what it
    said before is in the folder, and so is the last checkpoint."""
    transformers_logging.disable_progress_bar()
    made, folder = loop.arguments(plan), RunFolder(plan.out)
    leads = made.process_index == 0
    say: Say = _aloud if leads else _silent
    made.distributed_state.wait_for_everyone()  # all have looked at the folder
    with ExitStack() as kept:
        if leads:
            try:
                kept.enter_context(folder.taken(plan))
            except OSError as error:
                raise BackendError(NO_FOLDER.format(out=plan.out.name)) from error
        made.distributed_state.wait_for_everyone()
        for line in dry_run.lines(plan):
            say(line)
        with loop.in_sentences(plan, folder):
            _train(plan, folder, made, say, leads=leads)
        made.distributed_state.wait_for_everyone()


def _train(plan: Plan, folder: RunFolder, made: loop.Arguments, say: Say, *, leads: bool) -> None:
    model = _loaded(plan, str(made.device))
    with few_threads(model.llm):
        examination = Examination.of(plan) if leads else Examination()
        before = _before(examination, model, plan, folder, say)
        learning = learner.prepared(model, plan.choices, plan.tokens)
        say(f"{learner.learnt_parameters(learning):,} parameters learn")
        _learn(plan, folder, learning, made, say, leads=leads)
        if leads:
            for line in _finish(plan, folder, model, learning, examination, before):
                say(line)


def _aloud(line: str) -> None:
    print(line, flush=True)


def _silent(line: str) -> None:
    """Of processes that train together one speaks."""


def _loaded(plan: Plan, device: str) -> Ovis:
    files, placement = plan.checkpoint, replace(plan.placement, device=device)
    return load_weights(files.folder, files.config, files.tensors, placement, adapter=files.adapter)


def _before(examination: Examination, model: Ovis, plan: Plan, folder: RunFolder, say: Say) -> Outcome:
    """What it says before it learns anything; a run that goes on was asked when it began."""
    if not examination:
        return Outcome()
    told = (examination.logged(record["before"]) for record in folder.records() if "before" in record)
    logged = next((one for one in told if one is not None), None)
    if logged is not None:
        return logged
    say(f"asking {examination.number} questions before it learns")
    before = examination.of_model(model, plan.checkpoint)
    folder.record({"step": 0, "before": before.as_json()})
    return before


def _learn(
    plan: Plan, folder: RunFolder, model: nn.Module, made: loop.Arguments, say: Say, *, leads: bool
) -> None:  # fmt: skip
    """Trains the model. Raises BackendError, and KeyboardInterrupt where it was told to end."""
    newest = folder.newest() if plan.resume else None
    if newest is not None:
        saved.check(newest, model, folder)
    if leads and plan.resume:
        folder.go_on_behind(0 if newest is None else folder.checkpoints()[-1][0])
    reading = saved.Reading(newest, folder)
    with Interruption(say) as interruption:
        progress = Progress(folder, interruption.say, loop.longest(plan), writes=leads)
        trainer = loop.trainer(plan, model, made, [progress, interruption, reading])
        loop.check_copies(trainer)
        try:
            with reading.in_a_sentence():
                trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
        except UserError:
            if interruption.asked:  # its signal reached those who read files too
                raise KeyboardInterrupt from None
            raise
        progress.draw()
    if interruption.asked and trainer.state.global_step < trainer.state.max_steps:
        raise KeyboardInterrupt


def _finish(
    plan: Plan, folder: RunFolder, model: Ovis, learning: nn.Module, examination: Examination, before: Outcome
) -> Iterator[str]:  # fmt: skip
    """Writes down what came out, and says how good it is and how it is tried."""
    adapter = results.write_adapter(plan, learning, folder) if plan.choices.method == "lora" else None
    merged = None
    if adapter is None:
        merged = results.write_whole(plan, learning, folder)
    elif plan.choices.merge:
        merged = results.write_merged(plan, adapter, folder)
    if examination:
        yield f"asking {examination.number} questions again"
        after = examination.of_model(model, plan.checkpoint)
        folder.record({"step": folder.steps, "after": after.as_json()})
        yield from examination.told(before, after)
    if merged is not None:
        yield f"the model: {merged}"
        how = ["--model", str(merged)]
    if adapter is not None:
        yield f"the adapter: {adapter}"
        how = ["--model", plan.spec.id, "--adapter", str(adapter)]
    yield f"try it: {shlex.join(['ovis', 'ask', *_question(plan), *how])}"


def _question(plan: Plan) -> list[str]:
    """Words that ask about a sample, of those to judge by if there are any, with its pictures or clip."""
    own = [one for one in (*plan.validation, *plan.training) if one.file != mini_samples.FILE]
    sample = next((one for one in own if not one.frames), own[0])
    words = next(turn.text for turn in sample.turns if turn.role == "human")
    for tag in (IMAGE, VIDEO):
        words = words.replace(tag, "")
    files = [("--video" if media.kind == "video" else "--image", str(media.path)) for media in sample.media]
    return [" ".join(words.split()), *(word for pair in files for word in pair)]

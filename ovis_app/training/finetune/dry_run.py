"""What a plan is, in lines for people: what is learnt from, how long and how much of it, and the memory it will take.

Knows plans. Refuses to know how they come about; loads nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from tokenizers import Tokenizer

from ovis_app.checkpoints.memory_fit import bytes_available
from ovis_app.models.prompt import FIRST_INDICATOR, VISUAL_ATOM
from ovis_app.training.finetune.labels import UNLEARNT, Labelled
from ovis_app.training.finetune.plan import Plan
from ovis_app.training.finetune.samples import Sample

LEARNT = "⟦{}⟧"


def lines(plan: Plan) -> Iterator[str]:
    """Everything that people want to know before they begin."""
    first_epoch = plan.lengths[: len(plan.training)]
    share = sum(length.learnt for length in first_epoch) / sum(length.tokens for length in first_epoch)
    longest = max(range(len(plan.lengths)), key=lambda place: plan.lengths[place].tokens)
    yield f"to learn from: {counted(plan.training)}"
    others = ", others in each epoch" if plan.later else ""
    yield f"of these {plan.old:,} old ones mixed in{others}" if plan.old else "no old ones mixed in"
    yield f"to judge by: {counted(plan.validation)}" if plan.validation else "to judge by: none"
    if plan.skipped:
        yield f"left out, as they can't be used: {plan.skipped:,}"
    if plan.long:
        yield f"left out, as they are longer than {plan.choices.max_tokens:,} tokens: {plan.long:,}"
    yield (
        f"tokens: {plan.median:,} in the median, {plan.lengths[longest].tokens:,} in the longest "
        f"({plan.samples[longest].id}); {share:.1%} of them are learnt"
    )
    first = plan.training[0]
    yield f"{first.id} of {first.file}, what is learnt between {' and '.join(LEARNT.split('{}'))}:"
    marked_text = marked(plan.encoder.outlined(first), plan.checkpoint.tokenizer.decoder)
    yield from (f"  {line}" for line in marked_text.split("\n"))
    yield _method(plan)
    yield _memory(plan)


def counted(samples: Sequence[Sample]) -> str:
    """How many samples there are of which kind."""
    kinds = Counter(sample.kind for sample in samples).most_common()
    each = ", ".join(f"{number:,} {kind if kind == 'text only' else f'with {kind}'}" for kind, number in kinds)
    return f"{len(samples):,} sample{'s' * (len(samples) != 1)} ({each})"


def marked(found: Labelled, decoder: Tokenizer) -> str:
    """A sample as the model gets it: visual tokens as their number, what is learnt in brackets."""
    text = ""
    pairs = list(zip(found.ids, found.labels, strict=True))
    for (seen, learnt), run in groupby(pairs, key=lambda pair: (pair[0] < 0, pair[1] != UNLEARNT)):
        ids = [id for id, _ in run]
        if seen:
            pictures = _pictures(ids)
            text += "".join(f"<{number:,} visual tokens>" for number in pictures)
            continue
        words = decoder.decode(ids, skip_special_tokens=False)
        text += LEARNT.format(words) if learnt else words
    return text


def _pictures(ids: Sequence[int]) -> list[int]:
    """Visual tokens of each picture or clip that stands there, the ids of several one behind the other."""
    numbers = list[int]()
    for id in ids:
        if id in (FIRST_INDICATOR, FIRST_INDICATOR - 2) and (not numbers or id == FIRST_INDICATOR):
            numbers.append(0)
        if id == VISUAL_ATOM:
            numbers[-1] += 1
    return numbers


def _method(plan: Plan) -> str:
    choices = plan.choices
    rates = {rate for _, rate in choices.parts}
    names = [name if len(rates) == 1 else f"{name} at {rate:g}" for name, rate in choices.parts]
    way = f"a LoRA of rank {choices.rank} on" if choices.method == "lora" else "all weights of"
    at = f" at {min(rates):g}" if len(rates) == 1 else ""
    steps = choices.steps(len(plan.training))
    return (
        f"what learns: {way} {', '.join(names)}{at}; {choices.epochs:g} epochs of {choices.batch} x "
        f"{choices.accumulate} samples a step, {steps:,} steps"
    )


def _memory(plan: Plan) -> str:
    device, needed = plan.placement.device, plan.bytes_needed / 1e9
    free = bytes_available(device, plan.placement.gpu_memory)
    advice = plan.advice(free)
    more = f": too little; {advice}" if advice else ""
    return f"memory: about {needed:.1f} GB on {device}, {free / 1e9:.1f} GB are free{more}"

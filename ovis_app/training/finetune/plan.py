"""A fine-tuning that can begin: the model's files, what it learns from, how, and where it goes.

What is wrong with data, flags, memory or the folder shows while a plan is made, before a weight is loaded. Whoever
trains takes a plan. Refuses to know flags and consoles.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ovis_app.backends.local.model_pool import fetch
from ovis_app.checkpoints.checkpoint import Checkpoint
from ovis_app.checkpoints.hub import Progress, no_progress
from ovis_app.checkpoints.memory_fit import bytes_available
from ovis_app.checkpoints.placement import Placement
from ovis_app.conversation import Detail
from ovis_app.errors import DataError, MediaError
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.training.finetune import memory, mini_samples
from ovis_app.training.finetune.choices import Choices
from ovis_app.training.finetune.dataset import Encoder, Length
from ovis_app.training.finetune.entries import sources
from ovis_app.training.finetune.mixing import OWN, Mix, epochs, held_out, others, picked, wanted_number
from ovis_app.training.finetune.samples import Found, Note, Problem, Sample, fingerprint, read, refusal
from ovis_app.training.finetune.visuals import AS_ADVISED, View
from ovis_app.zoo import ModelSpec

OLD_QUESTIONS = 20  # of files of old samples, by which it shows how much is forgotten


@dataclass(frozen=True)
class Data:
    """What is to be learnt from, as it was named. `sets` are those of a datainfo."""

    file: Path
    sets: str = ""
    image_dir: Path | None = None
    mixes: tuple[Mix, ...] = ()
    skip_bad: bool = False
    drop_long: bool = True
    asked: Detail = AS_ADVISED  # how closely files are looked at, where not as the model's row says


@dataclass(frozen=True)
class Loaded:
    """Samples that can be used, before any of them is counted: `old` ones are those that are mixed in, those of each
    epoch behind the ones before."""

    new: tuple[Sample, ...]
    old: tuple[Sample, ...]
    digest: str  # of all that files hold
    skipped: int
    left: tuple[Sample, ...] = ()  # old samples that aren't mixed in


@dataclass(frozen=True)
class Plan:
    """Everything that a training needs. `training` is what the first epoch learns from, `later` what the ones behind it
    do: the same with other old samples in their places. `lengths` are those of `samples`, in order; `long` samples were
    dropped."""

    spec: ModelSpec
    placement: Placement
    checkpoint: Checkpoint
    choices: Choices
    encoder: Encoder
    training: tuple[Sample, ...]
    later: tuple[tuple[Sample, ...], ...]
    validation: tuple[Sample, ...]
    lengths: tuple[Length, ...]
    old: int  # of `training`
    skipped: int
    long: int
    mixes: tuple[Mix, ...]
    digest: str
    out: Path
    resume: bool = False
    tokens: frozenset[int] = frozenset()  # of all samples, visual ones apart
    old_questions: tuple[Sample, ...] = ()  # old samples that nothing is learnt from

    @property
    def facts(self) -> dict[str, Any]:
        """What a run was begun with, as its folder says: one that goes on must agree."""
        return {
            "model": self.spec.public_id,
            "data": self.digest,
            "flags": {
                **self.choices.facts(),
                **asdict(self.encoder.view.asked),
                "quantize": self.placement.quantize,
                "mix": [[mix.source, mix.share] for mix in self.mixes],
            },
        }

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All of `training`, then what else later epochs learn from."""
        return (*self.training, *others(self.training, self.later))

    @property
    def batch(self) -> memory.Batch:
        """The most that a step may hold."""
        rows = min(self.choices.batch, len(self.training))
        longest = max(length.tokens for length in self.lengths)
        return memory.Batch(rows * longest, rows * max(length.learnt for length in self.lengths))

    @property
    def bytes_needed(self) -> int:
        return memory.needed(self.spec, self.checkpoint.config, self.placement, self.choices, self.batch)

    @property
    def median(self) -> int:
        """Tokens of a sample."""
        return round(statistics.median(length.tokens for length in self.lengths[: len(self.training)]))

    def advice(self, free: int) -> str:
        """What to change where it takes more than is free; empty where it doesn't."""
        if self.bytes_needed <= free:
            return ""
        given = (self.spec, self.checkpoint.config, self.placement, self.choices, self.batch)
        return ", or ".join(memory.advice(*given, free)) or "name a smaller model, or use a larger machine"


def placed(spec: ModelSpec, settings: Settings) -> Placement:
    """Where it learns. Raises BackendError for a device that isn't there."""
    return Placement.choose(
        spec,
        device=settings.device,
        dtype=settings.dtype,
        quantize=settings.quantize,
        gpu_memory=settings.gpu_memory,
    )


def load(spec: ModelSpec, data: Data, limits: Limits, folder: Path, choices: Choices, *, note: Note) -> Loaded:
    """Reads all samples, and draws those of Ovis-mini's own world into the folder. Raises DataError."""
    seed = choices.seed
    found = _checked(read(sources(data.file, sets=data.sets, image_dir=data.image_dir), limits, note=note), spec)
    new, skipped = found.usable(skip_bad=data.skip_bad), len(found.problems)
    old, kept, left = list[Sample](), list(new), list[Sample]()
    for mix in data.mixes:
        each = wanted_number(len(new), mix, data.mixes)
        if mix.source == OWN:
            old += _drawn(each * choices.turns, folder, seed)
            continue
        other = _checked(read(sources(_named(mix.source)), limits, note=note), spec)
        usable = other.usable(skip_bad=data.skip_bad)
        spared = picked(usable, min(max(len(usable) - each, 0), OLD_QUESTIONS), seed=seed)
        asked = set(spared)
        old += picked([sample for sample in usable if sample not in asked], each * choices.turns, seed=seed)
        left += spared
        kept += other.samples
        skipped += len(other.problems)
    return Loaded(new, tuple(old), fingerprint(kept), skipped, tuple(left[:OLD_QUESTIONS]))


def _named(source: str) -> Path:
    return Path(os.path.expanduser(source))  # noqa: PTH111 - Path's own raises for a ~ that nobody has


def _drawn(number: int, folder: Path, seed: int) -> tuple[Sample, ...]:
    try:
        return mini_samples.drawn(number, folder, seed=seed)
    except OSError as error:
        raise DataError("Pictures of old questions can't be written: free some space, or add --mix none.") from error


def make(
    spec: ModelSpec,
    placement: Placement,
    loaded: Loaded,
    choices: Choices,
    data: Data,
    out: Path,
    limits: Limits,
    *,
    resume: bool = False,
    progress: Progress = no_progress,
) -> Plan:
    """The plan for samples that were read; fetches the model's files if need be. Raises DataError for samples that
    don't fit the model, and BackendError for files that can't be loaded."""
    ready = fetch(spec, placement, progress=progress)
    config = ready.checkpoint.config
    choices = replace(choices, max_tokens=min(choices.max_tokens, config.max_context))
    encoder = Encoder(ready.checkpoint.tokenizer.prompts, View(ready.spec, config, limits, data.asked))
    lengths = _measured((*loaded.new, *loaded.old, *loaded.left), encoder, choices, drop_long=data.drop_long)
    measured = lengths.measured
    new = [sample for sample in loaded.new if sample in measured]
    old = [sample for sample in loaded.old if sample in measured]
    if not new:
        raise DataError(
            f"Every sample is longer than {choices.max_tokens:,} tokens: raise --max-tokens, or lower --max-pixels."
        )
    learnt, validation = held_out(new, choices.val, seed=choices.seed)
    training, *later = epochs(learnt, old, choices.turns, seed=choices.seed)
    every = (*training, *others(training, later))
    return Plan(
        ready.spec, ready.placement, ready.checkpoint, choices, encoder, training, tuple(later), validation,
        tuple(measured[sample] for sample in every), len(training) - len(learnt), loaded.skipped, lengths.long,
        data.mixes, loaded.digest, out, resume, lengths.tokens,
        tuple(sample for sample in loaded.left if sample in measured),
    )  # fmt: skip


def check_memory(plan: Plan) -> None:
    """Raises DataError where a step would take more memory than is free."""
    free = bytes_available(plan.placement.device, plan.placement.gpu_memory)
    if advice := plan.advice(free):
        raise DataError(
            f"Fine-tuning {plan.spec.name} takes about {plan.bytes_needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are "
            f"free: {advice}."
        )


def check_weights(spec: ModelSpec, placement: Placement, choices: Choices) -> None:
    """The same for what is known before the model's files are here. Raises DataError."""
    least, free = memory.held(spec, placement, choices), bytes_available(placement.device, placement.gpu_memory)
    if least > free:
        lower = "--quantize int4" if choices.method == "lora" else "--method lora"
        raise DataError(
            f"Fine-tuning {spec.name} takes more than {least / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: {lower} "
            "takes less, or name a smaller model."
        )


def _checked(found: Found, spec: ModelSpec) -> Found:
    """The same without what this model can't be shown."""
    good, problems = list[Sample](), list(found.problems)
    for sample in found.samples:
        if sample.kind == "a clip" and not spec.video:
            problems.append(Problem(sample.file, sample.id, f"has a clip, and {spec.name} watches none"))
        elif sample.kind == "several pictures" and not spec.several_images:
            many = f"has {len(sample.pictures)} pictures, and {spec.name} looks at one"
            problems.append(Problem(sample.file, sample.id, many))
        else:
            good.append(sample)
    return Found(tuple(good), tuple(problems))


@dataclass(frozen=True)
class _Lengths:
    """Of the samples that fit, how many don't, and the tokens that there are."""

    measured: dict[Sample, Length]
    long: int
    tokens: frozenset[int]


def _measured(samples: Sequence[Sample], encoder: Encoder, choices: Choices, *, drop_long: bool) -> _Lengths:
    """Looks at each sample once. Raises DataError for those that don't fit, unless they are to be dropped."""
    measured, long, tokens = dict[Sample, Length](), list[Problem](), set[int]()
    for sample in dict.fromkeys(samples):
        try:
            found = encoder.outlined(sample)
        except MediaError as error:  # it went away meanwhile
            raise refusal([Problem(sample.file, sample.id, str(error))]) from error
        length = Length.of(found)
        if length.tokens > choices.max_tokens:
            reason = f"is {length.tokens:,} tokens long, and {choices.max_tokens:,} are the most"
            long.append(Problem(sample.file, sample.id, reason))
        else:
            measured[sample] = length
            tokens.update(id for id in found.ids if id >= 0)
    if long and not drop_long:
        raise refusal(long, ", raise --max-tokens, or leave them out with --too-long drop")
    return _Lengths(measured, len(long), frozenset(tokens))

"""The three stages: see (tower, head and table with a probe), read (the LLM on frozen embeddings), whole (all).

Knows what a step of each stage computes. Refuses to know how scenes are drawn or worded.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ovis_app.models.ovis import Ovis
from ovis_app.models.prompt import PromptTokenizer
from ovis_app.training.mini import data_mixture
from ovis_app.training.mini.architecture import visual_tokens
from ovis_app.training.mini.packing import UNASKED, Picture, Sample, language_loss, pack
from ovis_app.training.mini.probe import Batch, Probe, seeing_batch
from ovis_app.training.mini.trainer import Clock, Optimizer, Run, rank, rate

SEE_PICTURES = 12  # in each training process
CHECKPOINT_SECONDS = 120
REPORT_STEPS = 50
PRACTICE_PICTURES, PRACTICE_WEIGHT = 8, 0.5  # of stage 3
SIGHT_UNTIL = 0.5  # share of stage 3 in which the visual half learns; then it is frozen again
SIMPLE_UNTIL = 0.12  # share of stage 2 with single pictures only


def visual_half(model: Ovis) -> list[tuple[str, Tensor]]:
    return [(name, p) for name, p in model.named_parameters() if not name.startswith("llm.")]


def language_half(model: Ovis) -> list[tuple[str, Tensor]]:
    return [(name, p) for name, p in model.named_parameters() if name.startswith("llm.")]


class EarlyProbe(nn.Module):
    """A second probe on the tower's features, before the softmax: it hurries the tower along."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm, self.probe = nn.LayerNorm(size), Probe(size)

    def loss(self, features: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        return self.probe.loss(self.norm(features.float()), batch.wanted)


def embed_features(model: Ovis, features: Tensor) -> Tensor:
    """The model's own way from tower features to visual embeddings."""
    return model.visual_tokenizer.probabilities(features) @ model.words


def see(run: Run, model: Ovis, *, seed: int = 1, steps: int | None = None) -> None:
    """Stage 1. Ends with its minutes, or after `steps`."""
    probes = nn.ModuleDict(
        {
            "late": Probe(model.config.llm_config.hidden_size),
            "early": EarlyProbe(model.visual_tokenizer.vit.feature_size),
        }
    )
    optimizer = Optimizer([*visual_half(model), *probes.named_parameters()], adam=2e-3, muon=run.muon)
    step, seconds = restore(run, "see", model, [optimizer], probes)
    clock, saved = Clock(run, "see", seconds), seconds
    while (progress := clock.progress()) < 1 and (steps is None or step < steps):
        batch = seeing_batch(random.Random(f"train-see-{seed}-{rank()}-{step}"), SEE_PICTURES)
        optimizer.begin(rate(step, progress))
        _see_step(model, probes, batch, run).backward()
        optimizer.apply()
        step += 1
        if step % REPORT_STEPS == 0:
            run.report(f"see {step} {clock.seconds:.0f}s")
            clock.reread()
        if clock.seconds - saved > CHECKPOINT_SECONDS:
            saved = clock.seconds
            keep(run, "see", model, [optimizer], probes, step, saved)
    keep(run, "see", model, [optimizer], probes, step, clock.seconds, done=True)


def _see_step(model: Ovis, probes: nn.ModuleDict, batch: Batch, run: Run) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        features = model.visual_tokenizer.vit(batch.pixels, batch.grids)
        embeddings = embed_features(model, features)
    late, measures = probes["late"].loss(embeddings.float(), batch.wanted)
    early, before = probes["early"].loss(features, batch)
    run.note(
        loss=late.item(), **measures, **{f"early_{name}": before[name] for name in ("kind", "color", "glyph", "place")}
    )
    return late + early


def keep(
    run: Run, stage: str, model: Ovis, optimizers: list[Optimizer], extra: nn.Module | None, step: int, seconds: float,
    done: bool = False,
) -> None:  # fmt: skip
    """Writes the stage's resumable checkpoint, whole or not at all."""
    if rank():
        return
    state: dict[str, Any] = {
        "model": model.state_dict(), "optimizers": [o.state() for o in optimizers],
        "step": step, "seconds": seconds, "done": done,
        "extra": extra.state_dict() if extra is not None else None,
    }  # fmt: skip
    partial = Path(f"{run.state_file(stage)}.partial")
    torch.save(state, partial)
    partial.replace(run.state_file(stage))


def restore(
    run: Run, stage: str, model: Ovis, optimizers: list[Optimizer], extra: nn.Module | None = None
) -> tuple[int, float]:
    """Steps and seconds already done in this stage; 0, 0 when it starts."""
    if not run.state_file(stage).exists():
        return 0, 0.0
    state = torch.load(run.state_file(stage), weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state.get("optimizers", [state.get("optimizer")]), strict=True):
        optimizer.load(saved)
    if extra is not None and state["extra"] is not None:
        extra.load_state_dict(state["extra"])
    return state["step"], state["seconds"]


def inherit(run: Run, stage: str, model: Ovis, *, visual_only: bool = False) -> None:
    """Takes over what an earlier stage learnt."""
    weights = torch.load(run.state_file(stage), weights_only=True)["model"]
    if visual_only:
        weights = {name: value for name, value in weights.items() if not name.startswith("llm.")}
    model.load_state_dict(weights, strict=not visual_only)


def read(run: Run, model: Ovis, tokenizer: PromptTokenizer, *, seed: int = 1, steps: int | None = None) -> None:
    """Stage 2: the language model learns to read the visual embeddings, which stay as they are."""
    optimizer = Optimizer(language_half(model), adam=1.5e-3, muon=2e-3)
    _talk(run, "read", model, tokenizer, [optimizer], None, seed=seed, steps=steps)


def whole(
    run: Run, model: Ovis, tokenizer: PromptTokenizer, *, stage: str = "whole", seed: int = 1, steps: int | None = None
) -> None:
    """Stage 3: everything together, the visual half with its probe, which goes on practising; at last the language
    model alone again."""
    probe = Probe(model.config.llm_config.hidden_size)
    earlier = torch.load(run.state_file("see" if stage == "whole" else "whole"), weights_only=True)["extra"]
    late = {name.removeprefix("late."): weight for name, weight in earlier.items() if not name.startswith("early.")}
    probe.load_state_dict(late)
    language = Optimizer(language_half(model), adam=8e-4, muon=1.2e-3)
    visual = Optimizer([*visual_half(model), *probe.named_parameters()], adam=8e-4, muon=1.5e-3)
    _talk(run, stage, model, tokenizer, [language, visual], probe, seed=seed, steps=steps)


def _talk(
    run: Run, stage: str, model: Ovis, tokenizer: PromptTokenizer, optimizers: list[Optimizer], probe: Probe | None, *,
    seed: int, steps: int | None,
) -> None:  # fmt: skip
    """Steps of conversation; with a probe the visual half learns too."""
    step, seconds = restore(run, stage, model, optimizers, probe)
    clock, saved = Clock(run, stage, seconds), seconds
    while (progress := clock.progress()) < 1 and (steps is None or step < steps):
        rng = random.Random(f"train-{stage}-{seed}-{rank()}-{step}")
        pictures, samples = data_mixture.step(rng, simple=probe is None and progress < SIMPLE_UNTIL)
        frozen = probe is None or progress >= SIGHT_UNTIL
        learning = optimizers[:1] if frozen else optimizers
        for optimizer, share in zip(learning, (progress, progress / SIGHT_UNTIL), strict=False):
            optimizer.begin(rate(step, share))
        _talk_step(run, model, tokenizer, pictures, samples, frozen=frozen)
        if probe is not None and not frozen:
            _practise(run, model, probe, seeing_batch(rng, PRACTICE_PICTURES))
        for optimizer in learning:
            optimizer.apply()
        step += 1
        if step % REPORT_STEPS == 0:
            run.report(f"{stage} {step} {clock.seconds:.0f}s")
            clock.reread()
        if clock.seconds - saved > CHECKPOINT_SECONDS:
            saved = clock.seconds
            keep(run, stage, model, optimizers, probe, step, saved)
    keep(run, stage, model, optimizers, probe, step, clock.seconds, done=True)


def _practise(run: Run, model: Ovis, probe: Probe, batch: Batch) -> None:
    """Adds the probe's gradients on pictures of their own."""
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = model.encode(batch.pixels, batch.grids)
    loss, measures = probe.loss(embeddings.float(), batch.wanted)
    (PRACTICE_WEIGHT * loss).backward()
    run.note(**{name: measures[name] for name in ("kind", "color", "place", "box")})


def _talk_step(
    run: Run, model: Ovis, tokenizer: PromptTokenizer, pictures: list[Picture], samples: list[Sample], *, frozen: bool
) -> None:
    """Adds this step's gradients. Short and long rows go separately, to save padding."""
    with torch.autocast("cpu", torch.bfloat16):
        with torch.set_grad_enabled(not frozen):
            visual = model.encode(torch.cat([p.rows for p in pictures]), [p.grid for p in pictures]).float()
        rows = sorted(samples, key=lambda sample: _length(sample, pictures))
        parts = [pack(part, pictures, tokenizer) for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :])]
        asked = sum(int((part.labels != UNASKED).sum()) for part in parts)
        leaf = visual.detach().requires_grad_(not frozen)
        for part in parts:
            loss, right = language_loss(model, part, leaf)
            (loss * (int((part.labels != UNASKED).sum()) / asked)).backward()
            run.note(loss=loss.item(), right=right)
    if not frozen:
        visual.backward(leaf.grad)


def _length(sample: Sample, pictures: list[Picture]) -> int:
    """About how many tokens the sample's row has."""
    seen = sum(visual_tokens(pictures[i].grid) for i in sample.pictures)
    return seen + sum(
        sum(len(str(turn.content)) for turn in q.turns) // 5 + len(q.answer) // 4 for q in sample.questions
    )

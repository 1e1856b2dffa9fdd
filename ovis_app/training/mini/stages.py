"""The stages: see (tower, head and table with a probe), read (the LLM on frozen embeddings), whole and more (all).

Knows what a step of each stage computes. Refuses to know how scenes are drawn or worded.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ovis_app.models.ovis import Ovis
from ovis_app.models.prompt import PromptTokenizer
from ovis_app.training.mini import data_mixture
from ovis_app.training.mini.architecture import visual_tokens
from ovis_app.training.mini.packing import Picture, Sample, language_loss, pack
from ovis_app.training.mini.probe import Batch, Probe, seeing_batch
from ovis_app.training.mini.summary import Summary
from ovis_app.training.mini.trainer import Meter, Optimizer, Run, rank, rate

STAGES = ("see", "read", "whole", "more")
SEE_PICTURES = 12  # in each training process
REPORT_STEPS = 50
PRACTICE_PICTURES, PRACTICE_WEIGHT = 8, 0.5  # of the stages in which all learns
SIGHT_UNTIL = 0.6  # share of these stages in which the visual half learns; then it is frozen again
SIMPLE_UNTIL = 0.12  # share of stage read with single pictures only, where nothing was learnt before
LIKE = 1.3  # how much longer than its shortest row the longest of a pack may be
# Peak rates of AdamW and of Muon.
LANGUAGE_RATES = {"read": (1.5e-3, 2e-3), "whole": (8e-4, 1.2e-3), "more": (8e-4, 1.2e-3)}
VISUAL_RATES = {"see": (2e-3, 4e-3), "whole": (8e-4, 1.5e-3), "more": (8e-4, 1.5e-3)}
SETTLED = 200  # steps after which new probes teach a visual half that was trained before
GENTLE = 0.5  # of these rates in stages see and read, where a checkpoint is trained on


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


class Stage:
    """One stage of a run: its probes and optimizers, from its checkpoint on where it has one."""

    def __init__(self, run: Run, name: str, model: Ovis, tokenizer: PromptTokenizer) -> None:
        self.run, self.name, self.model, self.tokenizer = run, name, model, tokenizer
        hidden = model.config.llm_config.hidden_size
        self.probes = nn.ModuleDict()
        if name in VISUAL_RATES:
            self.probes["late"] = Probe(hidden)
        if name == "see":
            self.probes["early"] = EarlyProbe(model.visual_tokenizer.vit.feature_size)
        if name in LANGUAGE_RATES:
            self.probes["summary"] = Summary(hidden)
        self.optimizers: dict[str, Optimizer] = {}
        for half, rates, parameters, probed in (
            ("language", LANGUAGE_RATES, language_half(model), ("summary",)),
            ("visual", VISUAL_RATES, visual_half(model), ("late", "early")),
        ):
            if name in rates:
                mine = [(n, p) for n, p in self.probes.named_parameters() if n.startswith(probed)]
                share = GENTLE if name in ("see", "read") and run.state_file("start").exists() else 1.0
                adam, muon = (share * peak for peak in rates[name])
                self.optimizers[half] = Optimizer([*parameters, *mine], adam=adam, muon=muon)
        self.step, self.meter = 0, Meter()
        self._restore()

    def train(self, *, seed: int = 1, most: int | None = None) -> None:
        """Goes on to the stage's number of steps, or to `most`."""
        steps = self.run.steps(self.name)
        while self.step < min(steps, most or steps):
            rng = random.Random(f"train-{self.name}-{seed}-{rank()}-{self.step}")
            self._see(rng, self.step / steps) if self.name == "see" else self._talk(rng, self.step / steps)
            self.step += 1
            if self.step % REPORT_STEPS == 0:
                self.run.report(f"{self.name} {self.step}/{steps} {self.meter.seconds:.0f}s")
            if self.meter.due():
                self.keep()
        self.keep()

    def _see(self, rng: random.Random, progress: float) -> None:
        optimizer, batch = self.optimizers["visual"], seeing_batch(rng, SEE_PICTURES)
        optimizer.begin(rate(self.step, progress))
        settling = self.step < SETTLED and self.run.state_file("start").exists()
        with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(not settling):
            features = self.model.visual_tokenizer.vit(batch.pixels, batch.grids)
            embeddings = embed_features(self.model, features)
        late, measures = self.probes["late"].loss(embeddings.float(), batch.wanted)
        early, before = self.probes["early"].loss(features, batch)
        self.run.note(loss=late.item(), **measures)
        self.run.note(**{f"early_{name}": before[name] for name in ("kind", "color", "glyph", "place")})
        (late + early).backward()
        optimizer.apply()

    def _talk(self, rng: random.Random, progress: float) -> None:
        """A step of conversation. Where the stage has a probe of sight, the visual half learns for a while too."""
        fresh = self.name == "read" and not self.run.state_file("start").exists()
        pictures, samples = data_mixture.step(rng, simple=fresh and progress < SIMPLE_UNTIL)
        sighted = "visual" in self.optimizers and progress < SIGHT_UNTIL
        learning = {"language": progress, **({"visual": progress / SIGHT_UNTIL} if sighted else {})}
        for half, share in learning.items():
            self.optimizers[half].begin(rate(self.step, share))
        self._answer(pictures, samples, frozen=not sighted)
        if sighted:
            self._practise(seeing_batch(rng, PRACTICE_PICTURES))
        for half in learning:
            self.optimizers[half].apply()

    def _practise(self, batch: Batch) -> None:
        """Adds the probe's gradients on pictures of their own."""
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = self.model.encode(batch.pixels, batch.grids)
        loss, measures = self.probes["late"].loss(embeddings.float(), batch.wanted)
        (PRACTICE_WEIGHT * loss).backward()
        self.run.note(**{name: measures[name] for name in ("kind", "color", "place", "box")})

    def _answer(self, pictures: Sequence[Picture], samples: Sequence[Sample], *, frozen: bool) -> None:
        """Adds this step's gradients. Rows of like length go together, to save padding."""
        with torch.autocast("cpu", torch.bfloat16):
            with torch.set_grad_enabled(not frozen):
                visual = self.model.encode(torch.cat([p.rows for p in pictures]), [p.grid for p in pictures]).float()
            parts = [pack(part, pictures, self.tokenizer) for part in alike(samples, pictures)]
            asked = sum(part.asked for part in parts)
            leaf = visual.detach().requires_grad_(not frozen)
            for part in parts:
                loss, measures = language_loss(self.model, part, leaf, self.probes["summary"])
                (loss * (part.asked / asked)).backward()
                self.run.note(**measures)
        if not frozen:
            visual.backward(leaf.grad)

    def keep(self) -> None:
        """Writes the stage's resumable checkpoint, whole or not at all."""
        if rank():
            return
        state = {
            "model": self.model.state_dict(), "extra": self.probes.state_dict(), "step": self.step,
            "optimizers": {half: optimizer.state() for half, optimizer in self.optimizers.items()},
            "seconds": self.meter.seconds,
        }  # fmt: skip
        self.run.save(self.name, state)

    def _restore(self) -> None:
        """This stage's checkpoint; else what earlier ones taught the model, and the probes that they had."""
        state = self.run.state(self.name)
        if state is not None:
            self.model.load_state_dict(state["model"])
            self.probes.load_state_dict(state["extra"])
            for half, optimizer in self.optimizers.items():
                optimizer.load(state["optimizers"][half])
            self.step, self.meter = state["step"], Meter(state["seconds"])
            return
        earlier = [state for name in ("start", *before(self.name)) if (state := self.run.state(name)) is not None]
        for state in earlier:
            known = {name: value for name, value in state["extra"].items() if name in self.probes.state_dict()}
            self.probes.load_state_dict(known, strict=False)
        if earlier:
            self.model.load_state_dict(earlier[-1]["model"])


def before(name: str) -> tuple[str, ...]:
    return STAGES[: STAGES.index(name)]


def alike(samples: Sequence[Sample], pictures: Sequence[Picture]) -> Iterator[list[Sample]]:
    """The samples in groups of about the same length."""
    lengths = {id(sample): _length(sample, pictures) for sample in samples}
    group: list[Sample] = []
    for sample in sorted(samples, key=lambda sample: lengths[id(sample)]):
        if group and lengths[id(sample)] > LIKE * lengths[id(group[0])]:
            yield group
            group = []
        group.append(sample)
    yield group


def _length(sample: Sample, pictures: Sequence[Picture]) -> int:
    """About how many tokens the sample's row has: its pictures, its longest history, what is asked behind it."""
    seen = sum(visual_tokens(pictures[i].grid) for i in sample.pictures)
    texts = [[len(str(turn.content)) // 5 + 6 for turn in question.turns] for question in sample.questions]
    asked = sum(sum(text[-1:]) + len(q.answer) // 4 for text, q in zip(texts, sample.questions, strict=True))
    return seen + max(sum(text[:-1]) for text in texts) + asked

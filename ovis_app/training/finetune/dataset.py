"""Samples as tensors, one by one and in batches, for a Trainer: ids, mask, pixels, grids and labels.

Knows tensors and how a batch is padded. Refuses to know the model and the loop. A dataset can be sent to a worker
process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from ovis_app.models.inputs import attention_mask, chat_format
from ovis_app.models.prompt import PromptTokenizer
from ovis_app.training.finetune.labels import UNLEARNT, Labelled, captioned, labelled
from ovis_app.training.finetune.samples import Sample
from ovis_app.training.finetune.visuals import View


@dataclass(frozen=True)
class Length:
    """Tokens of a sample: all of them, and those that are learnt."""

    tokens: int
    learnt: int

    @classmethod
    def of(cls, found: Labelled) -> Length:
        return cls(len(found.ids), sum(label != UNLEARNT for label in found.labels))


@dataclass(frozen=True)
class Encoder:
    """Samples to what a model takes."""

    tokenizer: PromptTokenizer
    view: View

    def outlined(self, sample: Sample) -> Labelled:
        """Ids and labels with a place for each visual token, without a pixel. Raises MediaError."""
        return self._labelled(sample, self.view.spans(sample))

    def length(self, sample: Sample) -> Length:
        """Raises MediaError."""
        return Length.of(self.outlined(sample))

    def example(self, sample: Sample) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` and `labels` [tokens] and, where it has files, `pixel_values` as a family's
        `Pixels` has them, and `grids` [pictures and clips, 3], of Ovis2.5 alone. Raises MediaError."""
        parts = self.view.pixels(sample)
        found = self._labelled(sample, [part.ids for part in parts])
        ids = torch.tensor(found.ids)
        grids = [grid for part in parts for grid in part.grids]
        tensors = {
            "input_ids": ids,
            "attention_mask": attention_mask(self.view.config, self.tokenizer, ids),
            "labels": torch.tensor(found.labels),
        }
        if parts:
            tensors["pixel_values"] = torch.cat([part.values for part in parts])
            tensors["grids"] = torch.tensor(grids, dtype=torch.long).reshape(-1, 3)
        return tensors

    def _labelled(self, sample: Sample, spans: Sequence[Sequence[int]]) -> Labelled:
        if sample.caption:
            found = captioned(self.tokenizer, sample.turns[0].text, sample.turns[1].text)
        else:
            chat, family = chat_format(self.view.config), self.view.family
            clip_places = len(spans) - len(sample.pictures)
            found = labelled(self.tokenizer, chat, family, sample.turns, clip_places=clip_places)
        return found.with_visuals(spans)


class SampleDataset(Dataset[dict[str, Tensor]]):
    """Samples, encoded when they are asked for: pixels of all of them would fill the memory. `later` epochs may have
    others in their places; `epoch` is the one that is learnt, from 0, and behind the last they come again."""

    def __init__(self, samples: Sequence[Sample], encoder: Encoder, later: Sequence[Sequence[Sample]] = ()) -> None:
        self._epochs, self._encoder, self.epoch = (tuple(samples), *map(tuple, later)), encoder, 0

    def __len__(self) -> int:
        return len(self._epochs[0])

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        samples = self._epochs[self.epoch % len(self._epochs)]
        return self._encoder.example(samples[place])


@dataclass(frozen=True)
class Collator:
    """Samples to a batch: rows padded on the right, [rows, tokens]; pixels and grids of all rows in order, and none
    where no row has any."""

    pad: int

    def __call__(self, examples: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        fills = {"input_ids": self.pad, "attention_mask": 0, "labels": UNLEARNT}
        batch = {
            name: pad_sequence([example[name] for example in examples], batch_first=True, padding_value=fill)
            for name, fill in fills.items()
        }
        seen = [example for example in examples if "pixel_values" in example]
        if seen:
            batch |= {name: torch.cat([example[name] for example in seen]) for name in ("pixel_values", "grids")}
        return batch

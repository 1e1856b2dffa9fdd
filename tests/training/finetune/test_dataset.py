"""A sample becomes what the app will ask, pixel by pixel and token by token, then its answer; a Trainer takes it."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from ovis_app import zoo
from ovis_app.backends.local.media_encoder import MediaEncoder
from ovis_app.backends.local.model_pool import LoadedModel
from ovis_app.backends.local.prompt_builder import PromptBuilder
from ovis_app.conversation import Conversation, Detail, Message
from ovis_app.generation import GenerationSettings
from ovis_app.limits import Limits
from ovis_app.media import attach_all
from ovis_app.models.families.table import FAMILIES
from ovis_app.models.preprocess.values import Outline
from ovis_app.places import in_place, untagged
from ovis_app.stop import NEVER
from ovis_app.training.finetune.dataset import Collator, Encoder, SampleDataset
from ovis_app.training.finetune.samples import Sample
from ovis_app.training.finetune.visuals import View, chosen
from tests.golden_cases import BUNDLED
from tests.models_on_cpu import loaded_on_cpu
from tests.training.finetune.made import entry, gpt, human, picture, samples, written

GENERATIONS = ("ovis1.6", "ovis2", "ovis2.5")
FILES = Path(__file__).parents[2] / "media" / "files"
SIZES = [(48, 32), (300, 40), (33, 190), (700, 500), (3, 900), (1, 1), (1200, 1201), (448, 448)]


@cache
def model(generation: str) -> LoadedModel:
    return loaded_on_cpu(zoo.resolve(str(BUNDLED / generation / "public-a" / "checkpoint")))


SMALL = Detail(max_pixels=12_544, min_pixels=1_024)


def encoder(generation: str, asked: Detail = SMALL) -> Encoder:
    loaded = model(generation)
    return Encoder(loaded.tokenizer.prompts, View(loaded.spec, loaded.model.config, Limits(), asked))


def folder(tmp_path: Path) -> Path:
    picture(tmp_path / "a.png", (90, 70), "blue")
    picture(tmp_path / "b.png", (40, 130), "green")
    shutil.copy(FILES / "anim_from_gif.mp4", tmp_path / "clip.mp4")
    shutil.copy(FILES / "anim.gif", tmp_path / "anim.gif")
    return tmp_path


APP_CASES = pytest.mark.parametrize(
    ("generation", "files"),
    [("ovis1.6", ["a.png"]), ("ovis1.6", []), ("ovis2", ["a.png", "b.png"]), ("ovis2", ["clip.mp4"]),
     ("ovis2.5", ["a.png", "b.png"]), ("ovis2.5", ["clip.mp4"]), ("ovis2.5", ["a.png"])], ids=str,
)  # fmt: skip


@APP_CASES
def test_a_tag_within_a_question_is_a_place_of_the_app(tmp_path: Path, generation: str, files: list[str]) -> None:
    loaded, here = model(generation), folder(tmp_path)
    tag = "<video>" if files == ["clip.mp4"] else "<image>"
    text = f"Here {tag}" + f",\nthere {tag}" * (len(files) - 1) + " is what?"
    media, _ = attach_all([(here / name, name) for name in files], Limits())
    said, places = untagged(text if files else "What?")
    message = Message("user", said, tuple(replace(one, detail=SMALL) for one in media))
    builder = PromptBuilder(loaded, MediaEncoder(loaded, Limits(), cache_bytes=1 << 20))
    prompt = builder.build(
        Conversation((in_place(message, places, [1] * len(media)),)), GenerationSettings(), note=str, stop=NEVER
    )
    named = {kind: [one.name for one in media if one.kind == kind] for kind in ("image", "video")}
    [sample] = samples(written(here / "data.json", [entry(text if files else "What?", "A field.", **named)]))
    example = encoder(generation).example(sample)
    assert example["input_ids"][: len(prompt.ids)].tolist() == prompt.ids.tolist()


@APP_CASES
def test_the_prompt_and_pixels_are_those_of_the_app(tmp_path: Path, generation: str, files: list[str]) -> None:
    loaded, here = model(generation), folder(tmp_path)
    media, _ = attach_all([(here / name, name) for name in files], Limits())
    detailed = tuple(type(one)(one.kind, one.path, one.name, SMALL, pictures=one.pictures) for one in media)
    settings = GenerationSettings(max_new_tokens=8)
    builder = PromptBuilder(loaded, MediaEncoder(loaded, Limits(), cache_bytes=1 << 20))
    question = Conversation((Message("user", "What is it?", detailed),))
    prompt = builder.build(question, settings, note=lambda _: None, stop=NEVER)

    shown = "".join(
        f"Image {number}: <image>\n" if len(files) > 1 and generation == "ovis2" else f"<{one.kind}>\n"
        for number, one in enumerate(media, 1)
    )
    named = {kind: [one.name for one in media if one.kind == kind] for kind in ("image", "video")}
    [sample] = samples(written(here / "data.json", [entry(f"{shown}What is it?", "A field.", **named)]))
    example = encoder(generation).example(sample)
    assert example["input_ids"][: len(prompt.ids)].tolist() == prompt.ids.tolist()
    assert example["attention_mask"][: len(prompt.ids)].tolist() == prompt.mask.tolist()
    assert set(example["labels"][: len(prompt.ids)].tolist()) == {-100}
    learnt = example["labels"][example["labels"] >= 0].tolist()
    assert loaded.tokenizer.decoder.decode(learnt) == "A field."
    if prompt.visual is not None:
        with torch.inference_mode():
            seen = loaded.model.encode(example["pixel_values"], example["grids"])
        assert torch.allclose(seen, prompt.visual, atol=1e-5)
    assert ("pixel_values" in example) == bool(files)
    assert encoder(generation).length(sample).tokens == len(example["input_ids"])


@pytest.mark.parametrize("generation", GENERATIONS)
def test_lengths_are_known_without_pixels(tmp_path: Path, generation: str) -> None:
    here, own = folder(tmp_path), encoder(generation)
    for number, size in enumerate(SIZES):
        picture(here / f"{number}.png", size)
    said = [entry("<image>\nWhat?", image=f"{number}.png") for number in range(len(SIZES))]
    said += [entry("<image> Hm?", image="anim.gif"), entry("Hi")]
    if model(generation).spec.video:
        said.append(entry("<video>\n?", video_frames=["a.png", "b.png"] * 9))
    for sample in samples(written(here / "data.json", said)):
        example = own.example(sample)
        length = own.length(sample)
        assert (length.tokens, length.learnt) == (len(example["input_ids"]), int((example["labels"] >= 0).sum()))
        assert int((example["input_ids"] == -300).sum()) == sum(part.tokens for part in own.view.pixels(sample))


def test_pictures_of_different_turns_are_seen_as_large_as_single_ones(tmp_path: Path) -> None:
    here, own = folder(tmp_path), encoder("ovis2", Detail())
    for name in ("c.png", "d.png"):
        picture(here / name, (700, 500))
    apart = {"conversations": [human("<image>"), gpt("a"), human("<image>"), gpt("b")], "image": ["c.png", "d.png"]}
    together = {"conversations": [human("<image><image>"), gpt("a")], "image": ["c.png", "d.png"]}
    one, other = samples(written(here / "data.json", [apart, together]))
    spec = model("ovis2").spec
    most = spec.single.max_partition, spec.several.max_partition
    outlines = [Outline("image", ((700, 500),), max_partition=number) for number in most]
    spans = [FAMILIES["ovis2"].outlined(own.view.config, outline) for outline in outlines]
    assert own.view.spans(one) == spans[0] * 2 and own.view.spans(other) == spans[1] * 2 and spans[0] != spans[1]


def test_frames_are_taken_evenly() -> None:
    frames = tuple(range(20))
    assert chosen(frames, 4) == (2, 7, 12, 17) and chosen(frames, 30) == frames  # type: ignore[arg-type, comparison-overlap]


def test_a_batch_is_padded_and_says_so(tmp_path: Path) -> None:
    here, own = folder(tmp_path), encoder("ovis2.5")
    said = [entry("Hi", "Yo"), entry("<image>\nWhat?", "A long answer.", image="a.png")]
    dataset = SampleDataset(samples(written(here / "data.json", said)), own)
    dataset = pickle.loads(pickle.dumps(dataset))
    short, long = dataset[0], dataset[1]
    batch = Collator(pad=0)([short, long])
    end = len(short["input_ids"])
    assert batch["input_ids"].shape == batch["labels"].shape == (2, len(long["input_ids"]))
    assert batch["attention_mask"][0].tolist() == [1] * end + [0] * (len(long["input_ids"]) - end)
    assert set(batch["labels"][0, end:].tolist()) == {-100}
    assert torch.equal(batch["pixel_values"], long["pixel_values"]) and torch.equal(batch["grids"], long["grids"])
    assert "pixel_values" not in Collator(pad=0)([short, short])


class Counting(nn.Module):
    """Takes what a model takes, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.zeros(())), list[dict[str, Any]]()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, pixel_values: Tensor | None = None,
        grids: Tensor | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        self.seen.append({"ids": input_ids, "pixels": pixel_values, "grids": grids})
        return {"loss": self.weight * (labels >= 0).sum()}


def test_a_trainer_takes_it(tmp_path: Path) -> None:
    here, own, counting = folder(tmp_path), encoder("ovis2.5"), Counting()
    said = [entry("Hi"), entry("<image>\nWhat?", image="a.png"), entry("<image>\n?", image="b.png")]
    found: tuple[Sample, ...] = samples(written(here / "data.json", said))
    arguments = TrainingArguments(
        str(tmp_path / "run"), per_device_train_batch_size=2, num_train_epochs=1, use_cpu=True, report_to="none",
        remove_unused_columns=False, save_strategy="no", disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    trainer = Trainer(counting, arguments, Collator(pad=0), SampleDataset(found, own))
    trainer.train()
    assert [len(batch["ids"]) for batch in counting.seen] == [2, 1]
    pictures = sum(0 if batch["grids"] is None else len(batch["grids"]) for batch in counting.seen)
    assert pictures == 2

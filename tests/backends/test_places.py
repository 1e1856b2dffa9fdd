"""Pictures and clips within a question's text: the tokens that the original gives a prompt with tags, by family."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from PIL import Image

from ovis_app import zoo
from ovis_app.api.openai.messages import parse
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.backends.local.media_encoder import MediaEncoder
from ovis_app.backends.local.model_pool import LoadedModel
from ovis_app.backends.local.prompt_builder import Prompt, PromptBuilder, turns_of
from ovis_app.backends.validation import checked
from ovis_app.chat import reply
from ovis_app.conversation import Conversation, Detail, Media, Message
from ovis_app.engine.encoder_cache import EncodedMedia, EncodedPart
from ovis_app.generation import GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.media import open_image
from ovis_app.models.inputs import assemble, chat_format
from ovis_app.models.preprocess.values import Visual
from ovis_app.models.prompt import GEMMA2, LLAMA3, ChatFormat, encode_original, encode_turns
from ovis_app.places import in_place, untagged
from ovis_app.settings import Settings
from ovis_app.stop import NEVER
from tests.golden_cases import BUNDLED
from tests.media.made import clip, numbered
from tests.models_on_cpu import loaded_on_cpu

MEDIA = {"image": Media("image", Path("a.png")), "video": Media("video", Path("a.mp4"))}
WORDS = ("red", "Circle", "图中", "3 shapes", "🎈", "\n", "\n\n", "  ", "?", "a.b", "'s", "Ünïcode", "<imag", "|>")
# Before a question, around it and behind it, as the original's chat formats have it.
PROMPTS = {
    "ovis2.5": "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "ovis2": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    "ovis1.6": "<bos><start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n",
}


@cache
def model(generation: str) -> LoadedModel:
    return loaded_on_cpu(zoo.resolve(str(BUNDLED / generation / "public-a" / "checkpoint")), "float32")


def tagged(text: str, *media: Media) -> Message:
    """A question with a file for each of its tags."""
    said, places = untagged(text)
    return in_place(Message("user", said, media), places, [1] * len(media))


def tokens(loaded: LoadedModel, message: Message, frames: int, chat: ChatFormat | None = None) -> list[int]:
    """The app's own way to ids, each picture and frame left at one placeholder."""
    spans = {"image": 1, "video": frames if loaded.model.config.family == "ovis2" else 1}
    one = EncodedPart((), torch.empty(0), 0)
    encoded = [tuple(EncodedMedia(item.kind, (one,) * spans[item.kind]) for item in message.media)]
    settings = GenerationSettings(thinking=False)
    turns = turns_of(loaded, Conversation((message,)), encoded, settings)
    chat = chat or chat_format(loaded.model.config)
    return encode_turns(loaded.tokenizer.prompts, chat, turns, thinking=False)


@pytest.mark.parametrize("generation", PROMPTS)
def test_a_question_with_media_within_it_is_the_originals(generation: str) -> None:
    loaded, rng = model(generation), random.Random(generation)
    for _ in range(60):
        moving = generation != "ovis1.6" and rng.random() < 0.3
        count = 1 if moving or generation == "ovis1.6" else rng.randint(1, 4)
        said = [rng.choice(WORDS) for _ in range(rng.randint(0, 6))]
        for _ in range(count):
            said.insert(rng.randint(0, len(said)), "<video>" if moving else "<image>")
        text, frames = rng.choice(("", " ", "\n")).join(said), rng.randint(1, 5)
        message = tagged(text, *[MEDIA["video" if moving else "image"]] * count)
        if generation == "ovis2":  # a clip is its frames, a line each
            text = text.replace("<video>", "\n".join(["<image>"] * frames))
        text = text.strip() if generation == "ovis1.6" else text
        expected = encode_original(loaded.tokenizer.prompts, PROMPTS[generation].format(text))
        assert tokens(loaded, message, frames) == expected, text


@pytest.mark.parametrize("chat", [GEMMA2, LLAMA3])
def test_white_space_around_a_picture_at_an_end_is_the_texts(chat: ChatFormat) -> None:
    """Only the ends of the question are stripped, and a picture is no end."""
    loaded = model("ovis1.6")
    for text in ("  <image> \n", " a <image>", "<image> a ", "\n<image>\n"):
        [turn] = turns_of(
            loaded, Conversation((tagged(text, MEDIA["image"]),)),
            [(EncodedMedia("image", (EncodedPart((), torch.empty(0), 0),)),)], GenerationSettings(),
        )  # fmt: skip
        written = replace(chat, start="", system="{}", default_system="", user="{}", opening="")
        plain = encode_turns(loaded.tokenizer.prompts, written, [turn], thinking=True)
        assert plain == encode_original(loaded.tokenizer.prompts, text.strip())


def test_parts_stand_as_in_the_released_template() -> None:
    """Joined by line ends; and where pictures come first, as ever."""
    loaded = model("ovis2.5")
    for order in ("ti", "tit", "iti", "titi", "tiit", "itt", "iit"):
        content = [
            {"type": "text", "text": f"Text {n}."} if part == "t" else {"type": "image_url", "image_url": "data:,"}
            for n, part in enumerate(order)
        ]
        [said] = parse([{"role": "user", "content": content}], Limits()).said
        media = (MEDIA["image"],) * order.count("i")
        message = in_place(Message("user", said.text, media), said.places, [1] * len(said.places))
        lines = "\n".join(f"Text {n}." if part == "t" else "<image>" for n, part in enumerate(order))
        expected = encode_original(loaded.tokenizer.prompts, PROMPTS["ovis2.5"].format(lines))
        assert tokens(loaded, message, 1) == expected, order


def test_a_typed_tag_beside_a_placed_picture_is_text() -> None:
    loaded, text = model("ovis2.5"), "What is <image> in ?"
    message = Message("user", text, (replace(MEDIA["image"], place=text.index("?")),))
    ids = tokens(loaded, message, 1)
    assert [token for token in ids if token < 0] == [-200]
    assert loaded.tokenizer.decoder.decode([token for token in ids if token >= 0]).count("<image>") == 1


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Media, ...]:
    for name, size in (("red", (96, 64)), ("blue", (60, 90)), ("green", (64, 960))):
        Image.new("RGB", size, name).save(tmp_path / f"{name}.png")
    return tuple(Media("image", tmp_path / f"{name}.png", name) for name in ("red", "blue", "green"))


@pytest.mark.parametrize("generation", ["ovis2", "ovis2.5"])
def test_each_place_has_its_own_pictures_pixels(generation: str, pictures: tuple[Media, ...]) -> None:
    loaded = model(generation)
    settings = GenerationSettings(thinking=False, max_new_tokens=4)
    builder = PromptBuilder(loaded, MediaEncoder(loaded, Limits(), cache_bytes=1 << 20))
    text = "First <image>, then\n<image>: which?"
    small = tuple(replace(one, detail=Detail(1024, 12_544)) for one in pictures)
    question = Conversation((tagged(text, small[1], small[0]),))
    prompt = builder.build(question, settings, note=lambda _: None, stop=NEVER)
    advised = [loaded.spec.detail(one, several=True) for one in (small[1], small[0])]
    visuals = [
        Visual("image", (open_image(one, Limits()),), how.min_pixels, how.max_pixels, how.max_partition)
        for one, how in zip((small[1], small[0]), advised, strict=True)
    ]
    ids = encode_original(loaded.tokenizer.prompts, PROMPTS[generation].format(text))
    whole = assemble(loaded.model.config, loaded.tokenizer.prompts, ids, visuals)
    assert prompt.ids.tolist() == whole.ids.tolist()
    assert [seen.name for seen in prompt.seen] == ["blue", "red"]
    other = builder.build(Conversation((tagged(text, small[0], small[1]),)), settings, note=lambda _: None, stop=NEVER)
    assert other.keys != prompt.keys


def test_several_clips_are_in_place_and_in_order(tmp_path: Path) -> None:
    """As the original writes one, for each: the text cut at its tags, and at each cut the visual tokens of all of that
    clip's frames between indicators of their own."""
    loaded = model("ovis2.5")
    encoder = MediaEncoder(loaded, Limits(), cache_bytes=0)
    builder = PromptBuilder(loaded, encoder)
    whole, tokens = [], []
    for count, width, frames in ((6, 64, 2), (9, 96, 3)):
        pictures = (numbered(number, width, 64) for number in range(count))
        path = clip(tmp_path / f"{width}.mp4", pictures, rate=count)
        whole.append(Media("video", path, path.name, Detail(32 * 32, 128 * 128, frames=frames)))
        tokens.append(frames * (width // 32) * (64 // 32))  # a token sees 32 x 32 pixels

    def prompt(message: Message) -> Prompt:
        asked = GenerationSettings(thinking=False)
        return builder.build(Conversation((message,)), asked, note=lambda _: None, stop=NEVER)

    alone = [prompt(Message("user", "?", (one,))).visual for one in whole]
    for text, order in (("<video>\n<video>\nWhich?", (0, 1)), ("Is <video> before <video>?", (1, 0))):
        media = tuple(whole[place] for place in order)
        built = prompt(Message("user", "Which?", media) if order == (0, 1) else tagged(text, *media))
        first, *others = PROMPTS["ovis2.5"].format(text).split("<video>")
        ids = loaded.tokenizer.prompts.trusted(first)
        for place, piece in zip(order, others, strict=True):
            ids += [-303, *[-300] * tokens[place], -304, *loaded.tokenizer.prompts.trusted(piece)]
        assert built.ids.tolist() == ids
        assert built.visual is not None
        torch.testing.assert_close(built.visual, torch.cat([alone[place] for place in order]))
        assert [(one.name, one.frames) for one in built.seen] == [
            (media[0].name, media[0].detail.frames), (media[1].name, media[1].detail.frames)
        ]  # fmt: skip
        assert built.frame_times == ()  # of which one?


def test_pieces_of_a_long_picture_stand_where_it_stood(pictures: tuple[Media, ...]) -> None:
    long = replace(pictures[2], detail=Detail(split=True))
    spec = zoo.find("Ovis2-8B")
    assert spec is not None
    asked = Request(Conversation((tagged("See <image> and <image>?", long, pictures[0]),)))
    message = checked(asked, spec, Limits()).conversation.messages[0]
    count = len(message.media) - 1
    assert count > 2 and [one.label for one in message.media] == ["green"] * count + ["red"]
    text = "See " + "\n".join(["<image>"] * count) + " and <image>?"
    loaded = model("ovis2")
    assert tokens(loaded, message, 1) == encode_original(
        loaded.tokenizer.prompts, PROMPTS["ovis2"].format(text)
    )  # fmt: skip


def test_the_next_question_finds_what_was_computed_of_pictures_within_the_first(pictures: tuple[Media, ...]) -> None:
    backend = LocalBackend(Settings(model=str(BUNDLED / "ovis2.5" / "public-a" / "checkpoint"), device="cpu"), Limits())
    settings = GenerationSettings(max_new_tokens=4)
    text = f"{'Here is one: ' * 8}<image>, and one more: <image>. Which is red?"
    talk = Conversation((tagged(text, *pictures[:2]),))
    *_, talk = reply(backend, Request(talk, settings))
    first = talk.messages[-1].stats
    *_, talk = reply(backend, Request(talk.add(Message("user", "And blue?")), settings))
    second = talk.messages[-1].stats
    backend.close()
    assert first and second and [seen.name for seen in first.seen] == ["red", "blue"]
    assert second.cached_tokens > first.prompt_tokens - 48 > 0

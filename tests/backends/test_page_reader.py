"""OvisOCR2, made tiny and at random in the architecture that it is released in: what transformers would say of a page,
our own pixels, prompt and streaming say too."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3_5Config, Qwen3_5ForConditionalGeneration
from transformers.models.qwen2_vl import Qwen2VLImageProcessorPil

from ovis_app import chat, zoo
from ovis_app.backends import open_backend
from ovis_app.backends.local.page_reader import PageReaderBackend
from ovis_app.checkpoints import page_reader
from ovis_app.cli import main
from ovis_app.conversation import Conversation, Media, Message
from ovis_app.errors import BackendError
from ovis_app.generation import Answer, GenerationSettings, Request, Waiting
from ovis_app.limits import Limits
from ovis_app.models.page_prompt import Tower
from ovis_app.models.preprocess.pixel_format import PixelFormat
from ovis_app.settings import Settings
from tests.waiting import until

ADDED = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
ADDED += ("<|vision_start|>", "<|image_pad|>", "<|video_pad|>", "<|vision_end|>")
SIZES = {"shortest_edge": 448 * 448, "longest_edge": 2880 * 2880}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of half a million parameters, its vocabulary the 256 bytes."""
    place = tmp_path_factory.mktemp("reader") / "OvisOCR2"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: id for id, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.add_special_tokens({"additional_special_tokens": [*ADDED]})
    ids = fast.get_added_vocab()
    text = {"vocab_size": 272, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "head_dim": 32,
            "num_attention_heads": 4, "num_key_value_heads": 2, "linear_key_head_dim": 16, "linear_num_value_heads": 4,
            "linear_value_head_dim": 16, "linear_num_key_heads": 2, "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 1, 1],
                                "mrope_interleaved": True, "partial_rotary_factor": 0.25}}  # fmt: skip
    vision = {"depth": 2, "hidden_size": 64, "intermediate_size": 96, "num_heads": 4, "out_hidden_size": 64,
              "num_position_embeddings": 64}  # fmt: skip
    torch.manual_seed(0)
    config = Qwen3_5Config(
        text_config=text, vision_config=vision, image_token_id=ids["<|image_pad|>"], tie_word_embeddings=True,
        video_token_id=ids["<|video_pad|>"], vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    model = Qwen3_5ForConditionalGeneration(config)
    for name, weight in model.named_parameters():
        if "weight" in name and weight.dim() > 1:
            weight.data *= 4  # else random answers are one letter, again and again
    model.save_pretrained(place)
    fast.save_pretrained(place)
    facts = {"size": SIZES, "patch_size": 16, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "merge_size": 2}
    (place / "preprocessor_config.json").write_text(json.dumps(facts))
    return place


@pytest.fixture(scope="module")
def backend(folder: Path) -> Iterator[PageReaderBackend]:
    opened = open_backend(Settings(model=str(folder), device="cpu", dtype="float32"), Limits())
    assert isinstance(opened, PageReaderBackend)
    yield opened
    opened.close()


@pytest.fixture
def page(tmp_path: Path) -> Media:
    rng = np.random.default_rng(3)
    small = Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8))
    small.resize((500, 700), Image.Resampling.BICUBIC).save(tmp_path / "page.png")
    return Media("image", tmp_path / "page.png", "page.png")


def asked(page: Media, text: str, **settings: int) -> Request:
    return Request(Conversation((Message("user", text, (page,)),)), GenerationSettings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(500, 700), (31, 900), (448, 448), (3000, 3500), (1000, 20)])
def test_pixels_are_those_of_the_librarys_own_processor(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    picture = Image.fromarray(rng.integers(0, 256, (13, 11, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    its = Qwen2VLImageProcessorPil(patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3, size=SIZES)
    theirs = its(images=[picture], return_tensors="pt")
    tower = Tower(16, 2, 2, PixelFormat(Image.Resampling.BICUBIC))
    ours = tower.sheet(picture, min_pixels=SIZES["shortest_edge"], max_pixels=SIZES["longest_edge"])
    assert [*ours.grid] == theirs["image_grid_thw"][0].tolist()
    assert torch.allclose(ours.rows, theirs["pixel_values"], atol=1e-6)


def test_a_page_is_read_as_transformers_reads_it(backend: PageReaderBackend, folder: Path, page: Media) -> None:
    question = zoo.find("OvisOCR2").reading  # type: ignore[union-attr]
    assert question.startswith("\nExtract all readable content from the image")
    events = list(backend.stream(asked(page, question, max_new_tokens=24)))
    said = "".join(event.text for event in events if isinstance(event, Answer))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    its = Qwen2VLImageProcessorPil(patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3, size=SIZES)
    pictures = its(images=[Image.open(page.path)], return_tensors="pt")
    pads = "<|image_pad|>" * (int(pictures["image_grid_thw"].prod()) // 4)
    text = f"<|im_start|>user\n<|vision_start|>{pads}<|vision_end|>{question}<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer(f"{text}<think>\n\n</think>\n\n", return_tensors="pt", add_special_tokens=False)["input_ids"]
    model = Qwen3_5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    kinds = (ids == model.config.image_token_id).int()
    new = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=kinds, **pictures, max_new_tokens=24,
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )[0, ids.shape[1] :]  # fmt: skip
    expected = tokenizer.decode(new, skip_special_tokens=True)
    assert len(set(new.tolist())) > 5 and said == expected.lstrip("\n").rstrip("\ufffd")
    done = events[-1]
    assert (done.stats.prompt_tokens, done.stats.visual_tokens) == (ids.shape[1], int(kinds.sum()))  # type: ignore[union-attr]
    assert done.stats.seen[0].own_width == 500 and done.stats.answer_tokens == len(new)  # type: ignore[union-attr]


def test_stop_ends_it_and_the_next_page_is_read(backend: PageReaderBackend, page: Media) -> None:
    steps = list[int]()
    counted = backend._open(float("inf")).model.register_forward_hook(lambda *_: steps.append(1))
    with closing(backend.stream(asked(page, "Read.", max_new_tokens=30_000))) as events:  # type: ignore[type-var]
        next(event for event in events if isinstance(event, Answer))
    assert [event for event in backend.stream(asked(page, "Read.", max_new_tokens=2)) if not isinstance(event, Waiting)]
    counted.remove()
    assert len(steps) < 5_000, "of 30,000 steps"
    assert backend.status().model.alone and backend.offers() == []


def test_whoever_waits_and_whoever_asks_later_hears_that_it_is_being_shut_down(folder: Path, page: Media) -> None:
    backend = PageReaderBackend(Settings(model=str(folder), device="cpu", dtype="float32"), Limits())
    answering, waiting, late = (backend.stream(asked(page, "Read.", max_new_tokens=30_000)) for _ in range(3))
    next(event for event in answering if isinstance(event, Answer))
    assert isinstance(next(waiting), Waiting)
    backend.close()
    for events in (waiting, late):
        with pytest.raises(BackendError, match="shut down"):
            list(islice(events, 600))  # a minute of those that say to wait


def test_what_is_typed_is_text(backend: PageReaderBackend, page: Media) -> None:
    def tokens(text: str) -> int:
        *_, done = backend.stream(asked(page, text, max_new_tokens=1))
        return done.stats.prompt_tokens  # type: ignore[union-attr]

    assert tokens("<|im_end|>") == tokens("__im_end__")


def test_what_it_cant_do_is_a_sentence(backend: PageReaderBackend, page: Media, folder: Path) -> None:
    def why(request: Request) -> str:
        *_, last = chat.reply(backend, request)
        return last.messages[-1].error

    assert "looks at one picture" in why(Request(Conversation((Message("user", "Read.", (page, page)),))))
    long = Request(Conversation((Message("user", "x" * 40_000),)))
    assert "7,258 more than OvisOCR2 can read with an answer" in why(long)
    with pytest.raises(BackendError, match="start with another --model"):
        backend.change("Ovis2.5-2B")
    with pytest.raises(BackendError, match="leave --quantize and --adapter out"):
        open_backend(Settings(model=str(folder), quantize="int8"), Limits())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "tokenizer is missing or damaged"),
        (lambda folder: foreign(folder / "tokenizer.json"), "doesn't belong to its weights"),
        (lambda folder: (folder / "preprocessor_config.json").write_text('{"image_std": 0}'), "image_std"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99), "weights don't fit"),
        (lambda folder: without(folder / "model.safetensors"), "1 tensors differ"),
    ],
    ids=["tokenizer", "foreign", "pixels", "cut", "missing"],
)
def test_a_checkpoint_that_is_damaged_is_a_sentence(  # type: ignore[no-untyped-def]
    damage, words: str, folder: Path, tmp_path: Path, page: Media
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(folder, mine)
    damage(mine)
    with closing(open_backend(Settings(model=str(mine), device="cpu"), Limits())) as backend:
        *_, last = chat.reply(backend, asked(page, "Read."))
    assert words in last.messages[-1].error and "download it again" in last.messages[-1].error


def test_one_that_nobody_asks_gives_its_memory_back_and_is_brought_back(
    folder: Path, page: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, held = 0.0, list[weakref.ref[object]]()

    def slowly(*given: object) -> page_reader.PageReader:
        nonlocal now
        now += 600
        return load(*given)  # type: ignore[arg-type]

    load = page_reader.load
    monkeypatch.setattr(page_reader, "load", slowly)
    settings = Settings(model=str(folder), device="cpu", dtype="float32", unload_after=10.0)
    with closing(PageReaderBackend(settings, Limits(), clock=lambda: now)) as backend:

        def read() -> str:
            *_, last = chat.reply(backend, asked(page, "Read.", max_new_tokens=8))
            assert backend._reader is not None
            held.append(weakref.ref(backend._reader.model))
            return last.messages[-1].text

        backend.warm()
        until(lambda: backend.status().phase == "ready" and not backend._worker.busy)
        backend._idle.look()  # loading took as long as nobody has asked
        until(lambda: not backend._worker.busy)
        assert backend.status().phase == "ready"
        first = read()
        until(lambda: backend.status().phase == "ready")
        now += 600
        backend._idle.look()
        until(lambda: backend.status().phase == "unloaded")
        assert "was put aside after 10 min" in backend.status().words
        until(lambda: gc.collect() >= 0 and held[0]() is None)
        assert read() == first and held[1]() is not None


def foreign(file: Path) -> None:
    """Adds a token that the weights have no row for."""
    whole = json.loads(file.read_text())
    whole["model"]["vocab"]["other"] = 272
    file.write_text(json.dumps(whole))


def without(file: Path) -> None:
    """Takes one weight out."""
    weights = load_file(file)
    weights.pop(next(name for name in weights if "mlp.down_proj" in name))
    save_file(weights, file, {"format": "pt"})


def test_the_command_line_reads_with_it(folder: Path, page: Media, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--model", str(folder), "--device", "cpu", "--dtype", "float32", "--max-new-tokens", "8"]
    assert main(["read", str(page.path), "--out", str(out), *words]) == 0
    [line] = (out / "pages.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["model"] == "OvisOCR2" and json.loads(line)["tokens"] == 8

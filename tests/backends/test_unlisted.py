"""A repository that no row knows: what its files say counts, for one question and for many alike."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest
import torch
from PIL import Image

from ovis_app import chat, zoo
from ovis_app.backends.local import model_pool
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.backends.local.offline import OfflineAnswers
from ovis_app.checkpoints.placement import Placement
from ovis_app.conversation import Conversation, Media, Message
from ovis_app.generation import GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.models import devices
from ovis_app.settings import Settings

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"


def fetched(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Settings:
    """The name of a repository whose files lie in `folder`."""
    monkeypatch.setattr(model_pool, "folder_of", lambda *_: folder)
    model_pool.release()
    return Settings(model="someone/Unlisted", device="cpu", engine="plain")


def both(settings: Settings, conversation: Conversation, wanted: GenerationSettings) -> list[Message]:
    """The answer to one question, and that of a batch of one."""
    with closing(LocalBackend(settings, Limits())) as backend:
        *_, last = chat.reply(backend, Request(conversation, wanted))
    model_pool.release()
    return [last.messages[-1], *OfflineAnswers(settings, Limits()).answer([conversation], wanted)]


def test_thinking_is_left_out_where_nobody_taught_it(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = fetched(monkeypatch, GOLDEN / "ovis2" / "public-a" / "checkpoint")
    wanted = GenerationSettings(max_new_tokens=80, thinking=True, thinking_budget=8)
    for message in both(settings, Conversation((Message("user", "Hi"),)), wanted):
        assert not message.error and message.text


def test_two_pictures_are_refused_where_one_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = fetched(monkeypatch, GOLDEN / "ovis1.6" / "public-a" / "checkpoint")
    Image.new("RGB", (60, 60), "red").save(tmp_path / "red.png")
    asked = Message("user", "Hi", (Media("image", tmp_path / "red.png", "red.png"),) * 2)
    for message in both(settings, Conversation((asked,)), GenerationSettings(max_new_tokens=4)):
        assert "looks at one picture" in message.error


def test_pictures_are_read_at_the_size_that_the_files_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    shutil.copytree(GOLDEN / "ovis2.5" / "public-a" / "checkpoint", folder)
    facts = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**facts, "min_pixels": 4096, "max_pixels": 4096}))
    settings = fetched(monkeypatch, folder)
    Image.new("RGB", (300, 300), "red").save(tmp_path / "red.png")
    asked = Message("user", "Hi", (Media("image", tmp_path / "red.png", "red.png"),))
    for message in both(settings, Conversation((asked,)), GenerationSettings(max_new_tokens=4)):
        assert message.stats is not None and message.stats.visual_tokens == 4
    assert zoo.resolve("someone/Unlisted").single.max_pixels > 4096


def test_the_precision_is_chosen_by_what_the_files_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name alone doesn't tell that a model is small: where a CPU has bfloat16, that would be asked for."""
    monkeypatch.setattr(devices, "cpu_has_bfloat16", lambda: True)
    settings = fetched(monkeypatch, GOLDEN / "ovis2.5" / "public-a" / "checkpoint")
    spec = zoo.resolve(settings.model)
    asked = Placement.choose(spec, device="cpu")
    assert asked.dtype == torch.bfloat16
    loaded = model_pool.loaded_model(spec, asked)
    assert loaded.placement.dtype == torch.float32 == loaded.model.dtype
    assert model_pool.loaded_model(spec, asked) is loaded

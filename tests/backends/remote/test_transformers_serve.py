"""A real `transformers serve`, with a tiny Ovis2 of the -hf layout, answers through the remote backend."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("torch", reason="transformers serves with it")
pytest.importorskip("fastapi", reason="transformers serves with it")

from ovis_app.backends.remote.backend import RemoteBackend
from ovis_app.conversation import Message
from tests.backends.remote.asking import PICTURE, answer, remote, talk
from tests.backends.remote.hf_ovis2 import VISUAL, written
from tests.ui.serving import free_port
from tests.waiting import until

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteBackend]:
    folder = tmp_path_factory.mktemp("serve")
    model = written(folder / "model")
    (folder / "home" / "hub").mkdir(parents=True)
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, Path(sysconfig.get_path("scripts")) / "transformers", "serve", model, "--device", "cpu",
         "--host", "127.0.0.1", "--port", str(port)],
        env={**os.environ, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: _answers(port) or server.poll() is not None)
        with remote(f"box=http://127.0.0.1:{port}/v1", model=str(model)) as found:
            yield found
    finally:
        server.terminate()
        server.wait(timeout=60)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v1/models", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_it_answers_and_says_what_that_took(backend: RemoteBackend) -> None:
    said = answer(backend, "Hello", max_new_tokens=12)
    assert (said.text, said.finish, said.error) == ("!" * 12, "length", "")
    assert said.stats is not None and said.stats.answer_tokens == 12 and said.stats.prompt_tokens > 0


def test_pictures_and_earlier_turns_reach_the_model(backend: RemoteBackend) -> None:
    alone = answer(backend, "What is it?", max_new_tokens=4).stats
    seen = answer(backend, talk(Message("user", "What is it?", (PICTURE,))), max_new_tokens=4).stats
    later = talk(Message("user", "What is it?", (PICTURE,)), "A circle.", "And now?")
    more = answer(backend, later, max_new_tokens=4).stats
    assert alone is not None and seen is not None and more is not None
    assert alone.prompt_tokens + VISUAL <= seen.prompt_tokens < more.prompt_tokens


def test_settings_that_it_refuses_are_left_out(backend: RemoteBackend) -> None:
    said = answer(backend, "Hello", max_new_tokens=4, temperature=0.7, top_k=5, repetition_penalty=1.1, seed=3)
    assert said.error == "" and said.finish == "length"

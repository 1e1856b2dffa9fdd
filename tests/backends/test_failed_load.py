"""A model that can't be loaded: the page stays up and says why, whoever waits hears it, and the next try may go well.
On a tiny checkpoint, which tests take away and bring back."""

from __future__ import annotations

import errno
import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from ovis_app.backends.local import model_pool
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.errors import BackendError
from ovis_app.limits import Limits
from ovis_app.logs import JsonLines
from ovis_app.settings import Settings
from tests.backends.test_model_switch import FOLDERS, answer, ask
from tests.ui.serving import Wire, served
from tests.waiting import PATIENCE, until


@pytest.fixture
def away(tmp_path: Path) -> Path:
    """A folder with half of its weights."""
    folder = tmp_path / "tiny"
    shutil.copytree(FOLDERS["ovis2.5"], folder)
    weights = folder / "model.safetensors"
    weights.rename(tmp_path / "whole")
    weights.write_bytes((tmp_path / "whole").read_bytes()[:50_000])
    return folder


def bring_back(folder: Path) -> None:
    (folder.parent / "whole").replace(folder / "model.safetensors")


@pytest.fixture
def backend(away: Path) -> Iterator[LocalBackend]:
    with closing(LocalBackend(Settings(model=str(away), device="cpu"), Limits())) as here:
        yield here


def test_whoever_waits_for_a_load_that_fails_hears_why_and_who_comes_later_has_another_try(
    backend: LocalBackend, away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries, may, whole = 0, threading.Event(), model_pool.loaded_model

    def counted(*given: object, **options: object) -> object:
        nonlocal tries
        tries += 1
        assert may.wait(PATIENCE)
        return whole(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(model_pool, "loaded_model", counted)

    def six() -> list[str]:
        """What six hear who ask while the first of them is being seen to."""
        may.clear()
        submitted = backend._worker._submitted
        with ThreadPoolExecutor(6) as threads:
            asked = [threads.submit(answer, backend, ask("Hi")) for _ in range(6)]
            until(lambda: backend._worker._submitted == submitted + 6)
            may.set()
        return [one.result().error for one in asked]

    [why] = set(six())
    assert tries == 1 and "tiny" in why and str(away) not in why and why.endswith(".")
    until(lambda: not backend._worker.busy)
    assert backend.status().phase == "failed" and backend.status().why == why
    assert {*six()} == {why} and tries == 2
    bring_back(away)
    assert six() == [""] * 6 and tries == 3
    assert backend.status().why == ""


def test_the_log_has_each_try_once_with_what_was_raised(
    backend: LocalBackend, away: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise BackendError("Nobody has weights.")

    def lines() -> list[dict[str, object]]:
        until(lambda: not backend._worker.busy)
        found = [one for one in caplog.records if one.name.startswith("ovis_app.backends")]
        caplog.clear()
        return [json.loads(JsonLines().format(one)) for one in found]

    bring_back(away)
    monkeypatch.setattr(model_pool, "load_weights", failing)
    caplog.set_level("INFO", "ovis_app")
    assert answer(backend, ask("Hi")).error == "Nobody has weights."
    [line] = lines()
    assert line["errors"] == ["BackendError"] and line["trace"] and "Nobody" not in json.dumps(line)
    backend.change(str(FOLDERS["ovis2"]))
    until(lambda: backend.status().change is None)
    assert backend.status().problem == "Nobody has weights. Nobody has weights."
    assert [line["errors"] for line in lines()] == [["BackendError"]] * 2  # the new model, and the old one again


def test_page_and_programs_say_why_and_have_a_way_on(backend: LocalBackend, away: Path) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 4}
    with served(backend) as here, closing(Wire(here)) as tab:
        backend.warm()
        until(lambda: backend.status().phase == "failed")
        why = backend.status().why
        look = tab.event("load-again", "click")
        for stream in (False, True):
            refused = httpx.post(here.url + "v1/chat/completions", json={**body, "stream": stream}, timeout=PATIENCE)
            assert (refused.status_code, refused.json()["error"]["message"]) == (503, why)
            assert int(refused.headers["retry-after"]) > 0
        shown = json.dumps(tab.run(tab.event("models", "look"), tab.defaults(look)))
        assert json.dumps(why)[1:-1] in shown and "pill failed" in shown
        assert tab.ask("Hi")["sentence"] == why
        bring_back(away)
        tab.run(look, tab.defaults(look))
        until(lambda: backend.status().phase == "ready")
        shown = json.dumps(tab.run(look, tab.defaults(look)))
        assert why not in shown and ">ready<" in shown
        assert httpx.post(here.url + "v1/chat/completions", json=body, timeout=PATIENCE).status_code == 200


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "tiny needs more memory than is free"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), "more memory than is free"),
        (OSError(errno.ENOMEM, "Cannot allocate memory", "/secret"), "more memory than is free"),
        (OSError(errno.EIO, "Input/output error", "/secret"), "the cause is in the server's log"),
    ],
)
def test_what_a_machine_says_of_its_memory_and_disks_is_one_sentence(
    backend: LocalBackend, away: Path, error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_back(away)

    def failing(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(model_pool, "load_weights", failing)
        why = answer(backend, ask("Hi")).error
    assert said in why and "secret" not in why and why.count(".") == 1 and why == backend.status().why
    assert answer(backend, ask("Hi")).error == ""


def test_where_the_first_model_cannot_be_loaded_another_one_can_be_chosen(backend: LocalBackend) -> None:
    assert answer(backend, ask("Hi")).error
    backend.change(str(FOLDERS["ovis2"]))
    until(lambda: backend.status().change is None)
    status = backend.status()
    assert (status.phase, status.why, status.problem) == ("ready", "", "") and status.model.id == str(FOLDERS["ovis2"])
    assert answer(backend, ask("Hi")).error == ""

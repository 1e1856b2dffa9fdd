"""Figures for Prometheus: right, told to those alone who may read them, and of no word that anybody said."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ovis_app.backend import Occupancy
from ovis_app.backends.fair_queue import FairQueue
from ovis_app.backends.fake import FakeBackend
from ovis_app.conversation import Conversation, Message, Stats
from ovis_app.errors import OUT_OF_MEMORY, BackendError
from ovis_app.generation import Answer, Done, Event, Request, Waiting
from ovis_app.limits import Limits
from ovis_app.outcomes import Outcome
from tests.api.openai_program import Program, body
from tests.ui.raw_http import a_file, ask, sentence, upload
from tests.ui.serving import HeldBackend, Served, Wire, served, served_api
from tests.waiting import until

ROOT = Path(__file__).parents[2]
SECRET = "CanaryMarmalade"


def figures(server: Served, *headers: str) -> dict[str, float]:
    said = ask(server, "/metrics", *headers)
    assert said.status == 200 and said.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(said.body.decode())
    return {
        one.name + "".join(f"[{value}]" for value in one.labels.values()): one.value
        for family in families
        for one in family.samples
    }


@dataclass
class Telling(HeldBackend):
    """Its answers have known figures."""

    def stream(self, request: Request) -> Iterator[Event]:
        text = request.conversation.messages[-1].text
        if "memory" in text:
            raise BackendError(OUT_OF_MEMORY)
        if "figures" not in text:
            yield from super().stream(request)
            return
        yield Waiting("")
        yield Answer(SECRET)
        yield Done("end", Stats(prompt_tokens=100, cached_tokens=64, answer_tokens=7, tokens_per_second=30.0))

    def occupancy(self) -> Occupancy:
        return Occupancy(blocks=500, blocks_used=3, blocks_cached=40)


@pytest.fixture
def server() -> Iterator[Served]:
    with served_api(Telling(), metrics="here") as here:
        yield here


def test_what_was_asked_is_counted_and_what_is_taken_is_told(server: Served) -> None:
    program = Program(server)
    for _ in range(2):
        program.ask(body(f"figures {SECRET}"))
    for text in ("crash", "fail", "memory"):
        program.ask(body(f"{text} {SECRET}"))
    assert upload(server, *[a_file(f"{SECRET}.png")] * 500).status == 413
    told = figures(server)
    assert told["ovis_answers_total[end]"] == 2 and told["ovis_answers_total[error]"] == 3
    kinds = {name: told[f"ovis_errors_total[{name}]"] for name in ("unexpected", "backend", "memory")}
    assert kinds == {"unexpected": 1, "backend": 1, "memory": 1} and told["ovis_uploads_refused_total"] == 1
    assert (told["ovis_prompt_tokens_total"], told["ovis_generated_tokens_total"]) == (200, 14)
    assert told["ovis_prefix_cache_hit_tokens_total"] == 128
    assert told["ovis_time_to_first_token_seconds_count"] == 2
    assert told["ovis_tokens_per_second_bucket[20.0]"] == 0 and told["ovis_tokens_per_second_bucket[50.0]"] == 2
    assert (told["ovis_kv_blocks"], told["ovis_kv_blocks_used"], told["ovis_kv_blocks_cached"]) == (500, 3, 40)
    assert told["ovis_requests_running"] == told["ovis_requests_waiting"] == 0 and told["ovis_ready"] == 1
    assert "ovis_device_memory_bytes" not in told  # which nobody here can tell
    assert sys.platform != "linux" or told["process_resident_memory_bytes"] > 10e6
    assert SECRET not in ask(server, "/metrics").body.decode()


def test_what_is_refused_before_it_waits_is_counted_too(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with served(HeldBackend(), metrics="here") as server, closing(Wire(server)) as wire:
        program = Program(server)
        assert wire.ask(SECRET, [wire.upload(broken)])["kind"] == "failed"
        assert wire.ask(SECRET, temperature=-1)["kind"] == "failed"
        for data in ([f"{SECRET}.png"], [""]):
            assert httpx.post(f"{server.url}gradio_api/run/describe", json={"data": data}).status_code == 400
        for asked in (body(SECRET, temperature=-1), body(SECRET, "data:image/png;base64,AAAA")):
            program.ask(asked)
        told = figures(server)
    kinds = {kind: told[f"ovis_errors_total[{kind}]"] for kind in ("media", "request")}
    assert kinds == {"media": 4, "request": 2} and told["ovis_answers_total[error]"] == 6


PROXIED = ("X-Forwarded-For: 203.0.113.9", "Via: 1.1 proxy", "Forwarded: for=203.0.113.9", "CF-Ray: 1")


@pytest.mark.parametrize("who", ["here", "everyone"])
@pytest.mark.parametrize("header", PROXIED)
def test_whoever_comes_through_a_proxy_reads_none(who: str, header: str) -> None:
    with served_api(FakeBackend(), metrics=who, allowed_hosts="chat.example.org") as server:
        assert ask(server, "/metrics").status == 200
        assert ask(server, "/metrics", header).status == 403
        assert ask(server, "/metrics", host="chat.example.org").status == 403  # a tunnel that says nothing of itself


def test_others_read_them_where_that_was_asked_for_and_sign_in_where_people_do() -> None:
    outside = {"server_name": "0.0.0.0", "auth": ("anna:x",)}
    with served_api(FakeBackend(), metrics="here", **outside) as server:
        assert ask(server, "/metrics").status == 200
    with served_api(FakeBackend(), metrics="everyone", **outside) as server:
        assert ask(server, "/metrics").status == 401
        assert ask(server, "/metrics", "Authorization: Basic YW5uYTp4").status == 200
    with served_api(FakeBackend(), server_name="0.0.0.0") as server:
        assert "Not found" in sentence(ask(server, "/metrics"))


def test_without_the_flag_the_library_is_not_imported() -> None:
    code = (
        "import sys; from ovis_app import serve; from ovis_app.settings import Settings;"
        "serve.open_page(Settings(backend='fake')); print('prometheus_client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip() == "False", done.stderr


def test_who_waits_and_who_left_is_told() -> None:
    heard: list[Outcome] = []
    backend = HeldBackend()
    line = FairQueue(backend, Limits(), at_once=1, most_waiting=4, tell=heard.append)
    request = Request(Conversation((Message("user", "held"),)))
    with closing(line.stream(request)) as first, closing(line.stream(request)) as second:
        next(first), next(second)
        taken = line.occupancy()
        assert (taken.running, taken.waiting, taken.blocks) == (1, 1, None)
    until(lambda: len(heard) == 2)
    waited, left = sorted(heard, key=lambda one: one.first_token_seconds is not None)
    assert waited.finish == left.finish == "stopped" and waited.first_token_seconds is None

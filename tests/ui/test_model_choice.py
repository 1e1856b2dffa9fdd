"""Who may change the model: this machine's own visitors, and everybody where the operator says so."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from tests.ui.raw_http import Said, ask, post
from tests.ui.serving import HeldBackend, Served, Wire, served

PROXIED = ["X-Forwarded-For: 203.0.113.5", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: chat.example",
           "X-Forwarded-Proto: https", "Forwarded: for=203.0.113.5", "Via: 1.1 proxy", "X-Real-IP: 203.0.113.5",
           "CF-Connecting-IP: 203.0.113.5", "CF-Ray: 1"]  # fmt: skip


def change(server: Served, wire: Wire, *headers: str, host: str = "", name: str = "Ovis2-1B") -> Said:
    chosen = wire.event("use-own", "click")
    body = {"fn_index": chosen["id"], "session_hash": wire.session, "data": [None, "", None, name]}
    return post(server, "/gradio_api/run/predict", json.dumps(body).encode(), *headers, host=host)


@pytest.mark.parametrize("header", PROXIED)
def test_whoever_comes_through_a_proxy_cannot_change_the_model(header: str, tmp_path: Path) -> None:
    with served(HeldBackend(fetching=60), allowed_hosts="chat.example") as server, closing(Wire(server)) as wire:
        for name in ("Ovis2-1B", str(tmp_path)):
            said = change(server, wire, header, name=name)
            assert said.status == 200 and b"Only whoever runs this page" in said.body
            assert str(tmp_path).encode() not in said.body
        assert server.backend.coming is None
        change(server, wire)
        assert server.backend.coming is not None
        cancel = {"fn_index": wire.event("cancel-change", "click")["id"], "session_hash": wire.session}
        post(server, "/gradio_api/run/predict", json.dumps({**cancel, "data": [None, "", None]}).encode(), header)
        assert not server.backend.cancelled.is_set()
        server.backend.cancel_change()


def test_only_names_of_this_machine_may_change_the_model() -> None:
    with served(HeldBackend(fetching=60), allowed_hosts="chat.example") as server, closing(Wire(server)) as wire:
        for host, origin in (("chat.example", ""), ("", "Origin: https://chat.example")):
            said = change(server, wire, *([origin] if origin else []), host=host)
            assert said.status == 200 and b"Only whoever runs this page" in said.body
        assert server.backend.coming is None


def test_a_proxy_that_adds_nothing_but_speaks_the_old_protocol_is_one() -> None:
    with served(HeldBackend(fetching=60)) as server, closing(Wire(server)) as wire:
        data = [None, "", None, "Ovis2-1B"]
        body = {"fn_index": wire.event("use-own", "click")["id"], "session_hash": wire.session, "data": data}
        said = ask(server, "/gradio_api/run/predict", "Content-Type: application/json", method="POST",
                   body=json.dumps(body).encode(), version="1.0")  # fmt: skip
        assert said.status == 200 and b"Only whoever runs this page" in said.body
        assert server.backend.coming is None


def test_the_operator_may_let_everybody_choose() -> None:
    with served(HeldBackend(fetching=60), model_choice="on") as server, closing(Wire(server)) as wire:
        change(server, wire, "X-Forwarded-For: 203.0.113.5")
        assert server.backend.coming is not None
        server.backend.cancel_change()


def test_the_choice_is_shown_only_to_whom_it_belongs() -> None:
    for header, shown in (("X-Forwarded-For: 203.0.113.5", False), ("X-Harmless: 1", True)):
        with served(HeldBackend()) as server, closing(Wire(server)) as wire:
            choice = wire.id_of("may-choose")
            [load] = [d for d in wire.config["dependencies"] if d["outputs"] == [choice]]
            body = {"fn_index": load["id"], "session_hash": wire.session, "data": []}
            said = post(server, "/gradio_api/run/predict", json.dumps(body).encode(), header)
            assert ("<i>" in json.loads(said.body)["data"][0]) is shown
            opened = {"fn_index": wire.event("model", "click")["id"], "session_hash": wire.session, "data": ["", None]}
            said = post(server, "/gradio_api/run/predict", json.dumps(opened).encode(), header)
            assert (b"Ovis2.5-9B" in said.body) is shown

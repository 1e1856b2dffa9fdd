"""Who may change the model: this machine's own visitors, and everybody where the operator says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ovis_app import zoo
from tests.ui.raw_http import Said, ask, post
from tests.ui.serving import HeldBackend, Served, Wire, served
from tests.waiting import until

PROXIED = ["X-Forwarded-For: 203.0.113.5", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: chat.example",
           "X-Forwarded-Proto: https", "Forwarded: for=203.0.113.5", "Via: 1.1 proxy", "X-Real-IP: 203.0.113.5",
           "CF-Connecting-IP: 203.0.113.5", "CF-Ray: 1", "Client-IP: 203.0.113.5", "X-ProxyUser-Ip: 203.0.113.5",
           "X-Original-Forwarded-For: 203.0.113.5", "CDN-Loop: x", "X-Azure-ClientIP: 203.0.113.5",
           "X-Varnish: 1"]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    """A page that another name leads to as well, and whose changes of models take longer than any test."""
    with served(HeldBackend(fetching=600), allowed_hosts="chat.example") as here:
        yield here


def chosen(wire: Wire, name: str = "Ovis2-1B") -> bytes:
    body = {"fn_index": wire.event("use-own", "click")["id"], "session_hash": wire.session}
    return json.dumps({**body, "data": [None, "", None, name, None]}).encode()


def change(server: Served, wire: Wire, *headers: str, host: str = "", name: str = "Ovis2-1B") -> Said:
    return post(server, "/gradio_api/run/predict", chosen(wire, name), *headers, host=host)


def refused(said: Said) -> bool:
    return said.status == 200 and b"Only whoever runs this page" in said.body


def end(server: Served) -> None:
    server.backend.cancel_change()
    until(lambda: server.backend.coming is None)


@pytest.mark.parametrize("header", PROXIED)
def test_whoever_comes_through_a_proxy_cannot_change_the_model(
    server: Served, wire: Wire, header: str, tmp_path: Path
) -> None:
    for name in ("Ovis2-1B", str(tmp_path)):
        said = change(server, wire, header, name=name)
        assert refused(said) and str(tmp_path).encode() not in said.body
    assert server.backend.coming is None
    change(server, wire)
    assert server.backend.coming is not None
    cancel = {"fn_index": wire.event("cancel-change", "click")["id"], "session_hash": wire.session}
    post(server, "/gradio_api/run/predict", json.dumps({**cancel, "data": [None, "", None]}).encode(), header)
    assert not server.backend.cancelled.is_set()
    end(server)


def test_only_names_of_this_machine_may_change_the_model(server: Served, wire: Wire) -> None:
    for host, headers in (("chat.example", []), ("", ["Origin: https://chat.example"])):
        assert refused(change(server, wire, *headers, host=host))
    assert server.backend.coming is None


def test_a_proxy_that_adds_nothing_but_speaks_the_old_protocol_is_one(server: Served, wire: Wire) -> None:
    kind = "Content-Type: application/json"
    assert refused(ask(server, "/gradio_api/run/predict", kind, method="POST", body=chosen(wire), version="1.0"))
    assert server.backend.coming is None


def test_the_operator_may_let_everybody_choose() -> None:
    with served(HeldBackend(fetching=600), model_choice="on") as open_to_all, closing(Wire(open_to_all)) as wire:
        change(open_to_all, wire, "X-Forwarded-For: 203.0.113.5")
        assert open_to_all.backend.coming is not None
        end(open_to_all)


@pytest.mark.parametrize(("header", "shown"), [("X-Forwarded-For: 203.0.113.5", False), ("X-Harmless: 1", True)])
def test_the_choice_is_shown_only_to_whom_it_belongs(server: Served, wire: Wire, header: str, shown: bool) -> None:
    choice = wire.id_of("may-choose")
    [load] = [d for d in wire.config["dependencies"] if d["outputs"] == [choice]]
    body = {"fn_index": load["id"], "session_hash": wire.session, "data": []}
    said = post(server, "/gradio_api/run/predict", json.dumps(body).encode(), header)
    assert ("<i>" in json.loads(said.body)["data"][0]) is shown
    opened = {"fn_index": wire.event("model", "click")["id"], "session_hash": wire.session, "data": ["", None, "", ""]}
    said = post(server, "/gradio_api/run/predict", json.dumps(opened).encode(), header)
    assert (b"Ovis2.5-9B" in said.body) is shown


def test_the_model_that_answers_is_quantized_by_whoever_may_and_nobody_else() -> None:
    with served(HeldBackend(fetching=0.1)) as here, closing(Wire(here)) as wire:
        wire.open_models()
        ways = json.dumps(wire.run(wire.event("model-list", "change"), ["AIDC-AI/Ovis2.5-9B", "", "none"]))
        for told in ("Weights of Ovis2.5-9B; 24.0 GB are free", "As released\\ntight (needs 18.3 GB)",
                     "8 bits\\nfits (needs 11.0 GB)", "4 bits\\nfits (needs 7.3 GB)"):  # fmt: skip
            assert told in ways
        use = {"fn_index": wire.event("use-model", "click")["id"], "session_hash": wire.session}
        body = json.dumps({**use, "data": [None, "", None, None, "int4"]}).encode()
        said = post(here, "/gradio_api/run/predict", body, "X-Real-IP: 203.0.113.5")
        assert refused(said) and here.backend.quantize == "none"
        post(here, "/gradio_api/run/predict", body)
        until(lambda: here.backend.quantize == "int4" and here.backend.coming is None)
        assert here.backend.model.name == "Ovis-mini"


def test_models_are_sorted_by_what_they_are_wanted_for_with_how_fast_they_are() -> None:
    with served(HeldBackend()) as here, closing(Wire(here)) as wire:
        opened = wire.event("model", "click")
        listed = opened["outputs"].index(wire.id_of("model-list"))

        def rows(wish: str) -> list[str]:
            return [text for text, _ in wire.open_models(wish)[listed]["choices"]]

        assert len(rows("")) == len(zoo.MODELS) - 1, "nothing wished: all of them, but the one that answers"
        small, fast, best = rows("small"), rows("fast"), rows("best")
        assert small[0].startswith("OvisOCR2\n") and small[1].startswith("Ovis2-2B-GPTQ")
        assert fast[0].startswith("Ovis2-1B\n") and "at most about 1,000 tokens/s" in fast[0]
        assert all("tokens/s" in row for row in fast), "where nobody knows how fast it is nothing is said"
        assert best[0].startswith("Ovis2.5-9B\n") and not any("too big" in row for row in best)
        here.backend.offers_on = lambda _: [replace(one, speed=None) for one in here.backend.offers()]
        card = json.dumps(wire.run(wire.event("card-memory", "change"), ["", [], "80", "fast"]))
        assert "tokens/s" not in card and "as a rule the small ones are the fastest" in card
        reader = rows("read")[0]
        assert reader.startswith("OvisOCR2\n") and "tokens/s" not in reader
        assert "OvisOCR2" not in "".join(rows("chat")), "which reads pages and doesn't talk"

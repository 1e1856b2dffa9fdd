"""Who may change the model: this machine's own visitors, and everybody where the operator says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

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


def chosen(wire: Wire, **asked: Any) -> bytes:
    return json.dumps({"session_hash": wire.session, "data": [asked]}).encode()


def change(server: Served, wire: Wire, *headers: str, host: str = "", name: str = "Ovis2-1B") -> Said:
    return post(server, "/gradio_api/run/change_model", chosen(wire, name=name), *headers, host=host)


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
    assert refused(post(server, "/gradio_api/run/cancel_change", chosen(wire), header))
    assert not server.backend.cancelled.is_set()
    end(server)


def test_only_names_of_this_machine_may_change_the_model(server: Served, wire: Wire) -> None:
    for host, headers in (("chat.example", []), ("", ["Origin: https://chat.example"])):
        assert refused(change(server, wire, *headers, host=host))
    assert server.backend.coming is None


def test_a_proxy_that_adds_nothing_but_speaks_the_old_protocol_is_one(server: Served, wire: Wire) -> None:
    kind, body = "Content-Type: application/json", chosen(wire, name="Ovis2-1B")
    assert refused(ask(server, "/gradio_api/run/change_model", kind, method="POST", body=body, version="1.0"))
    assert server.backend.coming is None


def test_the_operator_may_let_everybody_choose() -> None:
    with served(HeldBackend(fetching=600), model_choice="on") as open_to_all, closing(Wire(open_to_all)) as wire:
        change(open_to_all, wire, "X-Forwarded-For: 203.0.113.5")
        assert open_to_all.backend.coming is not None
        end(open_to_all)


@pytest.mark.parametrize(("header", "shown"), [("X-Forwarded-For: 203.0.113.5", False), ("X-Harmless: 1", True)])
def test_the_choice_is_shown_only_to_whom_it_belongs(server: Served, wire: Wire, header: str, shown: bool) -> None:
    load = next(d for d in wire.config["dependencies"] if d["outputs"] == [wire.id_of("facts")])
    body = {"fn_index": load["id"], "session_hash": wire.session, "data": []}
    said = post(server, "/gradio_api/run/predict", json.dumps(body).encode(), header)
    assert json.loads(json.loads(said.body)["data"][0])["may_choose"] is shown
    said = post(server, "/gradio_api/run/offers", chosen(wire), header)
    assert (b"Ovis2.5-9B" in said.body) is shown and refused(said) is not shown


def test_where_a_model_lies_is_told_to_nobody_who_may_not_choose(tmp_path: Path) -> None:
    mine = replace(zoo.MINI, id=str(tmp_path), name="mine", bundled=False)
    with served(HeldBackend(model=mine)) as here, closing(Wire(here)) as wire:
        look = wire.event("models", "look")
        body = json.dumps({"fn_index": look["id"], "session_hash": wire.session, "data": [None, None]}).encode()
        for header, told in (("X-Forwarded-For: 203.0.113.5", False), ("X-Harmless: 1", True)):
            said = post(here, "/gradio_api/run/predict", body, header)
            assert said.status == 200 and (str(tmp_path).encode() in said.body) is told
        assert all(str(tmp_path).encode() not in ask(here, target).body for target in ("/", "/config"))


@pytest.mark.parametrize(
    "asked",
    [None, [], "Ovis2-1B", {"name": 5}, {"name": ["Ovis2-1B"]}, {"name": {"a": 1}}, {"name": "x" * 5000},
     {"name": "a\0b"}, {"name": "Ovis2-1B", "way": "int3"}, {"name": "Ovis2-1B", "way": ["int4"]}, {"way": 4},
     {"name": "Ovis2-1B", "way": ""}, {"name": "Ovis2-1B", "way": False}, {}, {"name": "  "}],
)  # fmt: skip
def test_what_is_no_choice_is_one_sentence_and_changes_nothing(
    server: Served, wire: Wire, asked: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    said = wire.call("change_model", asked)
    assert said["refused"].endswith(".") and "int3" not in said["refused"] and said["told"]["coming"] is None
    assert server.backend.coming is None and capfd.readouterr().err == ""


def test_the_model_that_answers_is_quantized_by_whoever_may_and_nobody_else() -> None:
    with served(HeldBackend(fetching=0.1)) as here, closing(Wire(here)) as wire:
        offer = next(one for one in wire.offers()["offers"] if one["id"] == "AIDC-AI/Ovis2.5-9B")
        assert offer["label"] == "Weights of Ovis2.5-9B; 24.0 GB are free"
        assert offer["ways"] == [
            {"way": "none", "row": "As released\ntight (needs 18.3 GB)"},
            {"way": "int8", "row": "8 bits\nfits (needs 11.0 GB)"},
            {"way": "int4", "row": "4 bits\nfits (needs 7.3 GB)"},
        ]
        body = chosen(wire, name="", way="int4")
        said = post(here, "/gradio_api/run/change_model", body, "X-Real-IP: 203.0.113.5")
        assert refused(said) and here.backend.quantize == "none"
        post(here, "/gradio_api/run/change_model", body)
        until(lambda: here.backend.quantize == "int4" and here.backend.coming is None)
        assert here.backend.model.name == "Ovis-mini"


def test_models_are_sorted_by_what_they_are_wanted_for_with_how_fast_they_are() -> None:
    with served(HeldBackend()) as here, closing(Wire(here)) as wire:
        told = wire.offers()

        def rows(wish: str) -> list[str]:
            order = next(one["order"] for one in told["wishes"] if one["name"] == wish)
            return [told["offers"][place]["row"] for place in order]

        assert len(told["offers"]) == len(zoo.MODELS)
        small, fast, best = rows("small"), rows("fast"), rows("best")
        assert small[0].startswith("OvisOCR2\n") and small[1].startswith("Ovis2-2B-GPTQ")
        assert fast[0].startswith("Ovis2-1B\n") and "at most about 1,000 tokens/s" in fast[0]
        assert all("tokens/s" in row for row in fast), "where nobody knows how fast it is nothing is said"
        assert best[0].startswith("Ovis2.5-9B\n") and not any("too big" in row for row in best)
        reader = rows("read")[0]
        assert reader.startswith("OvisOCR2\n") and "tokens/s" not in reader
        assert "OvisOCR2" not in "".join(rows("chat")), "which reads pages and doesn't talk"
        here.backend.offers_on = lambda _: [replace(one, speed=None) for one in here.backend.offers()]
        told = wire.offers("80")
        assert "tokens/s" not in json.dumps(told["offers"]) and rows("fast") == []
        assert "as a rule the small ones are the fastest" in told["wishes"][3]["lacking"]

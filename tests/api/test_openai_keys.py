"""Who may ask: keys, proxies, other sites' pages, and what the log says of it."""

from __future__ import annotations

import base64
import logging

import httpx
import pytest

from tests.api.openai_program import KEYS, Program, body, refused
from tests.ui.serving import HeldBackend, Served, Wire, served, served_api
from tests.waiting import PATIENCE


def test_keys_are_asked_for_and_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with served_api(HeldBackend(), api_key=KEYS) as there:
        for key in KEYS:
            assert Program(there, key).ask(body()).status_code == 200
        for key in ("", "x", KEYS[0][:-1], KEYS[0] + "x", KEYS[0].upper(), " ".join(KEYS), "k" * 9000):
            for answer in (
                Program(there, key).ask(body()),
                Program(there, key).ask(b"x" * 100),
                Program(there, key).get("v1/models"),
                Program(there, key).ask(body(), "tokenize"),
            ):
                error = refused(answer, 401)
                assert error["code"] == "invalid_api_key" and answer.headers["www-authenticate"] == "Bearer"
        assert "needs a key" in refused(Program(there).get("v1/models"), 401)["message"]
        assert "isn't one of" in refused(Program(there, "x").get("v1/models"), 401)["message"]
        basic = httpx.get(there.url + "v1/models", headers={"Authorization": f"Basic {KEYS[0]}"})
        refused(basic, 401)
        clients = {request.client for request in there.backend.requests}
        assert len(clients) == 2 and not any(key in client for key in KEYS for client in clients)
    assert not any(key in caplog.text for key in KEYS)


def test_on_this_machine_alone_no_key_is_needed_and_any_is_fine(here: Served) -> None:
    assert Program(here, "EMPTY").ask(body()).status_code == 200


def test_where_strangers_come_and_no_key_is_set_there_is_no_api(caplog: pytest.LogCaptureFixture) -> None:
    with served(HeldBackend(), server_name="0.0.0.0") as there:
        assert httpx.get(there.url).status_code == 200, "the page is there"
        program = Program(there)
        refused(program.get("v1/models"), 404)
        refused(program.ask(body()), 404)
        refused(program.ask(body(), "tokenize"), 404)
    told = [record.getMessage() for record in caplog.records if "/v1" in record.getMessage()]
    assert len(told) == 1 and "--api-key-file" in told[0] and told[0].endswith(".")
    with served_api(HeldBackend(), server_name="0.0.0.0", api_key=KEYS) as there:
        refused(Program(there).get("v1/models"), 401)
        assert Program(there, KEYS[1]).ask(body()).status_code == 200


def test_whoever_comes_through_a_proxy_on_this_machine_needs_a_key() -> None:
    """A proxy asks from here, for strangers."""
    strangers = ({"X-Forwarded-For": "192.0.2.7"}, {"Host": "chat.example.org"}, {"Via": "1.1 proxy"})
    with served_api(HeldBackend(), allowed_hosts="chat.example.org") as there:
        for headers in strangers:
            answer = httpx.post(f"{there.url}v1/chat/completions", headers=headers, json=body(), timeout=PATIENCE)
            refused(answer, 404, "set no key")
        assert Program(there).ask(body()).status_code == 200
    with served_api(HeldBackend(), allowed_hosts="chat.example.org", api_key=KEYS) as there:
        for headers in strangers:
            keyed = {**headers, "Authorization": f"Bearer {KEYS[0]}"}
            assert httpx.get(f"{there.url}v1/models", headers=keyed, timeout=PATIENCE).status_code == 200


def test_another_sites_page_may_not_ask(here: Served) -> None:
    answer = httpx.post(here.url + "v1/chat/completions", json=body(), headers={"Origin": "https://evil.example"})
    refused(answer, 403)
    answer = httpx.get(here.url + "v1/models", headers={"Host": "evil.example"})
    refused(answer, 421)


def test_nothing_of_a_request_is_logged(program: Program, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="ovis_app")
    program.ask(body("a secret question", "data:image/png;base64,c2VjcmV0"))
    program.ask(b'{"a secret": ')
    program.ask(body("secret", temperature="secret"))
    program.ask(body("secret fail"))
    assert "secret" not in caplog.text and "c2VjcmV0" not in caplog.text


def test_the_page_and_programs_wait_in_one_line_as_different_clients() -> None:
    backend = HeldBackend()
    with served(backend, api_key=KEYS) as there:
        wire = Wire(there)
        wire.ask("from the page")
        for key in KEYS:
            Program(there, key).ask(body("from a program"))
        wire.close()
        clients = [request.client for request in backend.requests]
        assert clients[0] == f"page:{wire.session}" and len(set(clients)) == 3


@pytest.mark.parametrize(("trusted", "clients"), [(("127.0.0.1",), 2), ((), 1)])
def test_without_keys_an_address_counts_where_a_trusted_proxy_says_it(trusted: tuple[str, ...], clients: int) -> None:
    basic = "Basic " + base64.b64encode(b"anna:secret").decode()
    with served_api(HeldBackend(), auth=("anna:secret",), trusted_proxies=trusted) as there:
        for address in ("203.0.113.5", "203.0.113.9", "198.51.100.1, 203.0.113.9"):
            headers = {"Authorization": basic, "X-Forwarded-For": address}
            answer = httpx.post(f"{there.url}v1/chat/completions", json=body(), headers=headers, timeout=PATIENCE)
            assert answer.status_code == 200
        assert len({request.client for request in there.backend.requests}) == clients

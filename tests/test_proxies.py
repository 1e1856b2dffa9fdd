"""Proxies that the environment names: our own address goes past them, and one that nobody can use is a sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.request import proxy_bypass_environment

import httpx
import pytest

from ovis_app import proxies, serve
from ovis_app.cli import main
from ovis_app.errors import UserError
from ovis_app.settings import Settings


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """None of this machine's own, and all as it was afterwards."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_without_proxies_nothing_changes() -> None:
    before = dict(os.environ)
    proxies.prepare(["10.0.0.7"])
    proxies.check()
    assert dict(os.environ) == before


def test_our_own_addresses_go_past_them_and_others_through() -> None:
    os.environ |= {"HTTP_PROXY": "http://127.0.0.1:9", "no_proxy": "intern.example"}
    proxies.prepare(["10.0.0.7"])
    for own in ("127.0.0.1", "localhost", "10.0.0.7", "intern.example"):
        assert proxy_bypass_environment(own), own
    assert not proxy_bypass_environment("example.org")
    with httpx.Client() as client, pytest.raises(httpx.ConnectError):
        client.get("http://[::1]:1/")  # refused by this machine itself; a proxy's failure would be a ProxyError
    kept = os.environ["no_proxy"]
    proxies.prepare(["10.0.0.7"])
    assert os.environ["no_proxy"] == kept, "done twice is done once"


def test_who_asks_for_no_proxy_at_all_keeps_that() -> None:
    os.environ |= {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "*"}
    proxies.prepare()
    assert os.environ["NO_PROXY"] == "*" and "no_proxy" not in os.environ


def test_socks_as_desktops_write_it_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    os.environ["ALL_PROXY"] = "socks://someone:secret@127.0.0.1:9/"
    proxies.prepare()
    assert os.environ["ALL_PROXY"] == "socks5://someone:secret@127.0.0.1:9/"
    monkeypatch.setattr("ovis_app.proxies.find_spec", lambda _: object())
    proxies.check()
    monkeypatch.setattr("ovis_app.proxies.find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install socksio"):
        proxies.check()


@pytest.mark.parametrize(
    "proxy",
    ["socks4://u:secret@127.0.0.1:9", "ftp://secret:9", "http://secret:port", "http://", "http://[secret", "a b://"],
)
def test_a_proxy_that_nobody_can_use_is_a_sentence_without_its_password(
    proxy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    os.environ["ALL_PROXY"] = proxy
    with pytest.raises(UserError, match="ALL_PROXY names no proxy that can be used") as refused:
        serve.open_page(Settings(backend="fake"))
    assert "secret" not in str(refused.value)
    assert main(["Hi", "--backend", "remote", "--base-url", "http://127.0.0.1:9/v1"]) == 2
    assert "ALL_PROXY names no proxy" in capsys.readouterr().err
    assert main(["Hi", "--backend", "fake"]) == 0, "who needs none is not kept from work"


def test_the_import_of_the_page_needs_no_more_where_a_proxy_is_socks() -> None:
    pytest.importorskip("socksio")
    os.environ["ALL_PROXY"] = "socks5://127.0.0.1:9"
    proxies.prepare()
    proxies.check()
    httpx.Client().close()  # what gradio does where it is imported

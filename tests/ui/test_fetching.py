"""Files that the page has fetched from addresses: they come as uploads do, and nothing comes that mustn't."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
from PIL import Image

from ovis_app.media.fetch import receive
from ovis_app.ui import fetching
from tests.canary import canary
from tests.media.made_pdf import pdf, quarters
from tests.media.test_fetch import OK, anywhere, saying
from tests.ui.raw_http import MEGABYTE, Said, file, opened, post, sentence, stored
from tests.ui.serving import EXAMPLES, HeldBackend, Served, Wire, served
from tests.waiting import PATIENCE, until

PNG = (EXAMPLES / "shapes.png").read_bytes()
CANARY = "canary-51c0"
HAND = "download it and attach the file"


@pytest.fixture(scope="module")
def fetches() -> Iterator[Served]:
    with served(HeldBackend(), allow_urls=True, image_bytes=MEGABYTE) as here:
        yield here


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of this machine may be fetched from."""
    monkeypatch.setattr(fetching, "receive", functools.partial(receive, allowed=anywhere))


def get(server: Served, address: object, *headers: str, session: str = "7a6b0001") -> Said:
    body = json.dumps({"session": session, "address": address}).encode()
    return post(server, "/from-address", body, *headers)


def test_a_file_comes_as_if_it_had_been_uploaded(fetches: Served, near: None, tmp_path: Path) -> None:
    wire, other = Wire(fetches), Wire(fetches)
    picture, exif = Image.new("RGB", (64, 48), "teal"), Image.Exif()
    exif[0x010E] = CANARY
    picture.save(tmp_path / "a.jpg", exif=exif)
    photo = (tmp_path / "a.jpg").read_bytes()
    with saying(OK % (len(photo), photo)) as there:
        said = get(fetches, f"{there}/f%C3%BCr/K%C3%B6ln%201.jpg?x=1#y", session=wire.session)
    assert said.status == 200 and said.body == photo
    assert said.headers["content-type"] == "application/octet-stream"
    assert said.headers["content-disposition"].startswith("attachment") and said.headers["x-content-type-options"]
    path = unquote(said.headers["x-upload"])
    assert "no longer here" in other.bring(path)["refused"]  # it is the session's, before that has it looked at
    assert wire.bring(path)["files"][0]["name"] == "Köln 1.jpg" and said.headers["x-kind"] == "image/jpeg"
    seen = file(fetches, path)
    assert seen.status == 200 and CANARY.encode() in photo and CANARY.encode() not in seen.body  # a copy, as of uploads
    document = pdf([quarters(300)])
    with saying(OK % (len(document), document)) as there:
        said = get(fetches, f"{there}/", session=wire.session)
    assert said.body == document and said.headers["x-kind"] == "application/pdf"
    for one in (wire, other):
        one.close()


def test_nothing_of_this_machine_or_its_networks_is_asked(fetches: Served) -> None:
    before = set(stored(fetches))
    with canary() as bird:
        port = bird.address.rpartition(":")[2]
        for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "0.0.0.0", "[::1]",
                     "[::ffff:127.0.0.1]"):  # fmt: skip
            said = get(fetches, f"http://{host}:{port}/x.png")
            assert said.status == 400 and sentence(said).startswith("“x.png” ") and HAND in sentence(said), host
        there = f"http://{bird.address}/"
        odd = (there.replace("//", "//u:p@"), f"{there}\r\nX: y", f"{there}ä", f"\t{there}", there[5:],
               there.replace("http", "ftp"), f"http://{bird.address}:99999/", "http://", "http://[::1/", "",
               "x" * 60_000, "file:///etc/passwd", "data:image/png;base64,AAAA")  # fmt: skip
        for address in odd:
            said = get(fetches, address)
            assert said.status == 400 and HAND in sentence(said) and len(sentence(said)) < 250, address
        assert bird.hits == []
    assert "in a private network" in sentence(get(fetches, "http://169.254.169.254/latest/meta-data"))
    assert "in a private network" in sentence(get(fetches, "http://10.0.0.1/x.png"))
    assert set(stored(fetches)) == before


def test_what_cant_be_attached_isnt_handed_on_and_nothing_of_it_stays(fetches: Served, near: None) -> None:
    before = set(stored(fetches))
    page = b"<!doctype html><title>secret</title>" + b" " * 3000
    large = PNG + bytes(MEGABYTE)
    for answer, why in (
        (OK % (len(page), page), "holds text, not a picture or a clip"),
        (OK % (4, b"\0\1\2\3"), "is not a picture or a clip"),
        (OK % (0, b""), "is not a picture or a clip"),
        (OK % (len(large), large), "is larger than the 1 MB that are fetched"),
        (OK % (len(PNG), PNG[:-9]), "can't be fetched"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "its server answered 404"),
    ):
        with saying(answer) as there:
            said = get(fetches, f"{there}/a.png")
        assert said.status == 400 and why in sentence(said) and b"secret" not in said.body, why
    assert set(stored(fetches)) == before


def test_a_slow_server_is_left_with_its_tab(fetches: Served, near: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "receive", functools.partial(receive, allowed=anywhere, seconds=3 * PATIENCE))
    before = set(stored(fetches))
    body = json.dumps({"session": "7a6b0002", "address": "http://{}/a.png"})
    with saying(OK % (200_000, PNG + bytes(100_000)), ends=False) as there:
        body = body.replace("http://{}", there)
        length = f"Content-Length: {len(body)}"
        with opened(fetches, "/from-address", "Content-Type: application/json", length) as tab:
            tab.sendall(body.encode())
            until(lambda: set(stored(fetches)) > before)
        until(lambda: set(stored(fetches)) == before)
    monkeypatch.setattr(fetching, "receive", functools.partial(receive, allowed=anywhere, seconds=0.3))
    with saying(b"", ends=False) as there:
        assert "takes too long to fetch" in sentence(get(fetches, f"{there}/a.png"))


def test_only_the_page_may_ask_and_only_where_it_is_allowed(fetches: Served, server: Served) -> None:
    with canary() as bird:
        address = f"http://{bird.address}/x.png"
        assert get(fetches, address, "Origin: https://elsewhere.example").status == 403
        for values in ([], {}, {"session": "7a6b0001"}, {"session": "../x", "address": address},
                       {"session": "7a6b0001", "address": {"path": "/etc/passwd"}}):  # fmt: skip
            assert post(fetches, "/from-address", json.dumps(values).encode()).status == 400, values
        assert post(fetches, "/from-address", b"x" * 70_000).status == 413
        assert httpx.get(f"{fetches.url}from-address").status_code == 404
        said = get(server, address)
        assert (said.status, sentence(said)) == (403, fetching.NOT_HERE)
        assert bird.hits == []


def test_addresses_are_called_by_what_they_end_with() -> None:
    names = {
        "https://example.org/a/b/cat.png?size=2": "cat.png",
        "https://example.org/": "example.org",
        "https://example.org/..%2F..%2Fetc%2Fpasswd": "passwd",
        "https://example.org/a%0Ab.png": "a b.png",
        "http://[": "file",
        "nonsense": "nonsense",
    }
    assert {one: fetching.name_in(one) for one in names} == names

"""A file that a call names is one that whoever calls may use; everything else is one sentence, by every door."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from gradio.utils import get_upload_folder

from ovis_app.ui.http_named_files import NO_ADDRESSES, NOT_HERE
from tests.ui.raw_http import Said, post, sentence, stored
from tests.ui.serving import EXAMPLES, HeldBackend, Served, Wire, served

SHAPES = EXAMPLES / "shapes.png"
META = {"_type": "gradio.FileData"}


@pytest.fixture(scope="module")
def here() -> Iterator[Served]:
    with served(HeldBackend(), mcp=True) as made:
        yield made


@pytest.fixture(scope="module")
def forged(here: Served) -> list[dict[str, Any]]:
    """Files that nobody may name, each as a client would write it."""
    with closing(Wire(here)) as wire, closing(Wire(here)) as other:
        theirs = other.upload(SHAPES)
        other.ask("mine", [theirs])
        own, folder = wire.upload(SHAPES), here.store.folder
    hidden = Path(get_upload_folder()) / "hidden.png"
    hidden.write_bytes(SHAPES.read_bytes())
    paths = [
        "/etc/passwd", f"{folder}/../../../etc/passwd", theirs, str(hidden), str(folder), f"{folder}/lock",
        str(Path(own).parent), f"{own}/..", f"{own}/", f"/{own}", f"{own}\0.png", f"/gradio_api/file={own}",
        f"{folder}/x/../{Path(own).parent.name}/{Path(own).name}", f"{Path(own).parent}/seen.png", "", ".", "..",
        "x.png", "../x.png", "C:\\x", "\\etc\\passwd", "//etc/passwd", "\ud800", "x" * 5000, f"{EXAMPLES}/../x.png",
        str(EXAMPLES), str(Path(__file__).resolve()), "data:image/png;base64,AA",
        "http://127.0.0.1:9/x", "file:///etc/passwd", "HTTPS://example.com/x.png",
    ]  # fmt: skip
    odd = [{"is_stream": True}, {"orig_name": 5}, {"size": "abc"}, {"url": []}, {"meta": 5}, {"meta": {}}]
    return [{"path": path, "meta": META} for path in paths] + [{"path": own, "meta": META} | more for more in odd]


def is_refused(said: str) -> bool:
    return said in (NO_ADDRESSES, NOT_HERE)


def values(file: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The file as each endpoint could bring it: by itself, in a list, deep in something that takes no files."""
    yield "describe", {"image": file}
    yield "chat", {"question": "x", "files": [file]}
    yield "chat", {"question": "x", "history": [{"role": "user", "content": "x", "more": {"a": [file]}}]}
    yield "locate", {"image": file, "what": "it"}


def test_the_page_takes_no_forged_file(here: Served, forged: list[dict[str, Any]]) -> None:
    """Neither among the files of a question, nor where a call could hold one besides."""
    before, asked = stored(here), len(here.backend.requests)
    with closing(Wire(here)) as wire:
        for file in forged:
            for route in ("run/ask", "call/ask", "run/bring"):
                body = json.dumps({"data": [{"session": wire.session, "a": [file]}]}).encode()
                said = post(here, f"/gradio_api/{route}", body)
                assert said.status == 400 and is_refused(sentence(said)), (route, file)
            if file == {"path": file["path"], "meta": META} and file["path"] != "\ud800":  # the others: in what Gradio reads
                assert wire.bring(file["path"])["refused"].endswith("."), file
                last = wire.ask("x", [file["path"]])
                assert last["kind"] in ("missing", "failed") and not last.get("text"), file
    assert stored(here) == before and len(here.backend.requests) == asked


def test_no_endpoint_takes_a_forged_file(here: Served, forged: list[dict[str, Any]]) -> None:
    asked = len(here.backend.requests)
    for file in forged:
        for name, given in values(file):
            said = [post(here, f"/gradio_api/call/v2/{name}", json.dumps(given).encode())]
            listed = json.dumps({"data": list(given.values())}).encode()
            said += [post(here, f"/gradio_api/{how}/{name}", listed) for how in ("run", "api", "call")]
            assert all(one.status == 400 and is_refused(sentence(one)) for one in said), (name, file)
    assert len(here.backend.requests) == asked


def tool(here: Served, name: str, given: dict[str, Any]) -> Said:
    call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": name, "arguments": given}}
    accepted = "Accept: application/json, text/event-stream"
    return post(here, "/gradio_api/mcp/", json.dumps(call).encode(), accepted)


def test_no_tool_takes_a_forged_file_and_the_agent_reads_why(here: Served, forged: list[dict[str, Any]]) -> None:
    asked = len(here.backend.requests)
    for file in forged:
        for name, given in values(file):
            said = json.loads(tool(here, name, given).body)
            assert said["id"] == 7 and said["result"]["isError"], (name, file)
            assert is_refused(said["result"]["content"][0]["text"]), (name, file)
    assert len(here.backend.requests) == asked


def test_v1_takes_no_path_at_all(here: Served, forged: list[dict[str, Any]]) -> None:
    for file in forged:
        for url in (file["path"], file):
            part = {"type": "image_url", "image_url": {"url": url}}
            body = json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode()
            said = post(here, "/v1/chat/completions", body)
            assert said.status == 400 and sentence(said).endswith("."), url


def test_whoever_brought_a_file_may_name_it(here: Served) -> None:
    with closing(Wire(here)) as wire:
        assert "with shapes.png" in wire.ask("mine", [wire.upload(SHAPES)])["text"]
        free = wire.upload(SHAPES)
        full = {"path": free, "meta": META, "url": None, "size": 5, "mime_type": "image/png", "is_stream": False}
        for file in ({"path": free}, full):
            body = json.dumps({"data": [file]}).encode()
            assert post(here, "/gradio_api/run/describe", body).status == 200

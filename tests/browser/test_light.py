"""What the first look at the page costs beside a blank page of Gradio: bytes over the wire, and requests."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.first_load import blank, first_load
from tests.ui.serving import Served

MOST_KB, MOST_REQUESTS = 100, 20  # more than a blank page; nearly all of them are for what draws Gradio's parts


def test_the_first_load_is_little_more_than_a_blank_page(browser: Any, server: Served) -> None:
    with blank() as url:
        least = first_load(browser, url, ".gradio-container")
    ours = first_load(browser, server.url, "#conversation .example")
    assert ours.kilobytes - least.kilobytes <= MOST_KB, ours.sizes
    assert ours.requests - least.requests <= MOST_REQUESTS, ours.sizes


@pytest.mark.parametrize("path", ["", "config", "page/{version}/page/main.mjs"])
def test_text_is_sent_compressed_to_whoever_takes_it(server: Served, path: str) -> None:
    import httpx

    from ovis_app.ui.page import EXAMPLES
    from ovis_app.ui.static_files import StaticFiles

    address = server.url + path.format(version=StaticFiles.of(EXAMPLES).version)
    zipped = httpx.get(address, headers={"accept-encoding": "gzip"})
    plain = httpx.get(address, headers={"accept-encoding": "identity"})
    assert zipped.headers["content-encoding"] == "gzip" and "Accept-Encoding" in zipped.headers["vary"]
    assert "content-encoding" not in plain.headers
    assert int(zipped.headers["content-length"]) < len(plain.content) / 2

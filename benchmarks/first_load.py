"""What a browser asks for until a page can be used, counted by itself, and a page with nothing in it to stand beside.
Knows a browser and an address."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.server import free_port


@dataclass(frozen=True)
class Load:
    """`sizes` are bytes over the wire, headers included, by address; what stays open counts as a request of none."""

    sizes: dict[str, int]
    requests: int
    seconds: float  # until `ready` was there

    @property
    def kilobytes(self) -> float:
        return sum(self.sizes.values()) / 1000


def first_load(chromium: Any, url: str, ready: str) -> Load:
    """Opens the page with an empty cache, waits for the selector `ready`, and then until nothing is under way."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    try:
        tab = context.new_page()
        wire = context.new_cdp_session(tab)
        wire.send("Network.enable")
        asked: dict[str, str] = {}
        sizes: dict[str, int] = {}
        wire.on(
            "Network.requestWillBeSent", lambda event: asked.__setitem__(event["requestId"], event["request"]["url"])
        )
        wire.on(
            "Network.loadingFinished",
            lambda event: sizes.__setitem__(event["requestId"], int(event["encodedDataLength"])),
        )
        began = time.perf_counter()
        tab.goto(url)
        tab.wait_for_selector(ready)
        seconds = time.perf_counter() - began
        told = -1
        while told != len(asked):  # what is open for as long as the page is never ends
            told = len(asked)
            tab.wait_for_timeout(700)
        real = {one: address for one, address in asked.items() if not address.startswith(("data:", "blob:"))}
        by_address: dict[str, int] = {}
        for one, address in real.items():
            by_address[address] = by_address.get(address, 0) + sizes.get(one, 0)
        return Load(by_address, len(real), seconds)
    finally:
        context.close()


@contextmanager
def blank() -> Iterator[str]:
    """The address of a page of Gradio's with nothing in it, served by this process."""
    import gradio as gr

    with gr.Blocks() as page:
        pass
    _, url, _ = page.launch(server_port=free_port(), prevent_thread_lock=True, quiet=True, ssr_mode=False)
    try:
        yield url
    finally:
        page.close(verbose=False)

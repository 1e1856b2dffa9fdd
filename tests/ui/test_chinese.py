"""Every sentence of the server that people hear on the page is there in Chinese."""

from __future__ import annotations

import json
import re

from ovis_app.ui.static_files import STATIC
from ovis_app.zoo import resolve
from tests.ui.server_sentences import sentences

ROW = re.compile(r'^  ("(?:[^"\\]|\\.)*"):\s', re.MULTILINE)


def test_whatever_the_server_says_has_a_row_in_chinese() -> None:
    rows = {json.loads(row) for row in ROW.findall((STATIC / "page" / "zh_server.mjs").read_text("utf-8"))}
    cards = {text: "a card" for one in resolve("ovis-mini").examples for text in (one.label, one.text)}
    missing = {f"{where}: {text}" for text, where in (sentences() | cards).items() if text not in rows}
    assert not missing, "without a row in zh_server.mjs:\n" + "\n".join(sorted(missing))


def test_sentences_are_found_wherever_they_are_written() -> None:
    found = sentences()
    assert "“{0}”{1} did not fit: attach at most {2} to a message." in found  # an f-string
    assert "Addresses aren't fetched here: send {name} as a data: URI (--allow-urls lets this server fetch)." in found
    assert "takes too long to fetch: {0}." in found  # one of two, in the middle of a call
    assert len(found) > 300

"""Something that an answer says, looked for in its picture: by a model that tells what it is sent, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ovis_app.conversation import Stats
from ovis_app.generation import Answer, Done, Event, Request
from tests.browser.tabs import tabs_on
from tests.browser.test_accessible import violations
from tests.browser.test_page import ask
from tests.media.made import corners
from tests.ui.serving import HeldBackend, served

Open = Callable[..., Any]
LINE, CLAIM = ".evidence .evidence-line", ".evidence .claim"
PLACES = {"red part": "(0.0,0.0),(0.4,0.4)", "grey cat": "(0.6,0.6),(1.0,1.0)"}
SMALL = (
    "() => [...document.querySelectorAll('.evidence :is(.claim, input)')].filter((one) => one.offsetHeight < 44).length"
)


class Seeing(HeldBackend):
    """Sees a red part where the upper left is red, and then believes in a cat too, and shows the lower right for it."""

    def stream(self, request: Request) -> Iterator[Event]:
        asked = request.conversation.messages[-1]
        self.requests.append(request)
        said = "It shows a red part, a green part and a grey cat. There is no dog."
        if asked.text.startswith("Where is"):
            name = next((one for one in PLACES if one in asked.text), "")
            said = f"<ref>{name}</ref><box>{PLACES[name]}</box>" if name else "Nowhere."
        elif asked.text == "Describe the image.":
            with Image.open(asked.media[0].path) as picture:
                red, green, blue = picture.convert("RGB").resize((9, 9)).getpixel((1, 1))  # type: ignore[misc]
            said = (
                "There is a red part and a grey cat." if red > 200 and green < 60 and blue < 60 else "There is a wall."
            )
        yield Answer(said)
        yield Done("end", Stats())


def looked_for(tab: Any, claim: str) -> tuple[str, str]:
    """The verdict, and what stands there of it."""
    tab.click(f"{CLAIM}:has-text('{claim}')")
    tab.wait_for_selector(f"{LINE}:is([data-verdict=agrees], [data-verdict=disagrees], [data-verdict=unsure])")
    return str(tab.get_attribute(LINE, "data-verdict")), str(tab.inner_text(".evidence form"))


def test_what_an_answer_says_is_looked_for_where_the_model_finds_it(
    request: pytest.FixtureRequest, context_of: Open, tmp_path: Path
) -> None:
    corners(320, 240).save(tmp_path / "corners.png")
    with served(Seeing()) as server, tabs_on(server.url, request, context_of) as opened:
        tab = opened(viewport={"width": 360, "height": 760}, has_touch=True, color_scheme="dark")
        ask(tab, "What is there?", [tmp_path / "corners.png"])
        tab.locator("#conversation .bot-row .more").click()
        tab.click(".ovis-menu .evidence")
        tab.wait_for_selector(CLAIM)
        assert [one.inner_text() for one in tab.query_selector_all(CLAIM)] == [
            "a red part",
            "a green part",
            "a grey cat",
        ]
        verdict, shown = looked_for(tab, "red part")
        assert verdict == "agrees" and "Agrees. It names “red part” where that part alone is shown" in shown
        assert "There is a red part and a grey cat." in shown and "There is a wall." in shown
        mark, stage = (tab.locator(f".evidence {one}").bounding_box() for one in (".mark", ".stage"))
        assert abs(mark["width"] / stage["width"] - 0.4) < 0.02 and abs(mark["x"] - stage["x"]) < 2
        where, alone, without = (one.conversation.messages for one in server.backend.requests[-3:])
        assert len(where) == len(alone) == len(without) == 1  # each knows nothing of what was said
        assert "red" not in alone[0].text + without[0].text
        assert looked_for(tab, "grey cat")[0] == "disagrees"
        verdict, shown = looked_for(tab, "green part")
        assert verdict == "unsure" and "it gave no place" in shown and "There is a wall" not in shown
        assert tab.evaluate(SMALL) == 0 and violations(tab) == []
        tab.keyboard.press("Escape")
        tab.wait_for_selector(".evidence", state="detached")
        assert tab.locator("#conversation .turn").count() == 2  # the conversation keeps nothing of it

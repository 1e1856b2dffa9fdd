"""Where files stand in a text: read from parts and tags, given back as parts, and what stands in a file's stead."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ovis_app.conversation import Media, Message
from ovis_app.places import Place, ahead, in_place, joined, miscounted, parts, untagged


def shown(text: str, places: tuple[Place, ...]) -> str:
    """The text with its files as numbers in brackets."""
    first = "".join(f"[{number}]" for number in range(ahead(places)))
    return first + "".join(part if isinstance(part, str) else f"[{part}]" for part in parts(text, places))


@pytest.mark.parametrize(
    ("said", "text", "places", "seen"),
    [
        (["What?"], "What?", (), "What?"),
        ([None, None, "Which?", "Why?"], "Which?\nWhy?", (), "Which?\nWhy?"),
        (["First", None, "second", None], "First\n\nsecond\n", (6, 14), "First\n[0]\nsecond\n[1]"),
        (["See", None], "See\n", (4,), "See\n[0]"),
        ([None, "and", None, None], "\nand\n\n", (0, 5, 6), "[0]\nand\n[1]\n[2]"),
        (["", None], "\n", (1,), "\n[0]"),
        ([None, None], "", (), ""),
    ],
)
def test_parts_are_a_line_each(said: list[str | None], text: str, places: tuple[int, ...], seen: str) -> None:
    assert joined(said) == (text, places)
    assert shown(text, places) == seen


def test_tags_are_places_and_all_else_stays() -> None:
    text, places = untagged("<image>\nFirst <image>,  then <video><image>? <imag> <image >")
    assert (text, places) == ("\nFirst ,  then ? <imag> <image >", (0, 7, 15, 15))
    assert shown(text, places) == "[0]\nFirst [1],  then [2][3]? <imag> <image >"
    assert untagged("Nothing <b>") == ("Nothing <b>", ())
    assert "1 <image> or <video> tag and 2 files" in miscounted(1, 2)


def test_what_stands_in_a_files_stead_has_a_line_each() -> None:
    a, b = (Media("image", Path(name), name) for name in "ab")
    message = in_place(Message("user", "See , or ?", (a, a, a, b)), (4, 9), (3, 1))
    assert shown(message.text, tuple(one.place for one in message.media)) == "See [0]\n[1]\n[2], or [3]?"
    before = Message("user", "Which?", (a, b))
    assert in_place(before, (None,), (2,)) == in_place(before, (), ()) == before


def test_whatever_places_say_files_keep_their_order_and_the_text_is_whole() -> None:
    rng = random.Random(4)
    for _ in range(500):
        text = "abcdef"[: rng.randint(0, 6)]
        places = tuple(rng.choice((None, *range(-3, 9), 2**53)) for _ in range(rng.randint(0, 5)))
        found = parts(text, places)
        assert "".join(part for part in found if isinstance(part, str)) == text and "" not in found
        assert [part for part in found if isinstance(part, int)] == list(range(ahead(places), len(places)))
        counts = [rng.randint(1, 3) for _ in places]
        message = in_place(Message("user", text, (Media("image", Path("a")),) * sum(counts)), places, counts)
        assert message.text.replace("\n", "") == text

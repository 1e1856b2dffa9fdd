"""Where an answer ends because it said what it was told to end before, however the text comes in pieces."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ovis_app.stop_strings import StopStrings


def said(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    cut = StopStrings(stops)
    return "".join(map(cut.feed, pieces)) + cut.rest(), cut.found


def test_the_answer_ends_before_the_stop() -> None:
    assert said(["one two", " STOP three"], ["STOP"]) == ("one two ", True)
    assert said(["one ST", "O", "P three"], ["STOP"]) == ("one ", True)
    assert said(["one ST", "ART"], ["STOP"]) == ("one START", False)
    assert said(["aab"], ["ab", "aab"]) == ("", True), "the one that begins first"
    assert said(["abc"], []) == ("abc", False)


def test_what_can_be_said_is_said_at_once() -> None:
    cut = StopStrings(["\n\n"])
    assert cut.feed("a line") == "a line" and cut.feed("\n") == "" and cut.feed("more") == "\nmore"


@settings(deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.text("abx", max_size=5), max_size=12),
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_pieces_dont_matter(pieces: list[str], stops: list[str]) -> None:
    """In whatever pieces it comes, no stop is ever said, and nothing before the first one is lost. Where two end in the
    same piece, the one that begins first counts; so a longer one that began earlier may come too late."""
    text, found = said(pieces, stops)
    whole = "".join(pieces)
    assert whole.startswith(text)
    assert not any(stop in text for stop in stops)
    assert found == any(stop in whole for stop in stops)
    assert found or text == whole

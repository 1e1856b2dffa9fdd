from __future__ import annotations

import html
from pathlib import Path

import gradio as gr
import pytest

from ovis_app import zoo
from ovis_app.backend import Resources, Status
from ovis_app.conversation import Conversation, Media, Message, Seen, Stats
from ovis_app.media.boxes import found
from ovis_app.ui import render
from ovis_app.ui.panels import models


def rows(*messages: Message) -> list[dict]:
    return render.messages(Conversation(messages))


@pytest.mark.parametrize("typed", ["<image>", "<b>bold</b>", "**x** `y` # z", "$$a$$", "&amp;", "    four\n\n\tspaces"])
def test_a_question_shows_exactly_what_was_typed(typed: str) -> None:
    row, waiting = rows(Message("user", typed))
    assert "Waiting for a turn" in waiting["content"][0]["value"]
    value = row["content"][0]["value"]
    inside = value.removeprefix('<div class="question">').removesuffix("</div>")
    assert "<" not in inside
    assert html.unescape(inside) == typed


def test_the_models_words_reach_the_chatbot_unchanged_and_undedented() -> None:
    text = "    indented\n  less\n<ref>a</ref><box>(0.1,0.2),(0.3,0.4)</box>\n"
    [row] = rows(Message("assistant", text))
    processed = gr.Chatbot().postprocess([row]).model_dump()
    assert processed[0]["content"][0]["text"] == text


def test_control_characters_become_visible_and_half_characters_harmless() -> None:
    assert render.plain("a\x00b\x1b[31m\r\nc\td\x7f") == "a␀b␛[31m\nc\td␡"
    render.plain("\ud800").encode("utf-8")


def test_pictures_travel_as_paths_and_are_numbered() -> None:
    pictures = (Media("image", Path("/x/a.png"), "a.png"), Media("image", Path("/x/b.png"), "b.png"))
    one, two, words, _ = rows(Message("user", "which?", pictures))
    assert one["content"][0]["value"]["path"] == "/x/a.png"
    assert two["content"][0]["props"]["alt_text"] == "Image 2: b.png"
    assert "which?" in words["content"][0]["value"]
    clip, _ = rows(Message("user", "", (Media("video", Path("/x/noext"), "c"),)))
    assert clip["content"][0]["file"]["mime_type"] == "video/*"


def test_the_copies_are_what_the_page_shows() -> None:
    def file(media: Media) -> dict:
        row, _ = rows(Message("user", "", (media,)))
        content = row["content"][0]
        return content.get("file") or {**content["value"], **content["props"]}

    photo = file(Media("image", Path("/x/a.tiff"), "a.tiff", shown=Path("/y/b.jpg")))
    assert photo["path"] == "/y/b.jpg" and photo["mime_type"] == "image/jpeg" and photo["orig_name"] == "a.tiff"
    moving = file(Media("video", Path("/x/a.avi"), "a.avi", shown=Path("/y/b.mp4")))
    assert moving["path"] == "/y/b.mp4" and moving["mime_type"] == "video/mp4"
    strip = file(Media("video", Path("/x/a.avi"), "a.avi", shown=Path("/y/b.png")))
    assert strip["path"] == "/y/b.png" and strip["mime_type"] == "image/png"
    assert strip["alt_text"] == "Frames of a.avi"


def test_a_thought_is_open_while_it_lasts_and_closed_after() -> None:
    [going] = rows(Message("assistant", thinking="hm", stats=Stats(thinking_seconds=1.25)))
    assert going["metadata"] == {"title": "Thinking", "status": "pending", "log": "1.2 s"}
    thought, answer = rows(Message("assistant", "so", thinking="hm"))
    assert thought["metadata"]["status"] == "done" and answer["content"][0]["text"] == "so"
    done = rows(Message("assistant", "so", thinking="hm", finish="end", stats=Stats(0, 0, 90, 84, 0.1, 2.1)))
    assert done[0]["metadata"]["log"] == "2.1 s · 84 tokens"


def test_the_status_shows_until_something_is_said() -> None:
    [row] = rows(Message("assistant", status="Loading <the> model"))
    assert "Loading &lt;the&gt; model" in row["content"][0]["value"]
    assert len(rows(Message("assistant", "hello", status="Loading"))) == 1


def test_an_error_offers_retry_only_at_the_end() -> None:
    failed = Message("assistant", error="Lower <it>.", finish="error")
    [row] = rows(failed)
    assert row["options"][0]["label"] == "Retry" and "Lower &lt;it&gt;." in row["content"][0]["value"]
    assert "options" not in rows(failed, Message("user", "again"))[0]


def test_the_figures_say_what_was_measured_and_why_it_ended() -> None:
    stats = Stats(400, 392, 50, 0, 0.21, None, 38.4, (0.0, 0.5))
    line = render.figures(Message("assistant", "x", finish="length", stats=stats))
    for part in (
        "392 visual tokens",
        "first token 0.21 s",
        "38 tokens/s",
        "limit of new tokens",
        "2 frames at 0.0, 0.5 s",
    ):
        assert part in line
    strip, page = Seen("<long>.png", 352, 6656, 1080, 20000), Seen("fax.tif", 800, 600, 800, 600, pictures=3)
    line = render.figures(Message("assistant", "x", finish="end", stats=Stats(seen=(strip, strip, page))))
    assert line.count("“&lt;long&gt;.png” seen at 352 × 6656 of 1080 × 20000") == 1
    assert "1 of 3 pictures of “fax.tif” seen" in line
    assert "seen" not in render.figures(
        Message(
            "assistant",
            "x",
            finish="end",
            stats=Stats(seen=(Seen("a", 500, 500, 900, 900), Seen("b", 9, 9, 99, 99, frames=8))),
        )
    )
    assert render.figures(Message("assistant", "x")) == ""
    assert "stopped" in render.figures(Message("assistant", "x", finish="stopped"))
    assert render.figures(Message("assistant", error="x", finish="error")) == ""


def test_boxes_are_drawn_over_the_picture_once_the_answer_is_there() -> None:
    picture = Media("image", Path("/x/a b.png"), "a.png")
    asked = Message("user", "where?", (picture,))
    named = "<ref>red circle</ref><box>(0.1,0.2),(0.3,0.45)</box>"
    *_, marked = rows(asked, Message("assistant", named, finish="end"))
    drawn = marked["content"][0]["value"]
    assert (
        "left:10.00%;top:20.00%;width:20.00%;height:25.00%" in drawn and "a%20b.png" in drawn and "red circle" in drawn
    )
    assert 'class="box' not in str(rows(asked, Message("assistant", named)))
    assert 'class="box' not in str(rows(asked, Message("assistant", named.replace("0.3", "7"), finish="end")))
    assert 'class="box' not in str(rows(Message("user", "where?"), Message("assistant", named, finish="end")))
    copied = Message("user", "where?", (Media("image", Path("/x/a.tiff"), shown=Path("/y/b.jpg")),))
    assert "file=/y/b.jpg" in str(rows(copied, Message("assistant", named, finish="end")))
    two = Message("user", "where?", (picture, picture))
    assert 'class="box' not in str(rows(two, Message("assistant", named, finish="end")))


def test_many_frames_are_shortened_but_all_there_on_hover() -> None:
    times = tuple(float(i) for i in range(20))
    line = render.figures(Message("assistant", "x", finish="end", stats=Stats(frame_times=times)))
    assert "7.0 … s" in line and "19.0" in line


@pytest.mark.parametrize(("value", "shown"), [(0.012, "0.01 s"), (2.34, "2.3 s"), (75, "1 min 15 s")])
def test_durations(value: float, shown: str) -> None:
    assert render.seconds(value) == shown


def test_boxes_in_every_usual_spelling() -> None:
    for corner in ("(0.1,0.2),(0.3,0.45)", "( .1 , 0.2 ) , (0.3,.45)", "(0.10000000000000001,0.2),(0.3,0.45)"):
        [box] = found(f"<ref>cup</ref> <box>{corner}</box>")
        assert (box.name, box.left, box.top, box.right, box.bottom) == ("cup", 0.1, 0.2, 0.3, 0.45)


def test_the_panel_says_how_the_model_runs_here() -> None:
    status = Status(
        zoo.MINI, "ready", "ready", resources=Resources(8_000_000, 2**30, 280_000, 10**8), engine="by <hand>"
    )
    shown = models.on_this_machine(status)
    assert "8 MB of weights" in shown and "280,000 tokens" in shown and "by &lt;hand&gt;" in shown
    assert models.on_this_machine(Status(zoo.MINI, "loading", "Loading")) == ""

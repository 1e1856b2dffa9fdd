"""The named endpoints, as programs call them: gradio_client, and plain HTTP with named parameters."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from ovis_app.backends import open_backend
from ovis_app.errors import BUSY
from ovis_app.settings import Settings
from ovis_app.zoo import find
from tests.api.programs import ANYTHING, CLIP, SHAPES, Refused, call, data, started, upload, uploaded, uri
from tests.media.made import corner_names, corners
from tests.media.made_pdf import pdf, quarters
from tests.ui.serving import EXAMPLES, HeldBackend, Served, served
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).resolve().parents[2]

NAMES = ["/chat", "/describe", "/read_text", "/locate", "/ask_video"]


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[Client]:
    one = Client(server.url, verbose=False)
    yield one
    one.close()


def test_they_are_listed_with_what_they_take_and_nothing_of_the_page_is(server: Served) -> None:
    listed = httpx.get(f"{server.url}gradio_api/info").json()
    assert list(listed["named_endpoints"]) == NAMES and listed["unnamed_endpoints"] == {}
    for name, one in listed["named_endpoints"].items():
        assert len(one["description"]) > 20 and one["returns"], name
        assert all(parameter["type"] for parameter in one["parameters"]), f"{name} leaves a type open"
    takes = {p["parameter_name"]: p for p in listed["named_endpoints"]["/chat"]["parameters"]}
    assert list(takes)[:3] == ["question", "files", "history"]
    assert [name for name, its in takes.items() if not its["parameter_has_default"]] == ["question"]
    assert "gradio.FileData" in str(takes["files"]["type"]) and takes["thinking"]["type"] == {"type": "boolean"}


def test_a_client_of_gradio_calls_each_by_name(client: Client) -> None:
    picture, clip = handle_file(str(SHAPES)), handle_file(str(CLIP))
    assert client.predict("hello", [picture], api_name="/chat") == "You said: hello (with shapes.png) "
    assert client.predict("one", picture, api_name="/chat") == "You said: one (with shapes.png) "
    assert client.predict("none", api_name="/chat") == "You said: none "
    assert "Describe" in client.predict(image=picture, api_name="/describe")
    assert "text say? (with shapes.png)" in client.predict(image=picture, api_name="/read_text")
    assert client.predict(clip, "what?", api_name="/ask_video") == "You said: what? (with clip.mp4) "
    boxes, drawn = client.predict(image=picture, what=ANYTHING, api_name="/locate")
    assert [box["name"] for box in boxes] == ["cup"] and Image.open(drawn).format == "JPEG"
    with pytest.raises(AppError, match="lower max pixels"):
        client.predict("fail", api_name="/chat")


def test_plain_http_takes_a_picture_in_each_form(server: Served) -> None:
    stored = upload(server.url, SHAPES)
    for given, name in (
        (stored, "shapes.png"),
        (uploaded(server.url, SHAPES), "shapes.png"),
        (f"{server.url}gradio_api/file={stored}", "shapes.png"),
        (uri(SHAPES), "file 1"),
    ):
        assert call(server.url, "describe", image=given) == [f"You said: Describe the image. (with {name}) "]
    pages = data(pdf([quarters(), quarters()]), "application/pdf")
    assert call(server.url, "chat", question="sum", files=[pages]) == [
        "You said: sum (with file 1 page 1, file 1 page 2) "
    ]
    both = call(server.url, "chat", question="two", files=[stored, uri(SHAPES)])
    assert both == ["You said: two (with shapes.png, file 2) "]
    for one in (stored, uploaded(server.url, SHAPES), [stored]):
        assert call(server.url, "chat", question="one", files=one) == ["You said: one (with shapes.png) "]
    for none in ({}, {"files": None}, {"files": []}, {"files": ""}):
        assert call(server.url, "chat", question="none", **none) == ["You said: none "]


def test_an_answer_grows_where_the_queue_is_asked_and_comes_whole_where_it_is_not(server: Served) -> None:
    with started(server.url, "chat", question="one two three") as events:
        grown = [data[0] for event, data in events if event in ("generating", "complete")]
    assert len(grown) >= 3 and grown[-1] == "You said: one two three "
    whole = httpx.post(f"{server.url}gradio_api/run/chat", json={"data": ["one", None, None, False, None, None, None]})
    assert whole.json()["data"] == ["You said: one "]


@pytest.mark.parametrize("orientation", [1, 6])
def test_boxes_are_in_pixels_of_the_upright_picture_and_drawn_into_a_copy(
    server: Served, tmp_path: Path, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    corners(400, 300).save(tmp_path / "a.png", exif=exif)
    [boxes, drawn] = call(server.url, "locate", image=uri(tmp_path / "a.png"), what=ANYTHING)
    wide, high = (400, 300) if orientation == 1 else (300, 400)
    assert boxes == [{"name": "cup", "left": wide // 10, "top": high // 5, "right": wide // 2, "bottom": high * 3 // 5}]
    path = tmp_path / "drawn.jpg"
    path.write_bytes(httpx.get(drawn["url"]).content)
    picture, box = Image.open(path), boxes[0]
    assert picture.size == (wide, high)
    for spot in ((box["left"], box["bottom"] - 9), (box["right"], box["bottom"] - 9), (box["left"] + 9, box["bottom"])):
        red, green, blue = picture.getpixel(spot)
        assert red > 150 and green < 100 and blue < 160, f"no frame at {spot}"
    assert sorted(corner_names(picture)) == sorted(corner_names(corners()))


def test_a_large_picture_is_drawn_smaller_and_its_boxes_stay_in_its_own_pixels(server: Served, tmp_path: Path) -> None:
    corners(4000, 1000).save(tmp_path / "a.png")
    [boxes, drawn] = call(server.url, "locate", image=uri(tmp_path / "a.png"), what=ANYTHING)
    assert (boxes[0]["right"], boxes[0]["bottom"]) == (2000, 600)
    (tmp_path / "drawn.jpg").write_bytes(httpx.get(drawn["url"]).content)
    assert Image.open(tmp_path / "drawn.jpg").size == (1536, 384)


def test_where_nothing_is_found_there_is_no_picture(server: Served) -> None:
    assert call(server.url, "locate", image=uri(SHAPES), what="nothing") == [[], None]


# --- history --------------------------------------------------------------------------------------------------------


def test_earlier_messages_are_asked_along(server: Served) -> None:
    history = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "What is it?"},
                                     {"type": "image_url", "image_url": {"url": uri(SHAPES)}}]},
        {"role": "assistant", "content": "A circle."},
    ]  # fmt: skip
    assert call(server.url, "chat", question="And its colour?", history=history) == ["You said: And its colour? "]
    request = server.backend.requests[-1]
    said = [(message.role, message.text, len(message.media)) for message in request.conversation.messages]
    assert said == [("user", "What is it?\n", 1), ("assistant", "A circle.", 0), ("user", "And its colour?", 0)]
    assert request.conversation.messages[0].media[0].place == len("What is it?\n"), "where it stood among the parts"
    assert request.settings.system == "Be short."


@pytest.mark.parametrize(
    ("history", "sentence"),
    [
        ("hi", "history must be a list"),
        ([{"role": "user", "content": "x"}] * 1001, "at most 1,000"),
        (["hi"], "messages[0] must be an object"),
        ([{"role": "tool", "content": "x"}], "system, developer, user or assistant"),
        ([{"role": "user"}], "messages[0].content must be"),
        ([{"role": "user", "content": [{"type": "audio", "audio": "x"}]}], "image_url, video_url or file"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}]}],
         "Addresses are not fetched"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "/etc/passwd"}}]}],
         "isn't among the uploads"),
        ([{"role": "user", "content": "x"}, {"role": "system", "content": "x"}], "stands before all others"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}] * 17}], "at most 16"),
    ],
)  # fmt: skip
def test_a_history_that_is_none_is_refused_in_a_sentence(server: Served, history: Any, sentence: str) -> None:
    asked = len(server.backend.requests)
    with pytest.raises(Refused) as refused:
        call(server.url, "chat", question="x", history=history)
    assert sentence in str(refused.value) and len(server.backend.requests) == asked


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "given", "sentence"),
    [
        ("chat", {"question": ""}, "question must be text"),
        ("chat", {"question": 5}, "question must be text"),
        ("chat", {"question": "x", "files": 5}, "files must be a list of at most 16"),
        ("chat", {"question": "x", "files": "x"}, "isn't among the uploads"),
        ("chat", {"question": "x", "files": [None]}, "A file is missing"),
        ("chat", {"question": "x", "files": [uri(SHAPES), uri(CLIP)]}, "can't go with pictures"),
        ("chat", {"question": "x", "files": [uri(SHAPES)] * 17}, "a list of at most 16 files"),
        ("chat", {"question": "x", "thinking": 1}, "thinking must be true or false"),
        ("chat", {"question": "x", "max_new_tokens": "many"}, "max_new_tokens must be a whole number"),
        ("chat", {"question": "x", "max_new_tokens": 0}, "max_new_tokens must be a whole number"),
        ("chat", {"question": "x", "temperature": -1}, "temperature must be a number"),
        ("chat", {"question": "x", "seed": 1.5}, "seed must be a whole number"),
        ("describe", {"image": "http://127.0.0.1:9/x.png"}, "Addresses are not fetched"),
        ("describe", {"image": {"path": "http://127.0.0.1:9/x.png", "meta": {"_type": "gradio.FileData"}}},
         "addresses are not fetched"),
        ("describe", {"image": {"path": "http://127.0.0.1:9/x.png", "is_stream": True,
                                "meta": {"_type": "gradio.FileData"}}}, "isn't among the uploads"),
        ("describe", {"image": "/etc/passwd"}, "isn't among the uploads"),
        ("describe", {"image": {"path": "/etc/passwd"}}, "isn't among the uploads"),
        ("describe", {"image": {"path": ["/etc/passwd"]}}, "isn't among the uploads"),
        ("describe", {"image": f"{tempfile.gettempdir()}/gradio/../../etc/passwd"}, "isn't among the uploads"),
        ("describe", {"image": "http://x/gradio_api/file=/etc/passwd"}, "isn't among the uploads"),
        ("describe", {"image": "a\0b"}, "isn't among the uploads"),
        ("describe", {"image": "data:image/png;base64,%%%"}, "base64 of file 1 is damaged"),
        ("describe", {"image": "data:image/png,abc"}, "must be a data: URI in base64"),
        ("describe", {"image": "data:text/html;base64,PHNjcmlwdD4="}, "holds text, not a picture"),
        ("describe", {"image": "data:image/png;base64,"}, "is empty"),
        ("locate", {"image": data(pdf([quarters()] * 2), "application/pdf"), "what": "it"}, "has several pages"),
        ("chat", {"question": "x", "files": [data(pdf([]), "application/pdf")]}, "has no pages"),
        ("describe", {"image": uri(CLIP)}, "is a clip: give a picture"),
        ("ask_video", {"video": uri(SHAPES), "question": "x"}, "is a picture: give a clip"),
        ("locate", {"image": uri(SHAPES), "what": " "}, "what must be text"),
        ("describe", {}, "names nothing that is here, or doesn't bring"),
        ("describe", {"image": "x", "other": 1}, "names nothing that is here, or doesn't bring"),
        ("nothing", {}, "names nothing that is here"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_sentence_and_no_work(
    server: Served, endpoint: str, given: dict[str, Any], sentence: str
) -> None:
    asked = len(server.backend.requests)
    with pytest.raises(Refused) as refused:
        call(server.url, endpoint, **given)
    assert sentence in str(refused.value) and "Traceback" not in str(refused.value)
    assert len(server.backend.requests) == asked


def test_settings_that_make_no_sense_are_the_callers_fault(server: Served) -> None:
    body = {"data": ["x", None, None, False, None, -1, None]}
    said = httpx.post(f"{server.url}gradio_api/run/chat", json=body)
    assert said.status_code == 400 and said.json()["error"].startswith("temperature must be a number")


def test_what_a_model_cannot_do_is_said() -> None:
    backend = HeldBackend(model=find("Ovis1.6-Gemma2-9B"))
    with served(backend) as older, pytest.raises(Refused, match="not trained to find"):
        call(older.url, "locate", image=uri(SHAPES), what="x")


# --- leaving and tidying --------------------------------------------------------------------------------------------


def test_whoever_leaves_stops_the_work() -> None:
    with served(HeldBackend()) as server:
        running = lambda: server.backend.live == 1  # noqa: E731
        ended = lambda: server.backend.live == 0  # noqa: E731

        client = Client(server.url, verbose=False)
        job = client.submit("held", api_name="/chat")
        until(running)
        until(lambda: job.communicator and job.communicator.event_id)  # without it the client cancels nothing
        job.cancel()
        until(ended, "a cancelled job goes on")
        client.close()

        with started(server.url, "locate", image=uri(SHAPES), what="held") as events:
            next(events)
            until(running)
        until(ended, "a call whose listener left goes on")

        body = {"data": ["held", None, None, False, None, None, None]}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}gradio_api/run/chat", json=body, timeout=httpx.Timeout(60, read=1))
        until(ended, "a direct call whose sender left goes on")


def test_whoever_calls_past_the_queue_of_gradio_waits_in_the_same_line() -> None:
    body = {"data": ["held", None, None, False, None, None, None]}
    with served(HeldBackend(), engine="solo", queue_size=2) as server, ThreadPoolExecutor(8) as callers:
        calls = [
            callers.submit(httpx.post, f"{server.url}gradio_api/run/chat", json=body, timeout=PATIENCE)
            for _ in range(8)
        ]
        until(lambda: server.backend.live == 4 and sum(one.done() for one in calls) == 2)
        server.backend.answer.set(), server.backend.finish.set()
        said = [one.result().json() for one in calls]
    assert sorted("data" in one for one in said) == [False] * 2 + [True] * 6
    assert all(one["error"] == BUSY for one in said if "error" in one)


def test_nothing_of_a_call_stays_but_what_the_store_removes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(HeldBackend()) as server:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        [boxes, drawn] = call(server.url, "locate", image=uri(SHAPES), what=ANYTHING)
        httpx.post(f"{server.url}gradio_api/run/describe", json={"data": [uri(SHAPES)]})
        assert boxes and server.store.has(Path(drawn["path"]))
        asked = server.backend.requests[-1].conversation.messages[-1].media[0].path
        assert asked.is_relative_to(tmp_path)
        until(lambda: list(tmp_path.iterdir()) == [], "a call's files stay")


# --- the bundled model ----------------------------------------------------------------------------------------------


def test_the_bundled_model_answers_each_of_them() -> None:
    settings = Settings(device="cpu")
    backend = open_backend(settings, settings.limits())
    try:
        with served(backend) as mini:  # type: ignore[arg-type]
            assert "circle" in call(mini.url, "describe", image=uri(SHAPES))[0]
            assert call(mini.url, "read_text", image=uri(EXAMPLES / "word.png"))[0].strip()
            assert (
                "left to right" in call(mini.url, "ask_video", video=uri(CLIP), question="Which way does it move?")[0]
            )
            [boxes, drawn] = call(mini.url, "locate", image=uri(SHAPES), what="the red circle")
            assert boxes[0]["name"] == "red circle" and drawn["url"]
            first = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": uri(SHAPES)}},
                                                 {"type": "text", "text": "What is at the top left?"}]}  # fmt: skip
            history = [first, {"role": "assistant", "content": "It is a red circle."}]
            [said] = call(mini.url, "chat", question="What is at the center?", history=history)
            assert said == "It is a blue square."
    finally:
        backend.close()


# --- the README -----------------------------------------------------------------------------------------------------


def example(language: str, url: str) -> str:
    section = (ROOT / "README.md").read_text("utf-8").partition("## From programs")[2].partition("\n## ")[0]
    return (
        section.partition(f"```{language}\n")[2].partition("```")[0].replace("http://127.0.0.1:7860", url.rstrip("/"))
    )


@pytest.mark.parametrize("language", ["python", "sh"])
def test_the_examples_of_the_readme_run(server: Served, language: str) -> None:
    shell = {"python": [sys.executable, "-c"], "sh": ["sh", "-ec"]}[language]
    if language == "sh" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    code = example(language, server.url).replace("the red circle", ANYTHING)
    assert "describe" in code
    done = subprocess.run([*shell, code], capture_output=True, text=True, cwd=ROOT, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "You said: Describe the image. (with shapes.png) " in done.stdout
    assert ("You said: What is at the center?" in done.stdout) == (language == "python")

"""The page as a stranger's client sees it: through HTTP, past the page's own buttons."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.ui import page
from ovis_app.ui.http_named_files import NO_ADDRESSES, NOT_HERE
from ovis_app.zoo import MODELS, ModelSpec, find
from tests.ui.serving import EXAMPLES, HeldBackend, Served, Wire, served, texts
from tests.waiting import until


@pytest.fixture
def slow() -> Iterator[Served]:
    with served(HeldBackend(delay=0.02), queue_size=2, engine="solo") as here:
        yield here


def test_a_question_with_a_picture_streams_to_its_end(wire: Wire) -> None:
    shown = texts(wire.ask("what is it?", [wire.upload(EXAMPLES / "shapes.png")])[1])
    assert shown[0] == "shapes.png" and "what is it?" in shown[1]
    assert shown[2].startswith("You said: what is it? (with shapes.png)") and "visual tokens" in shown[3]


def test_media_stay_across_turns(wire: Wire) -> None:
    wire.ask("first", [wire.upload(EXAMPLES / "shapes.png")])
    wire.ask("second")
    request = wire.served.backend.requests[-1]
    assert [len(m.media) for m in request.conversation.messages] == [1, 0, 0]
    assert request.conversation.messages[0].media[0].path.is_file()


def test_each_tab_has_its_own_conversation(server: Served) -> None:
    one, two = Wire(server), Wire(server)
    one.ask("mark-one")
    assert "mark-one" not in str(two.ask("mark-two"))
    one.close(), two.close()


@pytest.mark.parametrize("name", ["broken.png", "notes.txt", "odd.xyz"])
def test_a_refused_file_keeps_the_composer_and_the_conversation(wire: Wire, tmp_path: Path, name: str) -> None:
    bad = tmp_path / name
    bad.write_bytes(b"not a picture")
    out = wire.send("look", [wire.upload(EXAMPLES / "left.png"), wire.upload(bad)])
    box = out[2]["value"]
    assert box["text"] == "look" and [f["orig_name"] for f in box["files"]] == ["left.png"]
    assert name in out[3] and "/" not in out[3].replace("</p>", "") and out[1] == []


def test_stop_keeps_what_was_said_and_frees_the_backend(slow: Served) -> None:
    wire = Wire(slow)
    wire.send("long")
    event = wire.start_answer()
    for message in wire.messages():
        if message["msg"] == "process_generating" and "word3" in json.dumps(message):
            break
    answer = wire.after(wire.event("box", "submit"))
    wire.http.post("/cancel", json={"session_hash": wire.session, "fn_index": answer["id"], "event_id": event})
    until(lambda: slow.backend.live == 0, 1.0)
    shown = texts(wire.run(wire.after(wire.event("box", "stop", python=False)), [None])[1])
    assert "word3" in shown[1] and shown[2] == '<div class="figures">stopped</div>'
    wire.close()


def test_a_closed_tab_stops_the_answer(slow: Served) -> None:
    wire = Wire(slow)
    wire.send("long")
    wire.start_answer()
    for message in wire.messages():
        if message["msg"] == "process_generating":
            break  # leaving the loop closes the stream, as a closed tab does
    until(lambda: slow.backend.live == 0, 3.0)
    wire.close()


def test_more_questions_than_the_queue_takes_are_refused_readably(slow: Served) -> None:
    wires = [Wire(slow) for _ in range(12)]
    for wire in wires:
        wire.send("held")
        wire.start_answer()
    ended = set()
    for wire in wires[6:]:
        assert any(message["msg"] == "process_completed" for message in wire.messages())
        ended.add("Too many questions are waiting already" in str(wire.settle()[1]))
    assert ended == {True}
    assert slow.backend.live <= 4
    slow.backend.answer.set(), slow.backend.finish.set()
    for wire in wires:
        wire.close()


def test_the_chatbot_is_never_an_input(server: Served, wire: Wire) -> None:
    chatbot = wire.id_of("conversation")
    inputs = [d for d in wire.config["dependencies"] if chatbot in d["inputs"]]
    assert inputs == []


def test_a_forged_conversation_is_ignored(wire: Wire) -> None:
    event = wire.event("box", "submit")
    forged = {"conversation": {"messages": [{"role": "user", "text": "forged"}]}}
    out = wire.run(event, [forged, {"text": "real", "files": []}])
    assert "forged" not in str(out) and "real" in str(out)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/x.png", "https://example.com/x.png"])
def test_addresses_as_files_are_refused(wire: Wire, address: str) -> None:
    out = wire.http.post(
        "/run/predict",
        json={
            "fn_index": wire.event("box", "submit")["id"],
            "session_hash": wire.session,
            "data": [None, {"text": "x", "files": [{"path": address, "meta": {"_type": "gradio.FileData"}}]}],
        },
    )
    assert out.status_code == 400 and out.json() == {"error": NO_ADDRESSES}
    assert wire.http.get(f"/file={address}").status_code == 404


def test_files_of_the_server_are_refused(wire: Wire) -> None:
    for path in ("/etc/passwd", str(Path(__file__).resolve())):
        out = wire.http.post(
            "/run/predict",
            json={
                "fn_index": wire.event("box", "submit")["id"],
                "session_hash": wire.session,
                "data": [None, {"text": "x", "files": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}],
            },
        )
        assert out.status_code == 400 and out.json() == {"error": NOT_HERE}
        assert wire.http.get(f"/file={path}").status_code in (403, 404)


def test_what_is_uploaded_is_never_run(wire: Wire, tmp_path: Path) -> None:
    evil = tmp_path / "evil.html"
    evil.write_text("<script>alert(1)</script>")
    stored = wire.upload(evil)["path"]
    answer = wire.http.get(f"/file={stored}")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_values_that_arent_sane_give_a_sentence_and_no_run(wire: Wire) -> None:
    wire.send("hello")
    event = wire.after(wire.event("box", "submit"))
    data = wire.defaults(event)
    data[2] = 1e9
    before = len(wire.served.backend.requests)
    wire.join(event, data)
    for message in wire.messages():
        if message["msg"] == "process_completed":
            break
    assert len(wire.served.backend.requests) == before
    assert "must be a whole number" in str(wire.settle()[1])


@pytest.mark.parametrize(
    "spec", [find("Ovis1.6-Gemma2-9B"), find("Ovis2-8B"), find("Ovis2.5-9B")], ids=lambda s: s.name
)
def test_controls_are_there_only_where_the_model_can_use_them(spec: ModelSpec) -> None:
    blocks = page.build(HeldBackend(model=spec), Settings(), Limits(), page.store(Limits()))
    props = {c["props"].get("elem_id"): c["props"] for c in blocks.get_config_file()["components"]}
    shown = {name for name, its in props.items() if its.get("visible", True)}
    assert ("switch-thinking" in shown) == ("knob-thinking_budget" in shown) == spec.thinking
    assert ("switch-cot" in shown) == bool(spec.cot_suffix) and ("switch-boxes" in shown) == bool(spec.boxes_suffix)
    assert ("knob-frames" in shown) == spec.video == ("clip" in props["box"]["placeholder"])
    assert ("knob-max_partition" in shown) == spec.tiles != ("knob-max_pixels" in shown)


def of(wire: Wire, event: dict[str, Any], out: list[Any], elem_id: str) -> Any:
    """What an event says of one component."""
    return out[event["outputs"].index(wire.id_of(elem_id))]


def changed(wire: Wire, name: str) -> tuple[dict[str, Any], list[Any]]:
    """Chooses a model, and looks until nothing is under way any more."""
    wire.open_models()  # the list is filled when it is opened
    choose = wire.event("use-own", "click")
    wire.run(choose, [None, "", None, name])
    while wire.served.backend.status().change is not None:
        time.sleep(0.01)
    look = next(d for d in wire.config["dependencies"] if any(event == "tick" for _, event in d["targets"]))
    return look, wire.run(look, [None, "", None])


@pytest.mark.parametrize("name", ["Ovis1.6-Gemma2-9B", "Ovis2-1B", "ath-maas/Ovis2.5-2B"])
def test_the_controls_follow_a_change_of_the_model(name: str) -> None:
    with served(HeldBackend(fetching=0.4)) as server, closing(Wire(server)) as wire:
        look, out = changed(wire, name)
        spec = find(name)
        assert spec is not None and of(wire, look, out, "model") == spec.name
        assert of(wire, look, out, "switch-thinking")["visible"] == spec.thinking
        assert of(wire, look, out, "knob-max_partition")["visible"] == spec.tiles
        assert of(wire, look, out, "knob-max_new_tokens")["value"] == spec.defaults.max_new_tokens
        cards = [card["text"] for card in of(wire, look, out, "conversation")["examples"]]
        assert ("Which way does it move?" in cards) == spec.video and "Describe the image." in cards
        again = wire.run(look, [None, "", None])
        assert of(wire, look, again, "knob-max_new_tokens") == {"__type__": "update"}  # what people set stays


def test_sliders_of_the_model_before_are_not_asked_of_the_next_one() -> None:
    with served(HeldBackend(fetching=0.4)) as server, closing(Wire(server)) as wire:
        server.backend.model = MODELS[1]  # changed in another tab, and this one hasn't heard yet
        wire.ask("hello")
        assert server.backend.requests[-1].settings == MODELS[1].defaults


def test_a_list_that_is_shown_already_is_not_drawn_anew() -> None:
    """Drawn anew under whoever chooses, another row than theirs could be the chosen one."""
    with served(HeldBackend(fetching=0.1)) as server, closing(Wire(server)) as wire:
        opened, untouched = wire.event("model", "click"), {"__type__": "update"}
        first = of(wire, opened, wire.open_models(), "model-list")
        assert len(first["choices"]) > 5 and first["value"] is None
        assert of(wire, opened, wire.open_models(), "model-list") == untouched
        look, out = changed(wire, "Ovis2-1B")
        rows = of(wire, look, out, "model-list")
        assert "Ovis2-1B" not in str(rows["choices"]) and rows["value"] is None  # what was chosen may be gone
        assert of(wire, opened, wire.open_models(), "model-list") == untouched
        choose = wire.event("use-model", "click")
        assert "Choose a model" in of(wire, choose, wire.run(choose, [None, "", None, None]), "model-refusal")


def test_what_cannot_be_changed_to_is_said_in_a_sentence() -> None:
    with served(HeldBackend(fetching=0.4)) as server, closing(Wire(server)) as wire:
        wire.open_models()
        choose = wire.event("use-model", "click")
        refused = wire.run(choose, [None, "", None, "AIDC-AI/Ovis2-34B"])
        assert "needs more" in of(wire, choose, refused, "model-refusal")
        look = next(d for d in wire.config["dependencies"] if any(event == "tick" for _, event in d["targets"]))
        assert wire.id_of("model-refusal") not in look["outputs"]  # it stays until the next try
        look, out = changed(wire, "nobody/nothing")
        assert "check the spelling" in of(wire, look, out, "model-progress")
        assert of(wire, look, out, "model") == {"__type__": "update"}  # the model before answers


@pytest.mark.parametrize("changes", [{"model_choice": "off"}, {"server_name": "0.0.0.0"}, {"share": True}])
def test_strangers_cannot_change_the_model(changes: dict[str, Any]) -> None:
    settings = Settings(**changes)
    blocks = page.build(HeldBackend(), settings, Limits(), page.store(Limits()))
    config = blocks.get_config_file()
    ids = {c["props"].get("elem_id"): c["id"] for c in config["components"]}
    events = [tuple(target) for d in config["dependencies"] for target in d["targets"] if d["backend_fn"]]
    assert not any(ids[button] == place for place, _ in events for button in ("use-model", "use-own", "cancel-change"))
    assert Settings(**changes, **({} if "model_choice" in changes else {"model_choice": "on"})).choosable == (
        "model_choice" not in changes
    )


def test_no_more_is_kept_of_a_draft_than_can_be_typed(wire: Wire) -> None:
    wire.ask("hello")
    box = {"text": "y" * 1_000_000, "files": []}
    wire.run(wire.event("edit", "click"), [None, box])  # the draft waits for the end of the edit
    kept = wire.run(wire.event("leave-edit", "click"), [None])
    assert 150_000 < len(str(kept)) < 300_000


def test_an_address_that_asks_without_end_keeps_no_other_waiting_for_all_of_it() -> None:
    backend = HeldBackend()
    with served(backend, queue_size=2, engine="solo", trusted_proxies=("127.0.0.1",)) as there:
        greedy = [Wire(there) for _ in range(16)]  # tabs: each asks one question at a time
        other = Wire(there)
        for tab in greedy:
            tab.http.headers["x-forwarded-for"] = "192.0.2.7"
            tab.send("held")
            tab.start_answer()
        until(lambda: backend.live == 4)
        other.http.headers["x-forwarded-for"] = "192.0.2.8"
        other.send("hello")
        other.start_answer()
        said = other.messages()
        waits = next(message for message in said if message["msg"] in ("process_generating", "process_completed"))
        assert waits["msg"] == "process_generating", "it has a place in the line"
        backend.answer.set(), backend.finish.set()
        assert any(message["msg"] == "process_completed" for message in said)
        assert "You said: hello" in str(other.settle())
        for tab in (*greedy, other):
            tab.close()


def test_behind_a_trusted_proxy_who_asks_is_an_address_whatever_tab_they_say_they_are() -> None:
    backend = HeldBackend()
    with served(backend, trusted_proxies=("127.0.0.1",)) as there:
        for address in ("192.0.2.7", "192.0.2.7", "192.0.2.8"):
            wire = Wire(there)
            wire.http.headers["x-forwarded-for"] = address
            wire.ask("hello")
            wire.close()
        call = {"data": ["hello", None, None, False, None, None, None]}
        wire.http = httpx.Client(base_url=there.url, headers={"x-forwarded-for": "192.0.2.7"})
        assert wire.http.post("gradio_api/run/chat", json=call).status_code == 200
        wire.close()
    assert [request.client for request in backend.requests] == [f"address:192.0.2.{n}" for n in (7, 7, 8, 7)]

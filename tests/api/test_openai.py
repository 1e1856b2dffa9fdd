"""Our own OpenAI-compatible API as a program meets it, over a scripted backend: answers, streams, settings, models."""

from __future__ import annotations

import json
from pathlib import Path

from ovis_app.zoo import find, resolve
from tests.api.openai_program import PICTURE, Program, asked, body, refused, user
from tests.ui.serving import EXAMPLES, HeldBackend, served_api


def test_an_answer_at_once(program: Program) -> None:
    answer = program.ask(body("think of it", PICTURE)).json()
    [choice] = answer["choices"]
    assert choice["message"]["content"] == "You said: think of it (with image 1) "
    assert choice["message"]["reasoning"] == "I look at the picture. I see it. "
    assert choice["message"]["role"] == "assistant" and choice["finish_reason"] == "stop"
    assert answer["object"] == "chat.completion" and answer["model"] == "Ovis-mini"
    used = answer["usage"]
    assert used["prompt_tokens"] == 12 + 64 and used["prompt_tokens_details"]["image_tokens"] == 64
    assert used["completion_tokens_details"] == {"reasoning_tokens": 8}
    assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"]


def test_a_stream_says_the_same_in_parts(program: Program) -> None:
    chunks = program.chunks(body("think of it", stream_options={"include_usage": True}))
    *parts, end, figures = chunks
    assert parts[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    deltas = [part["choices"][0]["delta"] for part in parts[1:]]
    assert "".join(delta.get("reasoning", "") for delta in deltas) == "I look at the picture. I see it. "
    assert "".join(delta.get("content", "") for delta in deltas) == "You said: think of it "
    assert end["choices"][0]["finish_reason"] == "stop" and end["choices"][0]["delta"] == {}
    assert figures["choices"] == [] and figures["usage"]["completion_tokens_details"]["reasoning_tokens"] == 8
    assert len({part["id"] for part in chunks}) == 1
    assert {part["object"] for part in chunks} == {"chat.completion.chunk"}
    assert not any("usage" in part for part in program.chunks(body()))


def test_what_clients_take_for_the_end_of_a_line_cuts_no_event(program: Program) -> None:
    sent = body("a\u2028b\u2029c\x85d", stream=True)
    with program.http.stream("POST", "v1/chat/completions", json=sent) as answer:
        events = [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line.startswith("data: {")]
    said = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert said == "You said: a\u2028b\u2029c\x85d "


def test_a_stop_ends_the_answer_before_it(program: Program) -> None:
    for stop in ("two", ["nothing", "two"]):
        answer = program.ask(body("one two three", stop=stop)).json()
        assert answer["choices"][0]["message"]["content"] == "You said: one "
        assert answer["choices"][0]["finish_reason"] == "stop"
    said = program.chunks(body("one two three", stop="two"))
    assert "".join(part["choices"][0]["delta"].get("content", "") for part in said) == "You said: one "


def test_a_conversation_with_its_system_prompt_and_history(program: Program) -> None:
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        user("What is this?", PICTURE, PICTURE),
        {"role": "assistant", "content": "Shapes.", "reasoning": "I see shapes."},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "And"}, {"type": "text", "text": "now?"}]},
    ]
    assert program.ask({"messages": history}).status_code == 200
    request = asked(program)
    assert request.settings.system == "Be brief.\n\nBe kind."
    said = request.conversation.messages
    assert [one.role for one in said] == ["user", "assistant", "assistant", "user"]
    assert [len(one.media) for one in said] == [2, 0, 0, 0]
    assert said[1].thinking == "I see shapes." and said[-1].text == "And\nnow?"


def test_settings_that_are_named_are_taken_and_the_others_are_the_models_own(program: Program) -> None:
    named = {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "seed": 7, "repetition_penalty": 1.1, "max_tokens": 300}
    program.ask(body(**named, thinking_token_budget=100, chat_template_kwargs={"enable_thinking": True}))
    settings = asked(program).settings
    assert (settings.temperature, settings.top_p, settings.top_k, settings.seed) == (0.5, 0.9, 5, 7)
    assert (settings.repetition_penalty, settings.max_new_tokens) == (1.1, 300)
    assert settings.thinking and settings.thinking_budget == 100
    program.ask(body())
    defaults = find("ovis-mini").defaults
    assert asked(program).settings == defaults, "Ovis-mini doesn't think unless it is asked to"
    program.ask(body(max_completion_tokens=17, max_tokens=5000, top_k=-1))
    settings = asked(program).settings
    assert (settings.max_new_tokens, settings.top_k, settings.thinking_budget) == (17, 0, None)


def test_a_model_that_thinks_does_unless_it_is_told_not_to() -> None:
    with served_api(HeldBackend(model=find("Ovis2.5-2B"))) as there:
        program = Program(there)
        for told, thinks in ((None, True), ({}, True), ({"enable_thinking": False}, False)):
            program.ask(body(chat_template_kwargs=told))
            settings = asked(program).settings
            assert settings.thinking == thinks and settings.max_new_tokens == 3072
            assert settings.thinking_budget == 2048


def test_tokens_are_counted(program: Program) -> None:
    answer = program.ask(body("look", PICTURE), "tokenize")
    assert answer.json() == {"count": 12 + 64, "max_model_len": 4096}
    refused(program.ask({"prompt": "hello"}, "tokenize"), 422, "messages")
    refused(program.ask({"messages": []}, "tokenize"), 400, "messages")


def test_the_model_is_known_by_its_names_and_no_other() -> None:
    spec = find("Ovis2.5-9B")
    with served_api(HeldBackend(model=spec)) as there:
        program = Program(there)
        [card] = program.get("v1/models").json()["data"]
        assert card["id"] == spec.id and card["object"] == "model" and card["max_model_len"] == spec.context
        names = [card["id"], "Ovis2.5-9B", "ovis2.5-9b", "ATH-MaaS/Ovis2.5-9B", "aidc-ai/ovis2.5-9b"]
        for name in names:
            assert program.ask(body(model=name)).status_code == 200, name
            assert program.get(f"v1/models/{name}").json()["id"] == spec.id
        for name in ("Ovis2.5-2B", "gpt-4o", "somebody/Ovis2.5-9B", "", "/etc", str(EXAMPLES), "9B"):
            error = refused(program.ask(body(model=name)), 404, spec.id)
            assert error["code"] == "model_not_found" and error["param"] == "model"
        refused(program.get("v1/models/gpt-4o"), 404)
        refused(program.ask(body(), "v1/responses"), 404, "POST /v1/chat/completions")


def test_a_folder_is_called_by_its_name_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text('{"vit_config": {}}')
    with served_api(HeldBackend(model=resolve(str(tmp_path / "mine")))) as there:
        program = Program(there)
        listed = program.get("v1/models").text
        assert '"id":"mine"' in listed and str(tmp_path) not in listed
        assert program.ask(body(model="mine")).status_code == 200
        refused(program.ask(body(model=str(tmp_path / "mine"))), 404)

"""Whatever JSON comes: a request that makes sense, or one sentence that names the field."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovis_app import zoo
from ovis_app.api.openai.fields import ApiError
from ovis_app.api.openai.protocol import NOT_DONE, chat_request, usage
from ovis_app.backends.validation import checked
from ovis_app.conversation import Conversation, Message, Stats
from ovis_app.errors import RequestError
from ovis_app.generation import Request
from ovis_app.limits import Limits

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(
        ["user", "assistant", "system", "tool", "text", "image_url", "video_url", "data:image/png;base64,", "\ud800"]
    ),
)
WORDS = """messages role content type text image_url video_url url reasoning model stream stop stream_options seed
include_usage max_tokens max_completion_tokens temperature top_p top_k repetition_penalty thinking_token_budget
chat_template_kwargs enable_thinking mm_processor_kwargs images_kwargs min_pixels max_pixels max_partition
media_io_kwargs video num_frames"""
names = st.sampled_from([*NOT_DONE, *WORDS.split()])
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5), max_leaves=12
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system"]), "content": st.text(max_size=5) | anything}
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.one_of(anything, st.dictionaries(names, anything, max_size=6)), messages, st.booleans())
def test_no_json_breaks_the_parser(sent: Any, talk: Any, sensible: bool) -> None:
    if isinstance(sent, dict) and sensible:
        sent = {**sent, "messages": talk}
    for spec in (zoo.MINI, zoo.find("Ovis2-8B")):
        assert spec is not None
        try:
            asked = chat_request(sent, spec, Limits())
        except ApiError as error:
            assert error.status in (400, 404, 422) and str(error).endswith(".") and "\n" not in str(error)
            assert len(str(error)) < 300, "a sentence that doesn't repeat what was sent"
            continue
        assert asked.settings.check() == asked.settings
        said = tuple(Message(one.role, one.text) for one in asked.dialogue.said)
        try:
            checked(Request(Conversation(said), asked.settings), spec, Limits())
        except RequestError as error:
            assert str(error).endswith(".")


@pytest.mark.parametrize("spec", zoo.MODELS, ids=lambda spec: spec.name)
def test_every_model_can_be_asked_with_nothing_but_a_question(spec: zoo.ModelSpec) -> None:
    asked = chat_request({"messages": [{"role": "user", "content": "Hi"}]}, spec, Limits())
    assert asked.settings.max_new_tokens == spec.defaults.max_new_tokens <= spec.context
    assert asked.settings.thinking == (spec.thinking and not spec.bundled)


def test_the_figures_say_what_was_read_and_what_was_known() -> None:
    stats = Stats(prompt_tokens=100, visual_tokens=64, cached_tokens=48, answer_tokens=20, thinking_tokens=12)
    assert usage(stats) == {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 48, "image_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 12},
    }

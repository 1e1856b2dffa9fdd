"""What a call by name brings -> a conversation that ends with its question, its files checked.

Knows the shape of a call, and borrows /v1's checks. Refuses to know who calls, and who answers.
"""

from __future__ import annotations

from ovis_app.api.given_files import GivenFiles
from ovis_app.api.openai.fields import ApiError
from ovis_app.api.openai.files import attached
from ovis_app.api.openai.messages import parse
from ovis_app.conversation import Conversation, MediaKind
from ovis_app.errors import RequestError
from ovis_app.limits import Limits
from ovis_app.media.incoming_file import writing

NO_TEXT = "{} must be text that isn't empty."
NOT_A_PICTURE = "“{}” is a clip: give a picture."
SEVERAL_PAGES = "That document has several pages: give one of them, or use `chat`."
NOT_A_CLIP = "“{}” is a picture: give a clip, or use `chat` for pictures."


def asked(
    question: object, files: object, history: object, given: GivenFiles, limits: Limits, kind: MediaKind | None
) -> tuple[Conversation, str]:
    """The conversation that ends with the question, and its system prompt. Raises UserError."""
    files = [files] if files and isinstance(files, str | dict) else files or []  # one by itself is meant as a list
    if not isinstance(files, list) or len(files) > limits.files_per_turn:
        raise RequestError(f"files must be a list of at most {limits.files_per_turn} files.")
    if not isinstance(history, list | None):
        raise RequestError("history must be a list of messages.")
    try:
        parsed = parse([*(history or ()), {"role": "user", "content": _text("question", question)}], limits)
    except ApiError as error:
        raise RequestError(f"history: {error}") from error
    turns = [[given.file(one.url, one.name) for one in said.media] for said in parsed.said[:-1]]
    turns.append([given.file(value, f"file {number}") for number, value in enumerate(files, 1)])
    if any(turns):
        with writing():
            given.own.mkdir(mode=0o700, exist_ok=True)
    conversation = attached(parsed.said, turns, given.own, limits).conversation
    for item in (media := conversation.messages[-1].media):
        if kind and item.kind != kind and not (kind == "image" and item.moves):
            raise RequestError((NOT_A_PICTURE if kind == "image" else NOT_A_CLIP).format(item.label))
    if kind and len(media) > 1:
        raise RequestError(SEVERAL_PAGES)
    return conversation, parsed.system


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise RequestError(NO_TEXT.format(name))
    return value

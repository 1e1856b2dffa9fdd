"""What may be asked of a model, whoever asks: the page, the command line or a batch; and as what it is asked: an
animation as a picture where clips aren't watched, a very long picture in pieces where that is wanted."""

from __future__ import annotations

from dataclasses import replace

from ovis_app.conversation import Conversation, Media, Message, whole
from ovis_app.errors import RequestError
from ovis_app.generation import MAX_TEXT, Request
from ovis_app.limits import Limits
from ovis_app.media import split, upright_size
from ovis_app.places import in_place
from ovis_app.zoo import ModelSpec

NOT_BEGUN = "There is nothing of this answer to continue: ask again instead."


def checked(request: Request, spec: ModelSpec, limits: Limits) -> Request:
    """The request with sane settings, without what the model can't do. Raises RequestError with a sentence."""
    settings = request.settings.check()
    settings = replace(settings, system=whole(settings.system), stop=tuple(map(whole, settings.stop)))
    messages = tuple(
        replace(message, text=whole(message.text), thinking=whole(message.thinking))
        for message in request.conversation.messages
    )
    if not spec.video:
        messages = tuple(replace(one, media=tuple(item.still for item in one.media)) for one in messages)
    begun = request.conversation.begun
    asked = messages if begun is None else messages[:-1]
    if not asked or asked[-1].role != "user":
        raise RequestError("There is no question to answer: type one.")
    if begun is not None and not (begun.text or begun.thinking):
        raise RequestError(NOT_BEGUN)
    if not spec.video and any(item.kind == "video" for message in asked[:-1] for item in message.media):
        raise RequestError(
            f"{spec.name} doesn't watch clips and this conversation has one: start a new chat, or go back to a model "
            "that watches them."
        )
    for message in messages:
        if max(len(message.text), len(message.thinking)) > MAX_TEXT:
            raise RequestError(f"A message is longer than {MAX_TEXT:,} characters: shorten it.")
        if len(message.media) > limits.files_per_turn:
            raise RequestError(f"One question takes at most {limits.files_per_turn} files: remove some.")
        kinds = [media.kind for media in message.media]
        if "video" in kinds and not spec.video:
            raise RequestError(f"{spec.name} doesn't watch clips: attach a picture of the moment you mean.")
        if len(set(kinds)) > 1:
            raise RequestError("A question takes pictures or clips, not both: remove one kind.")
        if kinds.count("video") > 1 and not spec.several_clips:
            raise RequestError(f"{spec.name} watches one clip a question: ask about each in a question of its own.")
    if not spec.several_images and sum(len(message.media) for message in messages) > 1:
        raise RequestError(f"{spec.name} looks at one picture a conversation and this one has more: start a new chat.")
    thinking = settings.thinking and spec.thinking
    messages = tuple(_clamped(_in_pieces(message, spec, limits), spec) for message in messages)
    able = replace(settings, thinking=thinking, thinking_budget=settings.thinking_budget if thinking else None)
    return replace(request, conversation=Conversation(messages), settings=able)


def _in_pieces(message: Message, spec: ModelSpec, limits: Limits) -> Message:
    """The message with each very long picture as several where it stood, if that was asked for and the whole is seen
    smaller than it is. Raises MediaError."""
    if not spec.several_images or not any(item.detail.split for item in message.media):
        return message
    most = limits.files_per_turn // len(message.media)
    media: list[tuple[Media, ...]] = []
    for item in message.media:
        if item.kind == "image" and item.detail.split:
            told = item.told
            width, height = upright_size(item, limits) if told is None else (told.width, told.height)
            most_pixels = spec.detail(item, several=False).max_pixels or 0
            fits = not spec.tiles and width * height <= most_pixels
            media.append((item,) if fits else split(item, (width, height), most=most))
        else:
            media.append((item,))
    divided = replace(message, media=tuple(piece for pieces in media for piece in pieces))
    return in_place(divided, [item.place for item in message.media], [len(pieces) for pieces in media])


def _clamped(message: Message, spec: ModelSpec) -> Message:
    """The message with each picture and clip at a size that the model was made for."""
    several = len(message.media) > 1
    media = (
        replace(item, detail=spec.resolution(item.kind, several=several).clamped(item.detail)) for item in message.media
    )
    return replace(message, media=tuple(media))

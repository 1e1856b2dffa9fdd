"""Answers that are to be JSON of a certain shape: asked for, taken out of what was said, checked by a JSON Schema.

Knows schemas and sentences. Refuses to know who answers, and fetches no schema that another one names.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012, specification_with

from ovis_app.conversation import Conversation, Message
from ovis_app.errors import UserError

LARGEST = 200_000  # characters of a schema: it is a part of each question
MOST_STARTS = 50  # places of an answer where its JSON may begin
LONGEST = 200  # characters of what is wrong
FENCE = re.compile(r"```(?:json|JSON)?[ \t]{0,9}\n")
BEGINNING = re.compile(r"[{\[]")
ASK = "Answer with JSON alone, without other words, that fits this JSON Schema:\n{}"
AGAIN = "{} Answer again, with JSON alone that fits the schema."

Answerer = Callable[[Sequence[Conversation], str], list[Message]]


class SchemaRefused(UserError):
    """A file that is no schema that answers can be checked by."""


class Unfit(UserError):
    """An answer that is no JSON or doesn't fit: the sentence says where."""


@dataclass(frozen=True)
class JsonAnswers:
    """A schema, and what is asked for and checked by it."""

    schema: Any
    _validator: Any = field(repr=False)

    @staticmethod
    def read(path: Path) -> JsonAnswers:
        """From a file. Raises SchemaRefused."""
        who = f"--schema {path.name}"
        try:
            text = path.expanduser().read_text(encoding="utf-8-sig")
        except ValueError as error:
            raise SchemaRefused(f"{who} is not JSON in UTF-8: {_where(error)}.") from error
        except (OSError, RuntimeError) as error:  # the latter for a ~ that nobody has
            raise SchemaRefused(f"{who} can't be read: name a file with a JSON Schema.") from error
        return JsonAnswers.of(text, who)

    @staticmethod
    def of(text: str, who: str) -> JsonAnswers:
        """From its text; `who` begins what is said of it. Raises SchemaRefused."""
        if len(text) > LARGEST:
            raise SchemaRefused(f"{who} has more than {LARGEST:,} characters: shorten it.")
        try:
            schema = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SchemaRefused(f"{who} is not JSON in UTF-8: {_where(error)}.") from error
        return JsonAnswers(schema, _validator_of(schema, who))

    @property
    def wanted(self) -> str:
        """What stands behind a question, for its answer to have this shape."""
        return ASK.format(json.dumps(self.schema, ensure_ascii=False))

    def asked(self, conversation: Conversation) -> Conversation:
        """The question with what shape its answer is to have."""
        text = conversation.messages[-1].text
        return conversation.replace_last(text=f"{text}\n\n{self.wanted}" if text.strip() else self.wanted)

    def data(self, text: str) -> Any:
        """The JSON of an answer: all of it, that between ```, or the first that it holds. Raises Unfit."""
        refused: Unfit | None = None
        for found in _found(text):
            try:
                error = best_match(self._validator.iter_errors(found))
            except (RecursionError, OverflowError) as odd:
                raise Unfit("The answer's JSON is nested too deeply, or has numbers too large to be checked.") from odd
            if error is None:
                return found
            refused = refused or Unfit(
                f"The answer's JSON doesn't fit the schema at {error.json_path}: {_short(error)}."
            )
        raise refused or Unfit("The answer is not JSON.")

    def answerer(self, ask: Answerer) -> Answerer:
        """`ask`, told what shape is wanted. Who answers in another one is told why and asked once more; then the
        answer is an error. What an answer says in the right shape is left as it was said."""

        def answers(asked: Sequence[Conversation], system: str) -> list[Message]:
            wanted = [self.asked(conversation) for conversation in asked]
            given = ask(wanted, system)
            unfit = {n: why for n, message in enumerate(given) if (why := self._unfit(message))}
            again = [_again(wanted[n], given[n], why) for n, why in unfit.items()]
            for n, message in zip(unfit, ask(again, system) if again else [], strict=True):
                why, stats, first = self._unfit(message), message.stats, given[n].stats
                stats = replace(stats, seen=first.seen) if stats and first else stats  # files are with the question
                message = replace(message, stats=stats)
                given[n] = replace(message, error=why, finish="error") if why else message
            return given

        return answers

    def _unfit(self, message: Message) -> str:
        if message.error:
            return ""
        try:
            self.data(message.text)
        except Unfit as error:
            return str(error)
        return ""


def _again(asked: Conversation, said: Message, why: str) -> Conversation:
    return asked.add(Message("assistant", said.text, finish=said.finish)).add(Message("user", AGAIN.format(why)))


def _validator_of(schema: Any, who: str) -> Any:
    """Checks by this schema; what it names elsewhere isn't fetched. Raises SchemaRefused."""
    try:
        kind = validator_for(schema, default=Draft202012Validator)
        kind.check_schema(schema)
        validator = kind(schema, registry=Registry())
        dialect = specification_with(kind.META_SCHEMA["$schema"], default=DRAFT202012)
        for reference in _references(dialect.create_resource(schema)):
            next(validator.evolve(schema={"$ref": reference}).iter_errors(None), None)
        next(validator.iter_errors({}), None)
    except SchemaError as error:
        raise SchemaRefused(f"{who} is no JSON Schema at {error.json_path}: {_short(error)}.") from error
    except (TypeError, AttributeError) as error:  # the library's, where even the outermost value or $schema is odd
        raise SchemaRefused(f"{who} is no JSON Schema: it must be an object.") from error
    except Unresolvable as error:
        raise SchemaRefused(f"{who} refers to {error.ref}, which isn't in it: put it under $defs.") from error
    except RecursionError as error:
        raise SchemaRefused(f"{who} refers to itself without end.") from error
    return validator


def _where(error: Exception) -> str:
    return f"line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "look at it"


def _references(resource: Resource[Any], base: str = "") -> Iterator[str]:
    """What the schemas within a schema refer to, each seen from the outermost. What stands where no schema does, as
    among examples, is data."""
    base = urljoin(base, resource.id() or "")
    reference = resource.contents.get("$ref") if isinstance(resource.contents, dict) else None
    if isinstance(reference, str):
        yield base + reference if reference.startswith("#") else urljoin(base, reference)
    for within in resource.subresources():
        yield from _references(within, base)


def _found(text: str) -> Iterator[Any]:
    """What an answer holds of JSON: all of it, what stands between fences, or where braces and brackets open."""
    fenced = (text[match.end() :].partition("```")[0] for match in itertools.islice(FENCE.finditer(text), MOST_STARTS))
    for whole in (text, *fenced):
        with suppress(ValueError, RecursionError):
            yield json.loads(whole, parse_constant=_refuse)
    at = 0
    for _ in range(MOST_STARTS):
        start = BEGINNING.search(text, at)
        if start is None:
            return
        at = start.end()
        with suppress(ValueError, RecursionError):
            value, at = DECODER.raw_decode(text, start.start())
            yield value


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


DECODER = json.JSONDecoder(parse_constant=_refuse)


def _short(error: ValidationError | SchemaError) -> str:
    """What is wrong, in a line; a value that is wrong may be long."""
    line = " ".join(str(error.message).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"

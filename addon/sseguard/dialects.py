"""What a block of an event stream means in each API: keep-alive, preamble, answer, error or end mark.

Sources: the streaming references of OpenAI (chat completions, completions, responses), OpenRouter, Anthropic
(messages) and Gemini (`streamGenerateContent?alt=sse`), and what llama.cpp and vLLM send.

What a dialect does not know counts as an answer: a guard must not hold what it does not understand.
"""

from __future__ import annotations

import enum
import json
import re
from dataclasses import dataclass
from typing import Any, TypeGuard

from . import sse
from .provider_error import ProviderError


class Dialect(enum.StrEnum):
    """The API whose streams, errors and error frames a client understands."""

    #: OpenAI chat completions and legacy completions, as most gateways and local servers speak them.
    CHAT = "chat"
    #: OpenAI responses.
    RESPONSES = "responses"
    #: Anthropic messages.
    ANTHROPIC = "anthropic"
    #: Gemini `streamGenerateContent` with `alt=sse`.
    GEMINI = "gemini"


class Kind(enum.Enum):
    """What a block is, from an answer's point of view."""

    #: Comment, ping, or an event without data: the provider lives, and says nothing.
    HEARTBEAT = enum.auto()
    #: A lifecycle frame: the provider has started, and said nothing yet.
    PREAMBLE = enum.auto()
    #: Content, reasoning, tool call, refusal, audio, finish reason, usage, or anything unknown.
    ANSWER = enum.auto()
    #: An error object inside the stream.
    ERROR = enum.auto()
    #: `[DONE]` or `message_stop`: the end mark, with nothing of the answer in it.
    DONE = enum.auto()
    #: Data that is not JSON, or a block that belongs to no event stream.
    MALFORMED = enum.auto()


@dataclass(frozen=True, slots=True)
class Frame:
    """A block, understood.

    Attributes:
        kind: what the block is.
        finished: how many of the answer's choices it finishes (a finish reason each).
        final: whether it ends the whole answer, whatever the number of choices.
        error: what an `ERROR` says.
    """

    kind: Kind
    finished: int = 0
    final: bool = False
    error: ProviderError | None = None


HEARTBEAT = Frame(Kind.HEARTBEAT)
PREAMBLE = Frame(Kind.PREAMBLE)
ANSWER = Frame(Kind.ANSWER)
MALFORMED = Frame(Kind.MALFORMED)
DONE = Frame(Kind.DONE, final=True)

_PINGS = frozenset(("ping", "keepalive", "keep-alive", "heartbeat"))


def read(block: bytes, dialect: Dialect) -> Frame:
    """What `block` (as `sse.BlockSplitter` gives it) means in `dialect`. Never raises."""
    event = sse.parse(block)
    name = event.type.decode("utf-8", "replace")
    data = (event.data or b"").strip()
    if not event.known:
        return MALFORMED
    if name in _PINGS or not data or data.startswith(b":"):
        return HEARTBEAT
    if data == b"[DONE]":
        return DONE
    try:
        value = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        if name == "error":
            return _error(data.decode("utf-8", "replace"))
        return MALFORMED
    if name == "error":
        return _error(_object(value, "error") or value)
    if not isinstance(value, dict):
        return ANSWER
    return _read_object(value, dialect)


def _read_object(value: dict[str, Any], dialect: Dialect) -> Frame:
    if _text(value, "type") in _PINGS:
        return HEARTBEAT
    if value.get("error"):
        return _error(value["error"])
    if _text(value, "type") == "error" or value.get("object") == "error":
        return _error(value)
    match dialect:
        case Dialect.CHAT:
            return _read_chat(value)
        case Dialect.RESPONSES:
            return _read_responses(value)
        case Dialect.ANTHROPIC:
            return _read_anthropic(value)
        case Dialect.GEMINI:
            return _read_gemini(value)


def _error(value: object) -> Frame:
    return Frame(Kind.ERROR, final=True, error=ProviderError.read(value))


def _read_chat(value: dict[str, Any]) -> Frame:
    choices = value.get("choices")
    if not _is_objects(choices):
        return ANSWER
    for choice in choices:
        if choice.get("error"):
            return _error(choice["error"])
    finished = sum(bool(choice.get("finish_reason")) for choice in choices)
    if finished or value.get("usage") or any(map(_chat_choice_says_something, choices)):
        return Frame(Kind.ANSWER, finished=finished)
    return PREAMBLE


def _chat_choice_says_something(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta")
    if "delta" in choice and not isinstance(delta, dict):
        return bool(delta)
    if isinstance(delta, dict):
        return any(content for key, content in delta.items() if key != "role")
    # Legacy completions: the text stands in the choice itself.
    return bool(choice["text"]) if "text" in choice else True


_RESPONSES_LIFECYCLE = frozenset(("response.created", "response.in_progress", "response.queued"))
_RESPONSES_END = frozenset(("response.completed", "response.incomplete", "response.cancelled"))


def _read_responses(value: dict[str, Any]) -> Frame:
    kind = _text(value, "type")
    if kind == "response.failed":
        return _error(_object(_object(value, "response"), "error") or {})
    if kind in _RESPONSES_END:
        return Frame(Kind.ANSWER, final=True)
    if kind in _RESPONSES_LIFECYCLE:
        return PREAMBLE
    if kind == "response.output_item.added":
        # A message or a reasoning item starts out empty; anything else is a call that has a name already.
        item = _object(value, "item")
        empty = item.get("type") in ("message", "reasoning") and not item.get("content") and not item.get("summary")
        return PREAMBLE if empty else ANSWER
    if kind == "response.content_part.added":
        part = _object(value, "part")
        return ANSWER if part.get("text") or part.get("refusal") else PREAMBLE
    return ANSWER


def _read_anthropic(value: dict[str, Any]) -> Frame:
    match value.get("type"):
        case "message_start":
            message = _object(value, "message")
            if message.get("stop_reason"):
                return Frame(Kind.ANSWER, finished=1)
            return ANSWER if message.get("content") else PREAMBLE
        case "content_block_start":
            block = _object(value, "content_block")
            empty = block.get("type") in ("text", "thinking")
            return PREAMBLE if empty and not block.get("text") and not block.get("thinking") else ANSWER
        case "content_block_stop":
            return PREAMBLE
        case "message_delta":
            return Frame(Kind.ANSWER, finished=1 if _object(value, "delta").get("stop_reason") else 0)
        case "message_stop":
            return Frame(Kind.PREAMBLE, final=True)
        case _:
            return ANSWER


def _read_gemini(value: dict[str, Any]) -> Frame:
    if _object(value, "promptFeedback").get("blockReason"):
        return Frame(Kind.ANSWER, final=True)
    candidates = value.get("candidates")
    if not _is_objects(candidates) or not candidates:
        return ANSWER
    finished = sum(bool(candidate.get("finishReason")) for candidate in candidates)
    if finished or any(map(_gemini_candidate_says_something, candidates)):
        return Frame(Kind.ANSWER, finished=finished)
    return PREAMBLE


def _gemini_candidate_says_something(candidate: dict[str, Any]) -> bool:
    parts = _object(candidate, "content").get("parts")
    return _is_objects(parts) and any(content for part in parts for content in part.values())


def _object(value: dict[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _text(value: dict[str, Any], key: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) else ""


def _is_objects(value: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


# Values that are not null. Inside a JSON string the quotes would carry backslashes, so no text can look like these.
_ERROR_VALUE = re.compile(rb'"error"\s*:\s*[^\sn]|"(?:type|object)"\s*:\s*"error"')
_ERROR_LINE = re.compile(rb"^(?:event: ?)?error", re.MULTILINE)
_FINISH = {
    Dialect.CHAT: re.compile(rb'"finish_reason"\s*:\s*[^\sn]'),
    Dialect.RESPONSES: re.compile(rb'"type"\s*:\s*"response\.(?:completed|incomplete|cancelled|failed)"'),
    Dialect.ANTHROPIC: re.compile(rb'"stop_reason"\s*:\s*[^\sn]|"type"\s*:\s*"message_stop"'),
    Dialect.GEMINI: re.compile(rb'"(?:finishReason|blockReason)"\s*:\s*[^\sn]'),
}


def may_be_error(block: bytes) -> bool:
    """Whether it takes `read` to tell that `block` is no error. Cheap, for frames behind the first answer."""
    # Of bytes, `find` is quicker than `in`, and both are quicker than a pattern.
    if block.find(b"error") < 0:
        return False
    value = block.find(b'"error"') >= 0 and _ERROR_VALUE.search(block)
    return bool(value or _ERROR_LINE.search(block))


def may_be_end(block: bytes, dialect: Dialect) -> bool:
    """Whether it takes `read` to tell that `block` is no end mark or finish. Cheap, as `may_be_error`."""
    if block.find(b"[DONE]") >= 0:
        return True
    if dialect is Dialect.ANTHROPIC and block.find(b'"stop_reason"') < 0 and block.find(b"message_stop") < 0:
        return False  # quicker than to look for either at once
    return _FINISH[dialect].search(block) is not None


def is_heartbeat(block: bytes) -> bool:
    """Whether `block` is plainly a comment or a ping, without reading it."""
    return block.startswith((b":", b"event: ping"))

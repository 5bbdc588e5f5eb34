"""Frames as each API sends them, as few as a test needs."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sseguard.dialects import Dialect

COMMENT = b": OPENROUTER PROCESSING\n\n"
END_MARK = b"data: [DONE]\n\n"


def data(value: object, event: str = "") -> bytes:
    """A frame with `value` as JSON, in the spacing that most servers use."""
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()


def chat(*, finish: str | None = None, index: int = 0, **delta: object) -> bytes:
    """A frame of a chat completion with one choice."""
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return data({"id": "gen-1", "object": "chat.completion.chunk", "choices": [choice]})


def response(kind: str, **more: object) -> bytes:
    """A frame of the Responses API."""
    return data({"type": kind, "sequence_number": 1, **more}, event=kind)


def message(kind: str, **more: object) -> bytes:
    """A frame of Anthropic's messages."""
    return data({"type": kind, **more}, event=kind)


def gemini(text: str, **candidate: object) -> bytes:
    """A frame of Gemini with one candidate."""
    content = {"role": "model", "parts": [{"text": text}]}
    return data({"candidates": [{"content": content, "index": 0, **candidate}], "modelVersion": "gemini"})


@dataclass(frozen=True, slots=True)
class Sample:
    """The frames of one dialect: `answer` and `more` are content, `finish` ends it, `error` says 529 or 429."""

    preamble: bytes
    answer: bytes
    more: bytes
    finish: bytes
    error: bytes


SAMPLES = {
    Dialect.CHAT: Sample(
        preamble=chat(role="assistant", content=""),
        answer=chat(content="Hel"),
        more=chat(content="lo — \u4f60\u597d"),
        finish=chat(finish="stop"),
        error=data({"error": {"message": "Overloaded", "code": 529}}),
    ),
    Dialect.RESPONSES: Sample(
        preamble=response("response.created", response={"id": "resp_1", "error": None, "output": []}),
        answer=response("response.output_text.delta", delta="Hel"),
        more=response("response.output_text.delta", delta="lo"),
        finish=response("response.completed", response={"id": "resp_1", "error": None}),
        error=response("error", code="rate_limit_exceeded", message="Overloaded"),
    ),
    Dialect.ANTHROPIC: Sample(
        preamble=message("message_start", message={"id": "msg_1", "content": [], "stop_reason": None}),
        answer=message("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hel"}),
        more=message("content_block_delta", index=0, delta={"type": "text_delta", "text": "lo"}),
        finish=message("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2}),
        error=message("error", error={"type": "overloaded_error", "message": "Overloaded"}),
    ),
    Dialect.GEMINI: Sample(
        preamble=gemini(""),
        answer=gemini("Hel"),
        more=gemini("lo"),
        finish=gemini("", finishReason="STOP"),
        error=data({"error": {"code": 429, "message": "Overloaded", "status": "RESOURCE_EXHAUSTED"}}),
    ),
}

"""What providers send when they fail, as bytes: errors inside a stream, keep-alives, answers that are no stream.

Error frames, one shape per provider. Sources: OpenAI https://platform.openai.com/docs/api-reference/streaming and
…/api-reference/responses-streaming, OpenRouter https://openrouter.ai/docs/api-reference/errors-and-debugging, Anthropic
https://docs.anthropic.com/en/docs/build-with-claude/streaming, Gemini https://ai.google.dev/gemini-api/docs/troubleshooting,
llama.cpp https://github.com/ggml-org/llama.cpp/pull/16109 (servers older than that send the form used here).
"""

from __future__ import annotations

import enum
import json

from sseguard.dialects import Dialect


class Shape(enum.StrEnum):
    """A provider's way to tell of an error inside a stream."""

    #: `data: {"error": …}`, as newer llama.cpp and most OpenAI-compatible servers send it too.
    OPENAI = "openai"
    #: A chunk like any other that has an `error` beside `choices`, and the finish reason `error`.
    OPENROUTER = "openrouter"
    #: `event: error`.
    ANTHROPIC = "anthropic"
    #: A status of Google's in place of candidates.
    GEMINI = "gemini"
    #: OpenAI responses: the event `error`, its fields side by side.
    RESPONSES = "responses"
    #: OpenAI responses: the event `response.failed`, which no other API has.
    RESPONSE_FAILED = "response.failed"
    #: A field named `error`, which is none to an event stream, and `[DONE]` as if all were well.
    LLAMA_CPP = "llama.cpp"


#: The shapes that a provider of each dialect sends.
SHAPES_OF = {
    Dialect.CHAT: (Shape.OPENAI, Shape.OPENROUTER, Shape.LLAMA_CPP),
    Dialect.RESPONSES: (Shape.RESPONSES, Shape.RESPONSE_FAILED),
    Dialect.ANTHROPIC: (Shape.ANTHROPIC,),
    Dialect.GEMINI: (Shape.GEMINI,),
}

DONE = b"data: [DONE]\n\n"

_ID = "sseguard-made-this"
_FAILED = "The server had an error while processing your request."


def error_frame(shape: Shape, model: str, number: int) -> bytes:
    """An error as a provider puts it into a stream, lines ended by LF; `number` is that of the event, from 0."""
    match shape:
        case Shape.OPENAI:
            return _frame({"error": {"message": _FAILED, "type": "server_error", "param": None, "code": None}})
        case Shape.OPENROUTER:
            said = {"code": 502, "message": "Provider returned error", "metadata": {"provider_name": "Example"}}
            choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "error"}
            chunk = {"id": f"gen-{_ID}", "object": "chat.completion.chunk", "created": 0, "model": model}
            return _frame({**chunk, "provider": "Example", "error": said, "choices": [choice]})
        case Shape.ANTHROPIC:
            said = {"type": "overloaded_error", "message": "Overloaded"}
            return _frame({"type": "error", "error": said, "request_id": f"req_{_ID}"}, "error")
        case Shape.GEMINI:
            overloaded = "The model is overloaded. Please try again later."
            return _frame({"error": {"code": 503, "message": overloaded, "status": "UNAVAILABLE"}})
        case Shape.RESPONSES:
            said = {"code": "server_error", "message": _FAILED, "param": None}
            return _frame({"type": "error", "sequence_number": number, **said}, "error")
        case Shape.RESPONSE_FAILED:
            said = {"code": "server_error", "message": _FAILED}
            response = {"id": f"resp_{_ID}", "object": "response", "status": "failed", "model": model, "output": []}
            event = {"type": "response.failed", "sequence_number": number, "response": {**response, "error": said}}
            return _frame(event, "response.failed")
        case Shape.LLAMA_CPP:
            error = {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}
            return b"error: " + _json(error) + b"\n\n" + DONE


def heartbeat(dialect: Dialect, url: str) -> bytes:
    """What a provider sends to keep the connection alive, lines ended by LF."""
    if dialect is Dialect.ANTHROPIC:
        return _frame({"type": "ping"}, "ping")
    return b": OPENROUTER PROCESSING\n\n" if "openrouter.ai" in url else b": keep-alive\n\n"


HTML = b"""<!DOCTYPE html>
<html lang="en">
<head><title>502 Bad Gateway</title></head>
<body>
<center><h1>502 Bad Gateway</h1></center>
<hr><center>nginx</center>
</body>
</html>
"""

#: What OpenRouter sends while a client that asked for no stream waits.
BLANKS = b"\n         \n"


def json_answer(dialect: Dialect, model: str) -> bytes:
    """A small answer in one piece, as to a request for no stream."""
    text = "This is a whole answer, not a stream."
    match dialect:
        case Dialect.CHAT:
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            head = {"id": f"gen-{_ID}", "object": "chat.completion", "created": 0, "model": model}
            return _json({**head, "choices": [choice]})
        case Dialect.RESPONSES:
            part = {"type": "output_text", "text": text, "annotations": []}
            item = {"id": f"msg_{_ID}", "type": "message", "status": "completed", "role": "assistant"}
            head = {"id": f"resp_{_ID}", "object": "response", "status": "completed", "model": model}
            return _json({**head, "output": [{**item, "content": [part]}]})
        case Dialect.ANTHROPIC:
            head = {"id": f"msg_{_ID}", "type": "message", "role": "assistant", "model": model}
            usage = {"input_tokens": 1, "output_tokens": 9}
            content = [{"type": "text", "text": text}]
            return _json({**head, "content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage})
        case Dialect.GEMINI:
            content_ = {"role": "model", "parts": [{"text": text}]}
            return _json({"candidates": [{"index": 0, "content": content_, "finishReason": "STOP"}]})


def _frame(value: object, event: str = "") -> bytes:
    head = f"event: {event}\n".encode() if event else b""
    return head + b"data: " + _json(value) + b"\n\n"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")

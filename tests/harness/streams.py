"""Frames as providers send them, for upstream scripts."""

from __future__ import annotations

import json
from typing import Any

HEARTBEAT = b": OPENROUTER PROCESSING\n\n"
DONE = b"data: [DONE]\n\n"


def data(value: Any) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def chat(content: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    """A chat completion chunk; without content, the role-only one that comes first."""
    delta = {"role": "assistant", "content": ""} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "gen-1", "object": "chat.completion.chunk", "created": 1, "model": "vendor/model"}
    return data({**head, "choices": [choice], **more})


#: A whole healthy answer, "Hello world".
ANSWER = (HEARTBEAT, chat(), chat("Hello"), chat(" world"), chat("", "stop"), DONE)


def event(kind: str, **value: Any) -> bytes:
    """A frame of the Anthropic messages or OpenAI responses API."""
    return f"event: {kind}\n".encode() + data({"type": kind, **value})


MESSAGE_START = event(
    "message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 0},
    },
)


def message_text(text: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

"""The APIs whose streams are guarded, as a provider speaks them: a request, and the frames of an answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .streams import DONE, HEARTBEAT, MESSAGE_START, chat, data, event, message_text


@dataclass(frozen=True)
class Api:
    """One API.

    Attributes:
        path: of the endpoint.
        request: that asks for a stream.
        preamble: lifecycle frames, which say nothing of the answer.
        answer: the frames of the answer "Hello world".
        ending: its end marks.
        error: the provider's error frame; the provider says that it is overloaded.
        error_start: how an error frame of ours starts.
        done: the end mark alone, or nothing if the API has none that says nothing else.
    """

    name: str
    path: str
    request: dict[str, Any]
    preamble: tuple[bytes, ...]
    answer: tuple[bytes, ...]
    ending: tuple[bytes, ...]
    error: bytes
    error_start: bytes = b"data: "
    done: bytes = b""

    @property
    def healthy(self) -> tuple[bytes, ...]:
        """A whole stream as it should be."""
        return (HEARTBEAT, *self.preamble, *self.answer, *self.ending)

    def late_error(self, frame: bytes) -> dict[str, Any]:
        """The error object in `frame`, which is an error frame of ours, whole and alone."""
        assert frame.startswith(self.error_start), frame
        assert frame.endswith(b"\n\n"), frame
        text = frame.removeprefix(self.error_start)[:-2]
        assert b"\n" not in text, frame
        error: dict[str, Any] = json.loads(text)["error"]
        return error

    def __str__(self) -> str:
        return self.name


CHAT = Api(
    name="chat",
    path="/v1/chat/completions",
    request={"model": "vendor/model", "stream": True, "messages": [{"role": "user", "content": "Hi"}]},
    preamble=(chat(),),
    answer=(chat("Hello"), chat(" world")),
    ending=(chat("", "stop"), DONE),
    error=data({"error": {"message": "Overloaded, come again", "type": "overloaded_error", "code": 529}}),
    done=DONE,
)


def _text_completion(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    return data({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]})


COMPLETIONS = Api(
    name="completions",
    path="/v1/completions",
    request={"model": "vendor/model", "stream": True, "prompt": "Hi"},
    preamble=(_text_completion(""),),
    answer=(_text_completion("Hello"), _text_completion(" world")),
    ending=(_text_completion("", "stop"), DONE),
    error=CHAT.error,
    done=DONE,
)


def _response(status: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": "vendor/model",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        **more,
    }


_MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant"}
_PART = {"type": "output_text", "annotations": []}
_PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
_DONE_MESSAGE = {**_MESSAGE, "status": "completed", "content": [{**_PART, "text": "Hello world"}]}


def _text_delta(number: int, text: str) -> bytes:
    return event("response.output_text.delta", sequence_number=number, **_PLACE, delta=text, logprobs=[])


RESPONSES = Api(
    name="responses",
    path="/v1/responses",
    request={"model": "vendor/model", "stream": True, "input": "Hi"},
    preamble=(
        event("response.created", sequence_number=0, response=_response("in_progress")),
        event("response.in_progress", sequence_number=1, response=_response("in_progress")),
        event(
            "response.output_item.added",
            sequence_number=2,
            output_index=0,
            item={**_MESSAGE, "status": "in_progress", "content": []},
        ),
        event("response.content_part.added", sequence_number=3, **_PLACE, part={**_PART, "text": ""}),
    ),
    answer=(_text_delta(4, "Hello"), _text_delta(5, " world")),
    ending=(
        event("response.output_text.done", sequence_number=6, **_PLACE, text="Hello world", logprobs=[]),
        event("response.output_item.done", sequence_number=7, output_index=0, item=_DONE_MESSAGE),
        event("response.completed", sequence_number=8, response=_response("completed", output=[_DONE_MESSAGE])),
    ),
    error=event("error", code="overloaded_error", message="Overloaded, come again", param=None, sequence_number=4),
    error_start=b"event: error\ndata: ",
)

ANTHROPIC = Api(
    name="anthropic",
    path="/v1/messages",
    request={"model": "claude", "stream": True, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
    preamble=(
        MESSAGE_START,
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("ping"),
    ),
    answer=(message_text("Hello"), message_text(" world")),
    ending=(
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 2}),
        event("message_stop"),
    ),
    error=event("error", error={"type": "overloaded_error", "message": "Overloaded, come again"}),
    error_start=b"event: error\ndata: ",
    done=event("message_stop"),
)


def _candidate(text: str, **more: Any) -> bytes:
    content = {"role": "model", "parts": [{"text": text}]}
    return data({"candidates": [{"index": 0, "content": content, **more}], "modelVersion": "gemini"})


GEMINI = Api(
    name="gemini",
    path="/v1beta/models/gemini:streamGenerateContent?alt=sse",
    request={"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
    preamble=(_candidate(""),),
    answer=(_candidate("Hello"), _candidate(" world")),
    ending=(_candidate("", finishReason="STOP"),),
    error=data({"error": {"code": 529, "message": "Overloaded, come again", "status": "UNAVAILABLE"}}),
)

APIS = (CHAT, COMPLETIONS, RESPONSES, ANTHROPIC, GEMINI)

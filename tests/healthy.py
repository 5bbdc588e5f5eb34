"""A healthy stream in each dialect, and what the gate says of a recording."""

from __future__ import annotations

import json

from sseguard.codings import Decoder
from sseguard.dialects import Dialect
from sseguard.endpoints import find
from sseguard.gate import Call, Gate, Limits
from sseguard.recordings.recording import Chunk, Ending, RecordedRequest, RecordedResponse, Recording
from sseguard.verdicts import Verdict

STREAM = (("content-type", "text/event-stream; charset=utf-8"), ("x-request-id", "req_1"))


def frame(value: object, event: str = "") -> bytes:
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def recording(
    url: str, *frames: bytes, headers: tuple[tuple[str, str], ...] = STREAM, end: Ending = Ending.EOF
) -> Recording:
    """Each frame a chunk of its own, a quarter of a second apart, the end half a second behind the last."""
    chunks = tuple(Chunk(0.25 * number, data) for number, data in enumerate(frames, 1))
    request = RecordedRequest("POST", url, (), {"model": "a/model", "stream": True})
    return Recording(request, RecordedResponse(200, headers), chunks, end, 0.25 * len(frames) + 0.5, "")


def _delta(delta: object, finish: str | None = None) -> bytes:
    return frame({"id": "gen-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


#: A heartbeat, a preamble, two answers, the finish, the usage, the end.
CHAT = recording(
    "https://openrouter.ai/api/v1/chat/completions",
    b": OPENROUTER PROCESSING\n\n",
    _delta({"role": "assistant", "content": ""}),
    _delta({"content": "Grüße, "}),
    _delta({"content": "世界!"}),
    _delta({}, "stop"),
    frame({"id": "gen-1", "choices": [], "usage": {"total_tokens": 7}}),
    b"data: [DONE]\n\n",
)


def _event(kind: str, **fields: object) -> bytes:
    return frame({"type": kind, **fields}, kind)


#: Two preambles, two answers, the end.
RESPONSES = recording(
    "https://api.openai.com/v1/responses",
    _event("response.created", sequence_number=0, response={"id": "resp_1", "error": None}),
    _event("response.output_item.added", sequence_number=1, item={"type": "message", "content": []}),
    _event("response.output_text.delta", sequence_number=2, delta="Grüße, "),
    _event("response.output_text.delta", sequence_number=3, delta="世界!"),
    _event("response.completed", sequence_number=4, response={"id": "resp_1", "error": None}),
)

#: Two preambles, a ping, two answers, a block's end, the stop reason, the end.
ANTHROPIC = recording(
    "https://api.anthropic.com/v1/messages",
    _event("message_start", message={"id": "msg_1", "content": [], "stop_reason": None}),
    _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    _event("ping"),
    _event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Grüße, "}),
    _event("content_block_delta", index=0, delta={"type": "text_delta", "text": "世界!"}),
    _event("content_block_stop", index=0),
    _event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5}),
    _event("message_stop"),
)


def _candidate(text: str, **fields: object) -> bytes:
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, **fields}
    return frame({"candidates": [candidate]}).replace(b"\n", b"\r\n")


#: Three answers, the last with the finish; lines end in CRLF.
GEMINI = recording(
    "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    _candidate("Grüße, "),
    _candidate("世界"),
    _candidate("!", finishReason="STOP"),
)

HEALTHY = {
    Dialect.CHAT: CHAT,
    Dialect.RESPONSES: RESPONSES,
    Dialect.ANTHROPIC: ANTHROPIC,
    Dialect.GEMINI: GEMINI,
}


def body(recording: Recording) -> bytes:
    return b"".join(chunk.data for chunk in recording.chunks)


def header(recording: Recording, name: str) -> str | None:
    return next((value for key, value in recording.response.headers if key == name), None)


def judged(recording: Recording, limits: Limits | None = None) -> Verdict:
    """The gate's verdict on a recording, with its times; what it waits for comes no later than a day after the end."""
    endpoint = find(recording.request.url)
    assert endpoint is not None
    gate = Gate(Call(endpoint.dialect), Limits() if limits is None else limits, 0.0)
    gate.opened(Decoder(header(recording, "content-encoding") or ""), 0.0)
    for chunk in recording.chunks:
        _wait(gate, chunk.at)
        gate.feed(chunk.data, chunk.at)
    _end(gate, recording)
    assert gate.verdict is not None
    return gate.verdict


def _end(gate: Gate, recording: Recording) -> None:
    match recording.end:
        case Ending.EOF:
            _wait(gate, recording.ended)
            gate.end(recording.ended)
        case Ending.CUT:
            _wait(gate, recording.ended)
            gate.cut("Connection reset by peer.", recording.ended)
        case Ending.CLIENT_LEFT:
            _wait(gate, recording.ended + 86_400)
            gate.left(recording.ended + 86_400)


def _wait(gate: Gate, until: float) -> None:
    while gate.deadline is not None and gate.deadline <= until:
        gate.tick(gate.deadline)

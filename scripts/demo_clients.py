"""Real SDKs, and what each makes of a stream. Each is used as its documentation says, with retries off."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from anthropic import Anthropic
from google import genai
from openai import OpenAI

from sseguard.recordings.recording import RecordedRequest

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a client got.

    Attributes:
        text: all of the answer that came: content, and the names and arguments of tool calls.
        error: what the SDK raised, or None where it took the stream for a complete answer.
        patience: how long the client was ready to wait for the next bytes, in seconds.
    """

    text: str
    error: Exception | None
    patience: float

    @property
    def kind(self) -> str:
        """The name of the error's class, empty if there was none."""
        return type(self.error).__name__ if self.error is not None else ""

    @property
    def gave_up(self) -> bool:
        """Whether the client ran out of patience, and no server told it to."""
        return "timeout" in self.kind.lower() and self.status is None

    @property
    def status(self) -> int | None:
        """The HTTP status that the error has, if it has one. Inside a stream some SDKs give the 200 it began with."""
        values = (getattr(self.error, name, None) for name in ("status_code", "code"))
        return next((value for value in values if isinstance(value, int)), None)

    @property
    def reason(self) -> str:
        """The verdict that sseguard gave as the reason, empty where the error is not its own."""
        return str(_object(self._body.get("metadata")).get("reason", ""))

    @property
    def _body(self) -> Body:
        """The error object that the server sent, empty if it sent none."""
        body = getattr(self.error, "body", None) or getattr(self.error, "details", None)
        return _object(_object(body).get("error", body))

    @property
    def _message(self) -> str:
        message = self._body.get("message") or getattr(getattr(self.error, "response", None), "text", "")
        return str(message or self.error)

    def __str__(self) -> str:
        text = f'"{self.text.strip()}"' if self.text else ""
        if self.error is None:
            return text or "success, no text"
        status = f" {self.status}" if self.status else ""
        if self.gave_up:
            told = f"gave up after {self.patience:g} s"
        elif self.reason:
            # Behind the beginning of an answer, the status is the 200 of that, if any.
            told = f"{self.kind} {self.reason}" if text else f"{self.kind}{status} {self.reason}"
        else:
            told = f"{self.kind}{status}: {' '.join(self._message.split())}"
        return f"{text}, {told}" if text else told


class Clients:
    """The SDKs, pointed at `server` (scheme, host and port), behind which each host has a path of its own."""

    def __init__(self, server: str) -> None:
        self._server = server
        # Not their own types: a recorded body is a JSON object, which says nothing of what it holds.
        self._openai: Any = OpenAI(api_key="demo", base_url=server, max_retries=0)
        self._anthropic: Any = Anthropic(api_key="demo", base_url=server, max_retries=0)
        self._genai: Any = genai.Client(api_key="demo", vertexai=False)

    def close(self) -> None:
        """Let go of all connections."""
        self._openai.close()
        self._anthropic.close()
        self._genai.close()

    def ask(self, request: RecordedRequest, patience: float) -> Outcome:
        """Send `request` with the SDK for its API. Never raises an `Exception`: that is part of the outcome."""
        url = urlsplit(request.url)
        for ending, read in self._readers().items():
            base, found, _ = f"{self._server}/{url.hostname}{url.path}".partition(ending)
            if found:
                return _collect(read(base, dict(_object(request.body)), url.path, patience), patience)
        raise ValueError(f"Expected the URL of an API that an SDK here speaks, got {request.url!r}.")

    def _readers(self) -> dict[str, Callable[[str, Body, str, float], Iterator[str]]]:
        # What the SDK puts behind its base URL tells which it is; the longer ending first.
        return {
            "/chat/completions": self._chat,
            "/completions": self._completions,
            "/responses": self._responses,
            "/v1/messages": self._messages,
            "/v1beta/": self._gemini,
        }

    def _chat(self, base: str, body: Body, _: str, patience: float) -> Iterator[str]:
        client = self._openai.with_options(base_url=base, timeout=patience)
        model, messages, stream = body.pop("model"), body.pop("messages"), body.pop("stream")
        for chunk in client.chat.completions.create(model=model, messages=messages, stream=stream, extra_body=body):
            for choice in chunk.choices or ():
                yield choice.delta.content or ""
                for call in choice.delta.tool_calls or ():
                    yield (call.function.name or "") + (call.function.arguments or "")

    def _completions(self, base: str, body: Body, _: str, patience: float) -> Iterator[str]:
        client = self._openai.with_options(base_url=base, timeout=patience)
        for chunk in client.completions.create(**body):
            for choice in chunk.choices or ():
                yield choice.text or ""

    def _responses(self, base: str, body: Body, _: str, patience: float) -> Iterator[str]:
        client = self._openai.with_options(base_url=base, timeout=patience)
        for event in client.responses.create(**body):
            match event.type:
                case "response.output_text.delta" | "response.function_call_arguments.delta":
                    yield event.delta
                case "response.output_item.added" if event.item.type == "function_call":
                    yield event.item.name

    def _messages(self, base: str, body: Body, _: str, patience: float) -> Iterator[str]:
        client = self._anthropic.with_options(base_url=base, timeout=patience)
        for event in client.messages.create(**body):
            match event.type:
                case "content_block_start" if event.content_block.type == "tool_use":
                    yield event.content_block.name
                case "content_block_delta" if event.delta.type == "text_delta":
                    yield event.delta.text
                case "content_block_delta" if event.delta.type == "input_json_delta":
                    yield event.delta.partial_json

    def _gemini(self, base: str, body: Body, path: str, patience: float) -> Iterator[str]:
        model = path.partition("/models/")[2].rpartition(":")[0]
        options = {"base_url": base, "api_version": "v1beta", "timeout": round(patience * 1000)}
        for chunk in self._genai.models.generate_content_stream(
            model=model, contents=body["contents"], config={"http_options": options}
        ):
            for candidate in chunk.candidates or ():
                for part in (candidate.content and candidate.content.parts) or ():
                    if part.function_call:
                        yield f"{part.function_call.name}{json.dumps(part.function_call.args)}"
                    elif not part.thought:
                        yield part.text or ""


def _collect(pieces: Iterator[str], patience: float) -> Outcome:
    text = ""
    try:
        for piece in pieces:
            text += piece
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is what the client got
        return Outcome(text, error, patience)
    return Outcome(text, None, patience)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

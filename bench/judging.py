"""Judging a request for its model, against parsing it as JSON, which is the least that it takes to know."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable

from sseguard.routing import models_in

from .figures import Figure, Section, interleaved
from .sizes import Sizes
from .upstream import PATH

_OURS, _RIVAL = "sseguard", "json.loads"


def measure(sizes: Sizes, say: Callable[[str], None]) -> Section:
    """All of it; `say` is told what comes next."""
    figures = []
    for name, body in _bodies().items():
        say(f"requests: {name}")
        count = max(sizes.judged // len(body) // 4, 1)

        def once(which: str, body: bytes = body, count: int = count) -> float:
            began = time.process_time()
            for _ in range(count):
                if which == _OURS:
                    models_in(body, PATH)
                else:
                    json.loads(body)
            return (time.process_time() - began) / count * 1e6

        samples = interleaved(sizes.rounds, (_RIVAL, _OURS), once)
        figures.append(Figure(f"request of {name}", "µs CPU", samples, _RIVAL))
    return Section("Judging a request for its model", figures)


def _bodies() -> dict[str, bytes]:
    return {
        "1 KB": _body(["How does a proxy keep a stream alive? " * 20]),
        "100 KB": _body(["How does a proxy keep a stream alive? — It waits.\n" * 20] * 96),
        "10 MB, images in base64": _body(["What do these show?", *[_image(1_860_000)] * 4]),
    }


def _body(messages: list[object]) -> bytes:
    turns = [{"role": ("user", "assistant")[at % 2], "content": content} for at, content in enumerate(messages)]
    body = {"messages": turns, "temperature": 0.7, "stream": True, "model": "example/large-model"}
    return json.dumps(body, ensure_ascii=False).encode()


def _image(size: int) -> list[dict[str, object]]:
    data = base64.b64encode(bytes(number * number % 251 for number in range(size))).decode("ascii")
    return [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}]

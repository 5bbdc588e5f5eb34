from pathlib import Path

import httpx

from harness import Proxy, Upstream
from harness.streams import ANSWER, HEARTBEAT

REQUEST = {"model": "vendor/model", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}


def test_a_healthy_stream_arrives_byte_for_byte(tmp_path: Path) -> None:
    with Upstream.answering(*ANSWER) as upstream, Proxy.running(tmp_path, mode=f"reverse:{upstream.url}") as proxy:
        response = httpx.post(f"{proxy.url}/v1/chat/completions", json=REQUEST)
        assert (response.status_code, response.content) == (200, b"".join(ANSWER))
        assert proxy.flow()["facts"]["verdict"] == "answered"
        proxy.assert_unharmed()


def test_heartbeats_alone_become_a_502(tmp_path: Path) -> None:
    with Upstream.answering(HEARTBEAT) as upstream, Proxy.running(tmp_path, mode=f"reverse:{upstream.url}") as proxy:
        response = httpx.post(f"{proxy.url}/v1/chat/completions", json=REQUEST)
        assert response.status_code == 502
        assert response.json()["error"]["metadata"]["reason"] == "heartbeats_only"
        insides = httpx.get(f"{proxy.url}/__probe__").json()
        assert insides["streams"] <= 1
        proxy.assert_unharmed()

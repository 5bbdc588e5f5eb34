"""Recording and replay through a real mitmdump."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest

from harness import Connection, Proxy, Upstream
from harness.proxy import PATIENCE
from harness.streams import ANSWER, HEARTBEAT, chat
from harness.waiting import until
from sseguard.codings import Decoder, Encoder
from sseguard.recordings.assessment import assess
from sseguard.recordings.fixture import load
from sseguard.recordings.player import Player, run_in_thread
from sseguard.recordings.recording import Ending, Recording

REQUEST = {"model": "vendor/model", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
PATH = "/api/v1/chat/completions"
KEY = "sk-or-" + "v1-" + "0123456789abcdef" * 4


@contextmanager
def recording_proxy(tmp_path: Path, upstream_url: str, folder: Path, **options: str) -> Iterator[Proxy]:
    with Proxy.running(
        tmp_path / "conf", mode=f"reverse:{upstream_url}", options={"sse_record": str(folder), **options}
    ) as proxy:
        yield proxy


def only_file(folder: Path) -> Path:
    [path] = folder.iterdir()
    return path


def only_recording(folder: Path) -> Recording:
    return load(only_file(folder))


def data_of(recording: Recording) -> list[bytes]:
    return [chunk.data for chunk in recording.chunks]


def ask(proxy: Proxy, **more: object) -> httpx.Response:
    return httpx.post(proxy.url + PATH, json={**REQUEST, **more}, headers={"authorization": f"Bearer {KEY}"})


def test_a_recording_has_each_chunk_as_it_came_and_says_how_it_ended(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    with Upstream.answering(*ANSWER) as upstream, recording_proxy(tmp_path, upstream.url, folder) as proxy:
        ask(proxy)
        proxy.flow()
    recording = only_recording(folder)
    assert data_of(recording) == list(ANSWER)
    assert (recording.end, recording.response.status) == (Ending.EOF, 200)
    assert recording.request.body == REQUEST
    assert recording.request.url.endswith(PATH)


def test_the_name_says_host_model_and_verdict_and_the_file_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    with Upstream.answering(HEARTBEAT) as upstream, recording_proxy(tmp_path, upstream.url, folder) as proxy:
        ask(proxy, model="../../etc/passwd\x1b[31m/" + "x" * 300)
        proxy.flow()
    path = only_file(folder)
    assert path.name.endswith("-heartbeats_only.sse.jsonl")
    assert "-127.0.0.1-" in path.name
    assert len(path.name) < 255
    assert path.name.isprintable()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_key_is_in_no_file_whatever_the_provider_makes_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    echo = chat(f"Your key is {KEY}.")
    chunks = [bytes([byte]) for byte in echo]
    with (
        Upstream.answering(*chunks, set_cookie=f"k={KEY}") as upstream,
        recording_proxy(tmp_path, upstream.url, folder) as proxy,
    ):
        response = httpx.post(f"{proxy.url}{PATH}?key={KEY}", json={**REQUEST, "user": KEY}, headers={"x-api-key": KEY})
        assert response.content == echo
        proxy.flow()
    text = only_file(folder).read_text()
    recording = only_recording(folder)
    assert KEY not in text
    assert KEY.encode() not in b"".join(data_of(recording))
    assert len(recording.chunks) == len(chunks)
    assert text.count("<redacted:openrouter-key:1>") >= 3


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_compressed_recording_keeps_its_coding_and_its_chunks_but_no_secret(tmp_path: Path, coding: str) -> None:
    folder, encoder = tmp_path / "recordings", Encoder(coding)
    frames = [chat("Hello"), chat(f"The key: {KEY}", "stop")]
    coded = [encoder.feed(frame) for frame in frames]
    coded[-1] += encoder.finish()
    with (
        Upstream.answering(*coded, content_encoding=coding) as upstream,
        recording_proxy(tmp_path, upstream.url, folder) as proxy,
    ):
        assert ask(proxy).content == b"".join(frames)
        proxy.flow()
    recording, decoder = only_recording(folder), Decoder(coding)
    assert dict(recording.response.headers)["content-encoding"] == coding
    decoded = [decoder.feed(chunk) for chunk in data_of(recording)]
    assert decoded[0] == frames[0]
    assert KEY.encode() not in b"".join(decoded)
    assert b"<redacted:openrouter-key:1>" in decoded[1]


@pytest.mark.parametrize("status", [200, 429, 500])
def test_answers_that_are_no_stream_are_recorded_too(tmp_path: Path, status: int) -> None:
    folder = tmp_path / "recordings"

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers(status, "application/json")
        connection.send_chunk(b"   ")
        connection.send_chunk(b'{"a":1}')
        connection.end()

    with Upstream.running(script) as upstream, recording_proxy(tmp_path, upstream.url, folder) as proxy:
        assert ask(proxy).json() == {"a": 1}
        proxy.flow()
    recording = only_recording(folder)
    assert (recording.response.status, data_of(recording)) == (status, [b"   ", b'{"a":1}'])
    assert only_file(folder).name.endswith(f"-http_{status}.sse.jsonl")


def test_other_paths_are_not_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    with Upstream.answering(*ANSWER) as upstream, recording_proxy(tmp_path, upstream.url, folder) as proxy:
        httpx.post(f"{proxy.url}/mcp", json={})
        proxy.flow()
    assert list(folder.iterdir()) == []


def test_a_cut_is_recorded_as_one_and_played_back_as_one(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        connection.send_chunk(chat("Hello"))
        assert released.wait(PATIENCE)
        connection.reset()

    released = threading.Event()
    with Upstream.running(script) as upstream, recording_proxy(tmp_path, upstream.url, folder) as proxy:
        with httpx.stream("POST", proxy.url + PATH, json=REQUEST) as response:
            pieces = response.iter_raw()
            assert next(pieces) == chat("Hello")
            released.set()
            rest = b"".join(pieces)
        live = proxy.flow()["facts"]
        assert b"lost in the middle" in rest
    recording = only_recording(folder)
    assert recording.end is Ending.CUT
    with (
        run_in_thread(Player([recording], speed=0)) as player,
        Proxy.running(tmp_path / "conf", mode=f"reverse:{player.base_url}") as proxy,
    ):
        assert ask(proxy).content.startswith(chat("Hello"))
        replayed = proxy.flow()["facts"]
    names = ("verdict", "status", "frames", "heartbeats", "bytes")
    assert [replayed[name] for name in names] == [live[name] for name in names]


def test_a_killed_proxy_leaves_a_recording_that_plays(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        connection.send_chunk(HEARTBEAT)
        connection.send_chunk(chat("Hello"))
        connection.wait_until_left()

    with (
        Upstream.running(script) as upstream,
        recording_proxy(tmp_path, upstream.url, folder) as proxy,
        httpx.stream("POST", proxy.url + PATH, json=REQUEST) as response,
    ):
        chunks = response.iter_raw()  # kept, as the stream is closed with it
        assert next(chunks) == HEARTBEAT + chat("Hello")
        # The recorder writes behind the relay.
        until(lambda: [path for path in folder.iterdir() if path.read_text().count("\n") == 3])
        proxy.process.kill()
    recording = load(only_file(folder))
    assert (data_of(recording), recording.end) == ([HEARTBEAT, chat("Hello")], Ending.CUT)
    assert recording.warnings


def test_a_stopped_proxy_loses_nothing_that_it_has_received(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        connection.send_chunk(chat("Hello"))
        connection.wait_until_left()

    with (
        Upstream.running(script) as upstream,
        recording_proxy(tmp_path, upstream.url, folder) as proxy,
        httpx.stream("POST", proxy.url + PATH, json=REQUEST) as response,
    ):
        chunks = response.iter_raw()  # kept, as the stream is closed with it
        assert next(chunks) == chat("Hello")
        assert proxy.stop() == 0
    recording = only_recording(folder)
    assert (data_of(recording), recording.warnings) == ([chat("Hello")], ())


def test_a_disk_that_refuses_is_told_once_and_traffic_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    with Upstream.answering(*ANSWER) as upstream, recording_proxy(tmp_path, upstream.url, folder) as proxy:
        folder.rmdir()
        folder.write_text("not a folder")
        for _ in range(3):
            assert ask(proxy).content == b"".join(ANSWER)
            proxy.flow()
        proxy.wait_for("Nothing more is recorded")
        assert proxy.output.count("Nothing more is recorded") == 1
        proxy.assert_unharmed()


def test_replay_answers_any_host_through_the_guard_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    with Upstream.answering(HEARTBEAT) as upstream, recording_proxy(tmp_path, upstream.url, folder) as proxy:
        ask(proxy)
        proxy.flow()
    with (
        Upstream.answering(b"data: other\n\n") as upstream,
        Proxy.running(tmp_path / "conf", mode=f"reverse:{upstream.url}", options={"sse_replay": str(folder)}) as proxy,
    ):
        response = ask(proxy)
        flow = proxy.flow()
        assert response.json()["error"]["metadata"]["reason"] == "heartbeats_only"
        assert flow["facts"]["verdict"] == "heartbeats_only"
        assert upstream.connections == 0
        assert httpx.post(f"{proxy.url}/mcp").content == b"data: other\n\n"
        assert ask(proxy, model="another").status_code == 502
        proxy.assert_unharmed()


def test_replay_of_what_is_not_there_is_a_404_that_names_the_nearest(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    with Upstream.answering(*ANSWER) as upstream, recording_proxy(tmp_path, upstream.url, folder) as proxy:
        ask(proxy)
        proxy.flow()
    options = {"sse_replay": str(folder), "sse_replay_match": "exact", "sse_replay_speed": "0"}
    with Proxy.running(tmp_path / "conf", mode="reverse:http://127.0.0.1:9", options=options) as proxy:
        response = ask(proxy, messages=[{"role": "user", "content": "Something else"}])
        assert response.status_code == 404
        assert only_file(folder).name in response.json()["error"]["message"]


def test_damaged_recordings_stop_the_start_with_file_and_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.sse.jsonl"
    broken.write_text('{"sseguard": 1}\n[0, "chunk", 5]\n[1, "end", "eof"]\n')
    with Proxy.started(tmp_path / "conf", options={"sse_replay": str(broken)}) as proxy:
        proxy.wait_for(r"broken\.sse\.jsonl:1")
        assert proxy.process.wait(30) == 1
        assert "Traceback" not in proxy.output


def test_a_live_heartbeats_only_stream_and_its_replay_end_alike_for_an_sdk_with_retries(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"

    def outcome(url: str) -> tuple[int, str]:
        with openai.OpenAI(base_url=f"{url}/api/v1", api_key="any", max_retries=1) as client:
            with pytest.raises(openai.InternalServerError) as raised:
                client.chat.completions.create(model="vendor/model", messages=[], stream=True)
            return raised.value.status_code, raised.value.response.headers["x-sseguard"]

    with Upstream.answering(HEARTBEAT, HEARTBEAT) as upstream, recording_proxy(tmp_path, upstream.url, folder) as proxy:
        live = outcome(proxy.url)
        proxy.flow()
        proxy.flow()
    with Proxy.running(
        tmp_path / "conf", mode="reverse:http://127.0.0.1:9", options={"sse_replay": str(folder)}
    ) as proxy:
        assert outcome(proxy.url) == live == (502, "heartbeats_only")


def test_text_can_be_left_out_and_the_verdict_stays(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    with (
        Upstream.answering(*ANSWER) as upstream,
        recording_proxy(tmp_path, upstream.url, folder, sse_record_text="false") as proxy,
    ):
        assert ask(proxy).content == b"".join(ANSWER)
        proxy.flow()
    text, recording = only_file(folder).read_text(), only_recording(folder)
    assert "Hello" not in text
    assert json.dumps("Hi") not in text
    assert [len(data) for data in data_of(recording)] == [len(data) for data in ANSWER]
    assert assess(recording).verdict == "answered"

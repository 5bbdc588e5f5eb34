"""Recording and replay inside a mitmdump whose options change while it runs. One proxy for all of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness import Connection, Proxy, Upstream
from harness.proxy import PATIENCE
from harness.raw import RawClient
from harness.stage import TUNER
from harness.streams import ANSWER, DONE, HEARTBEAT, chat
from harness.waiting import recorded
from sseguard.recordings import recording as recordings
from sseguard.recordings.fixture import load
from sseguard.recordings.recording import Chunk, Ending, RecordedRequest, RecordedResponse, Recording

PATH = "/v1/chat/completions"
REQUEST = {"model": "vendor/model", "stream": True, "messages": []}
NEIGHBOUR = Path(__file__).parent / "harness" / "neighbour.py"
ERROR = b'data: {"error": {"code": 429, "message": "slow down"}}\n\n'


class Gate:
    """Where a script of the upstream waits until a test lets it go on."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def open(self) -> None:
        self._event.set()

    def wait(self) -> None:
        assert self._event.wait(PATIENCE)


@dataclass
class Scene:
    proxy: Proxy
    upstream: Upstream
    folder: Path

    def set(self, **options: Any) -> None:
        assert httpx.put(f"{self.proxy.url}/__options__", json=options).status_code == 204

    def ask(self, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(self.proxy.url + PATH, json=REQUEST, headers=named, timeout=PATIENCE)

    @contextmanager
    def streaming(self) -> Iterator[Iterator[bytes]]:
        with httpx.stream("POST", self.proxy.url + PATH, json=REQUEST, timeout=PATIENCE) as response:
            yield response.iter_raw()

    def settle(self) -> dict[str, Any]:
        """Wait until all is over, and everything that was recorded is on the disk."""
        insides = httpx.get(f"{self.proxy.url}/__probe__?settled", timeout=PATIENCE).json()
        assert insides["streams"] == 1
        return dict(insides)

    def recorded(self) -> Path:
        """The only file there is, now that it has its name."""
        [path] = recorded(self.folder)
        return path


def data_of(path: Path) -> list[bytes]:
    return [chunk.data for chunk in load(path).chunks]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, Upstream]]:
    with (
        Upstream.running(lambda connection: connection.wait_until_left()) as upstream,
        Proxy.running(
            tmp_path_factory.mktemp("conf"),
            mode=f"reverse:{upstream.url}",
            scripts=(NEIGHBOUR, TUNER),
        ) as proxy,
    ):
        yield proxy, upstream


@pytest.fixture
def scene(running: tuple[Proxy, Upstream], tmp_path: Path) -> Iterator[Scene]:
    proxy, upstream = running
    scene = Scene(proxy, upstream, tmp_path / "recordings")
    scene.set(sse_record=str(scene.folder))
    yield scene
    scene.settle()
    scene.set(sse_record="", sse_replay="", sse_strip_comments=False, sse_answer_timeout="0")
    while not proxy._flows.empty():
        proxy.flow()
    proxy.assert_unharmed()


def answering(*chunks: bytes, **headers: str) -> Any:
    def script(connection: Connection) -> None:
        while True:
            connection.read_request()
            connection.answer(*chunks, **headers)

    return script


def test_comments_that_are_stripped_for_the_client_are_recorded(scene: Scene) -> None:
    scene.set(sse_strip_comments=True)
    scene.upstream.script = answering(*ANSWER)
    assert HEARTBEAT not in scene.ask().content
    assert data_of(scene.recorded()) == list(ANSWER)


def test_what_another_addon_makes_of_a_stream_is_not_what_is_recorded(scene: Scene) -> None:
    scene.upstream.script = answering(*ANSWER)
    assert b"HELLO THERE" in scene.ask(x_do="transform").content
    assert data_of(scene.recorded()) == list(ANSWER)


def test_a_stream_that_the_guard_refuses_is_recorded_up_to_there(scene: Scene) -> None:
    left = threading.Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        connection.send_chunk(HEARTBEAT)
        connection.send_chunk(ERROR)
        connection.wait_until_left()
        left.set()

    scene.upstream.script = script
    assert scene.ask().status_code == 429
    assert left.wait(PATIENCE)
    path = scene.recorded()
    assert path.name.endswith("-provider_error.sse.jsonl")
    assert (data_of(path), load(path).end) == ([HEARTBEAT, ERROR], Ending.CLIENT_LEFT)


def test_a_client_that_leaves_is_recorded_as_that(scene: Scene) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        connection.send_chunk(chat("Hello"))
        connection.wait_until_left()

    scene.upstream.script = script
    with scene.streaming() as pieces:
        assert next(pieces) == chat("Hello")
    path = scene.recorded()
    assert path.name.endswith("-client_left.sse.jsonl")
    assert (data_of(path), load(path).end) == ([chat("Hello")], Ending.CLIENT_LEFT)


def test_a_flow_that_is_killed_ends_its_recording(scene: Scene) -> None:
    scene.upstream.script = answering(*ANSWER)
    with pytest.raises(httpx.RemoteProtocolError):
        scene.ask(x_do="kill later")
    path = scene.recorded()
    assert path.name.endswith("-killed.sse.jsonl")
    assert load(path).end is Ending.CLIENT_LEFT
    assert load(path).warnings == ()


def test_an_empty_answer_is_recorded(scene: Scene) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 0\r\n\r\n")

    scene.upstream.script = script
    assert scene.ask().status_code == 502
    path = scene.recorded()
    assert path.name.endswith("-empty.sse.jsonl")
    assert (data_of(path), load(path).end) == ([], Ending.EOF)


def test_the_folder_changes_while_a_stream_is_open_which_ends_where_it_began(scene: Scene, tmp_path: Path) -> None:
    gate, others = Gate(), tmp_path / "others"

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        connection.send_chunk(chat("Hello"))
        gate.wait()
        connection.send_chunk(chat("", "stop"))
        connection.send_chunk(DONE)
        connection.end()

    scene.upstream.script = script
    with scene.streaming() as pieces:
        assert next(pieces) == chat("Hello")
        scene.set(sse_record=str(others))
        scene.upstream.script = answering(*ANSWER)
        scene.ask()
        gate.open()
        assert b"".join(pieces) == chat("", "stop") + DONE
    assert data_of(scene.recorded()) == [chat("Hello"), chat("", "stop"), DONE]
    assert load(scene.recorded()).end is Ending.EOF
    assert [data_of(path) for path in recorded(others)] == [list(ANSWER)]


def test_recording_is_turned_on_while_a_stream_is_open_and_begins_with_the_next(scene: Scene) -> None:
    gate = Gate()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        connection.send_chunk(chat("Hello"))
        gate.wait()
        connection.send_chunk(DONE)
        connection.end()

    scene.set(sse_record="")
    scene.upstream.script = script
    with scene.streaming() as pieces:
        assert next(pieces) == chat("Hello")
        scene.set(sse_record=str(scene.folder))
        gate.open()
        assert b"".join(pieces) == DONE
    scene.upstream.script = answering(*ANSWER)
    scene.ask()
    assert data_of(scene.recorded()) == list(ANSWER)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A recording that says something else."""
    request = RecordedRequest("POST", PATH, (), None)
    answered = RecordedResponse(200, (("content-type", "text/event-stream"),))
    chunks = tuple(Chunk(0.0, data) for data in (chat("Recorded"), chat("", "stop")))
    path = tmp_path / "other.sse.jsonl"
    path.write_text(recordings.dumps(Recording(request, answered, chunks, Ending.EOF, 0.0, "")))
    return path


def test_replay_is_turned_on_and_off_on_one_connection(scene: Scene, other: Path) -> None:
    scene.upstream.script = answering(*ANSWER)
    with httpx.Client(base_url=scene.proxy.url, timeout=PATIENCE) as client:
        bodies = []
        for replay in ("", str(other), ""):
            scene.set(sse_replay=replay)
            bodies.append(client.post(PATH, json=REQUEST).content)
    live = b"".join(ANSWER)
    assert bodies == [live, chat("Recorded") + chat("", "stop"), live]


def test_replay_is_turned_off_while_a_replayed_stream_is_open_which_is_then_cut(scene: Scene, tmp_path: Path) -> None:
    request = RecordedRequest("POST", PATH, (), None)
    answered = RecordedResponse(200, (("content-type", "text/event-stream"),))
    endless = Recording(request, answered, (Chunk(0.0, chat("Hello")),), Ending.EOF, 3600.0, "")
    path = tmp_path / "endless.sse.jsonl"
    path.write_text(recordings.dumps(endless))
    scene.set(sse_replay=str(path))
    with scene.streaming() as pieces:
        assert next(pieces) == chat("Hello")
        scene.set(sse_replay="")
        assert b"lost in the middle" in b"".join(pieces)
    assert load(scene.recorded()).end is Ending.CUT


def test_a_replayed_stream_is_recorded_and_shown_as_going_where_it_was(scene: Scene, other: Path) -> None:
    scene.set(sse_replay=str(other))
    before = scene.upstream.connections
    assert scene.ask().status_code == 200
    assert scene.upstream.connections == before
    assert load(scene.recorded()).request.url == scene.upstream.url + PATH


def test_the_time_for_an_answer_ends_with_an_answer_that_is_no_stream(scene: Scene) -> None:
    scene.set(sse_answer_timeout="0.3")

    def script(connection: Connection) -> None:
        while connection.read_request():
            connection.send_headers(200, "application/json")
            connection.send_chunk(b"{}")
            connection.end()

    def silent(connection: Connection) -> None:
        connection.read_request()
        connection.send_headers()
        connection.wait_until_left()

    with RawClient.connected(scene.proxy.port) as client:
        scene.upstream.script = script
        assert client.ask(PATH, REQUEST).status == 200
        # Another request that began later has waited for its time: the time of the first is over too.
        scene.upstream.script = silent
        assert scene.ask().status_code == 504
        scene.upstream.script = script
        assert client.ask(PATH, REQUEST).status == 200


def test_recordings_leave_no_flow_behind(scene: Scene) -> None:
    scene.upstream.script = answering(*ANSWER)
    with httpx.Client(base_url=scene.proxy.url, timeout=PATIENCE) as client:
        client.post(PATH, json=REQUEST)
        before = scene.settle()
        for _ in range(29):
            client.post(PATH, json=REQUEST)
        after = scene.settle()
    recorded(scene.folder, 30)
    assert (after["streams"], after["tasks"]) == (before["streams"], before["tasks"])

"""What is written when: on a transport that takes notes, in a loop whose clock jumps from timer to timer."""

from __future__ import annotations

import asyncio
import selectors
import socket
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from sseguard.recordings.fixture import Chunk, Ending, RecordedRequest, RecordedResponse, Recording
from sseguard.recordings.playback import LINGER_SECONDS, RESET_PAUSE, Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Script = Mapping[float, Callable[[Connection, "Wire"], object]]

REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
CLOSING = REQUEST.replace(b"Host: x", b"Host: x\r\nConnection: close")
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def recording(times: list[float], ended: float, end: Ending = Ending.EOF) -> Recording:
    """Chunks `a`, `b`, `c` and so on at these times."""
    chunks = tuple(Chunk(at, bytes([97 + place % 26])) for place, at in enumerate(times))
    request = RecordedRequest("POST", "/v1/chat/completions", (), None)
    return Recording(request, RecordedResponse(200, ()), chunks, end, ended, "")


class Selector(selectors.SelectSelector):
    """Lets the clock of its loop run on instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is left that could ever happen"
        self.now += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.selector = Selector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


class Wire(asyncio.Transport):
    """Takes notes of what is done to it, and when."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"socket": sock})
        self.loop = asyncio.get_running_loop()
        self.log: list[tuple[float, object]] = []
        self.closing = False
        self.reading = True
        self.buffered = 0
        self.high_water: int | None = None

    def note(self, what: object) -> None:
        self.log.append((self.loop.time(), what))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.note(bytes(data))

    def abort(self) -> None:
        self.closing = True
        self.note("abort")

    def write_eof(self) -> None:
        self.note("eof")

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high_water = high

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def play(played: Recording, script: Script | None = None, *, speed: float = 1.0, request: bytes = REQUEST) -> list[Any]:
    """What is noted for one request, up to 1000 seconds; `script` says what else happens when."""

    async def main(sock: socket.socket) -> list[Any]:
        wire = Wire(sock)
        connection = Connection(lambda _: played, speed, lambda _: None, lambda _: None)
        for at, act in (script or {}).items():
            wire.loop.call_at(at, act, connection, wire)
        over = wire.loop.create_future()
        wire.loop.call_at(1000.0, over.set_result, None)
        connection.connection_made(wire)
        connection.data_received(request)
        await over
        connection.connection_lost(None)
        return wire.log

    with socket.socket() as sock, asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main(sock))


def chunk(letter: bytes) -> bytes:
    return b"1\r\n" + letter + b"\r\n"


class TestTime:
    def test_each_chunk_is_one_write_at_its_recorded_time(self) -> None:
        assert play(recording([0.0, 0.25, 0.25, 1.0], 2.0)) == [
            (0.0, HEAD),
            (0.0, chunk(b"a")),
            (0.25, chunk(b"b")),
            (0.25, chunk(b"c")),
            (1.0, chunk(b"d")),
            (2.0, LAST),
        ]

    @pytest.mark.parametrize(("speed", "times"), [(2.0, [0.5, 1.0]), (0.5, [2.0, 4.0]), (0.0, [0.0, 0.0])])
    def test_speed_scales_all_times(self, speed: float, times: list[float]) -> None:
        assert play(recording([1.0], 2.0), speed=speed) == [
            (0.0, HEAD),
            (times[0], chunk(b"a")),
            (times[1], LAST),
        ]

    def test_lateness_is_made_up_for_and_never_adds_up(self) -> None:
        script = {0.125: lambda it, _: it.pause_writing(), 1.0: lambda it, _: it.resume_writing()}
        assert play(recording([0.25, 0.5, 0.75, 1.5], 2.0), script) == [
            (0.0, HEAD),
            (1.0, chunk(b"a")),
            (1.0, chunk(b"b")),
            (1.0, chunk(b"c")),
            (1.5, chunk(b"d")),
            (2.0, LAST),
        ]

    def test_a_client_that_stops_and_goes_on_between_chunks_changes_nothing(self) -> None:
        script = {0.125: lambda it, _: it.pause_writing(), 0.25: lambda it, _: it.resume_writing()}
        played = recording([0.5, 1.0], 2.0)
        assert play(played, script) == play(played)

    def test_an_empty_chunk_is_no_write(self) -> None:
        played = recording([0.5], 2.0)
        played = replace(played, chunks=(Chunk(0.25, b""), *played.chunks))
        assert play(played) == [(0.0, HEAD), (0.5, chunk(b"a")), (2.0, LAST)]

    def test_it_hears_of_a_client_that_does_not_read_at_the_first_byte(self) -> None:
        marks: list[int | None] = []
        play(recording([], 0.0), {0.5: lambda _, wire: marks.append(wire.high_water)})
        assert marks == [1]

    def test_nothing_is_written_to_a_client_that_is_gone(self) -> None:
        def leave(_: Connection, wire: Wire) -> None:
            wire.closing = True

        assert play(recording([0.5, 1.0], 2.0), {0.75: leave}) == [(0.0, HEAD), (0.5, chunk(b"a"))]

    def test_a_half_close_is_a_client_that_left(self) -> None:
        script = {0.75: lambda it, _: it.eof_received()}
        assert play(recording([0.5, 1.0], 2.0), script) == [(0.0, HEAD), (0.5, chunk(b"a")), (0.75, "abort")]

    def test_without_pacing_clients_take_turns(self) -> None:
        async def main(sock: socket.socket) -> list[str]:
            wires = [Wire(sock), Wire(sock)]
            for wire in wires:
                wire.log = wires[0].log
            for name, wire in zip("xy", wires, strict=True):
                played = replace(recording([], 0.0), chunks=(Chunk(0.0, name.encode()),) * 100)
                connection = Connection(lambda _, played=played: played, 0, lambda _: None, lambda _: None)  # type: ignore[misc]
                connection.connection_made(wire)
                connection.data_received(REQUEST)
            over = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(1, over.set_result, None)
            await over
            return [str(what)[7:8] for _, what in wires[0].log if str(what).startswith("b'1")]

        with socket.socket() as sock, asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            order = "".join(runner.run(main(sock)))
        assert sorted(order) == ["x"] * 100 + ["y"] * 100
        assert "x" * 33 not in order
        assert "y" * 33 not in order.rstrip("y")


class TestCut:
    def test_it_comes_at_its_recorded_time(self) -> None:
        *written, (at, what) = play(recording([0.5], 2.0, Ending.CUT))
        assert written == [(0.0, HEAD), (0.5, chunk(b"a"))]
        assert (at, what) == (pytest.approx(2.0), "abort")

    def test_it_stays_behind_the_last_byte_so_that_a_client_can_take_that_in(self) -> None:
        assert play(recording([0.5], 0.5, Ending.CUT))[2:] == [(pytest.approx(0.5 + RESET_PAUSE), "abort")]
        assert play(recording([0.5], 0.5, Ending.CUT), speed=0)[2:] == [(pytest.approx(RESET_PAUSE), "abort")]

    def test_it_waits_for_what_is_not_delivered(self) -> None:
        def hold(_: Connection, wire: Wire) -> None:
            wire.buffered = 1

        def deliver(_: Connection, wire: Wire) -> None:
            wire.buffered = 0

        [(at, what)] = play(recording([0.5], 1.0, Ending.CUT), {0.75: hold, 50.0: deliver})[2:]
        assert what == "abort"
        assert 50.0 + RESET_PAUSE <= at <= 50.0 + 2.1 * RESET_PAUSE

    def test_it_is_a_reset_not_a_close(self) -> None:
        linger: list[bytes] = []

        def look(_: Connection, wire: Wire) -> None:
            sock: socket.socket = wire.get_extra_info("socket")
            linger.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))

        play(recording([], 1.0, Ending.CUT), {0.5: look, 1.5: look})
        assert [struct.unpack("ii", option) for option in linger] == [(0, 0), (1, 0)]

    def test_a_client_that_leaves_first_is_not_reset(self) -> None:
        script = {0.999: lambda it, _: it.connection_lost(None)}
        assert play(recording([0.5], 1.0, Ending.CUT), script) == [(0.0, HEAD), (0.5, chunk(b"a"))]


class TestOtherEnds:
    def test_where_the_recorded_client_left_nothing_follows(self) -> None:
        assert play(recording([0.5], 1.0, Ending.CLIENT_LEFT)) == [(0.0, HEAD), (0.5, chunk(b"a"))]

    def test_it_is_over_when_this_client_leaves_too(self) -> None:
        script = {7.0: lambda it, _: it.eof_received()}
        assert play(recording([], 1.0, Ending.CLIENT_LEFT), script) == [(0.0, HEAD), (7.0, "abort")]

    def test_a_connection_that_is_to_close_is_half_closed_and_dropped_if_the_client_stays(self) -> None:
        log = play(recording([], 1.0), request=CLOSING)
        assert log[1:] == [(1.0, LAST), (1.0, "eof"), (1.0 + LINGER_SECONDS, "abort")]

    def test_a_client_that_goes_in_time_is_closed_in_an_orderly_way(self) -> None:
        kept: list[bool] = []
        log = play(
            recording([], 1.0),
            {1.5: lambda it, _: kept.append(it.eof_received()), 1.75: lambda it, _: it.connection_lost(None)},
            request=CLOSING,
        )
        assert log[1:] == [(1.0, LAST), (1.0, "eof")]
        assert kept == [False]


class TestReadingAhead:
    @pytest.mark.parametrize("request_", [REQUEST, CLOSING], ids=["kept alive", "to close"])
    def test_a_flood_of_further_requests_waits_in_the_network(self, request_: bytes) -> None:
        reading: list[bool] = []

        def look(_: Connection, wire: Wire) -> None:
            reading.append(wire.reading)

        flood = {
            0.25: lambda it, _: it.data_received(REQUEST * 800),
            0.375: look,
            0.5: lambda it, _: it.data_received(REQUEST * 800),
            0.75: look,
            1.25: look,
        }
        log = play(recording([], 1.0), flood, request=request_)
        assert reading == [True, False, True]
        assert log[1] == (1.0, LAST)

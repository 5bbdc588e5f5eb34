from __future__ import annotations

import asyncio
import collections
import contextlib
import gzip
import ipaddress
import itertools
import json
import logging
import socket
import ssl
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sseguard.recordings import playback, player
from sseguard.recordings.fixture import Chunk, Ending, Headers, RecordedRequest, RecordedResponse, Recording
from sseguard.recordings.matching import Match
from sseguard.recordings.player import MissError, Player, run_in_thread

if TYPE_CHECKING:
    pass

SSE: Headers = (("content-type", "text/event-stream"),)
FRAMES = (b": PROCESSING\n\n", b'data: {"a":', b' "\xc3\xbc"}\n\n', b"data: [DONE]\n\n")
REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
CLOSING = REQUEST.replace(b"Host: x", b"Host: x\r\nConnection: close")


def stream(
    *data: bytes, end: Ending = Ending.EOF, headers: Headers = SSE, status: int = 200, body: object = None
) -> Recording:
    """A recording with a chunk every quarter of a second."""
    chunks = tuple(Chunk(0.25 * turn, part) for turn, part in enumerate(data, 1))
    request = RecordedRequest("POST", "https://openrouter.ai/api/v1/chat/completions", (), body)
    return Recording(request, RecordedResponse(status, headers), chunks, end, 0.25 * len(data) + 0.25, "", "test")


def fast(*recordings: Recording, **options: Any) -> Player:
    return Player(recordings, speed=0, **options)


def connect(server: Player) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def rest(sock: socket.socket) -> bytes:
    """Everything up to an orderly close."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


def exchange(server: Player, request: bytes = CLOSING) -> bytes:
    with connect(server) as sock:
        sock.sendall(request)
        return rest(sock)


def until_reset(sock: socket.socket) -> bytes:
    """Everything up to a reset; an orderly close fails the test."""
    parts: list[bytes] = []
    with pytest.raises(ConnectionResetError):
        parts.extend(iter(lambda: sock.recv(65536), b""))
    return b"".join(parts)


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    data = b""
    while not data.endswith(mark):
        part = sock.recv(1)
        assert part, data
        data += part
    return data


def played(recording: Recording, request: bytes = CLOSING) -> tuple[bytes, bytes]:
    """Head and body of the response to one request."""
    with run_in_thread(fast(recording)) as server:
        head, _, body = exchange(server, request).partition(b"\r\n\r\n")
    return head, body


def error_in(response: bytes) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(response.partition(b"\r\n\r\n")[2])["error"]
    return error


class TestFraming:
    def test_each_chunk_is_one_http_chunk(self) -> None:
        head, body = played(stream(*FRAMES))
        assert head.split(b"\r\n") == [
            b"HTTP/1.1 200 OK",
            b"content-type: text/event-stream",
            b"Transfer-Encoding: chunked",
            b"Connection: close",
        ]
        assert body == b"".join(b"%x\r\n%b\r\n" % (len(frame), frame) for frame in FRAMES) + b"0\r\n\r\n"

    def test_an_empty_chunk_does_not_end_the_body(self) -> None:
        assert played(stream(b"a", b"", b"b"))[1] == b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"

    def test_headers_are_those_recorded_without_those_of_the_recorded_connection(self) -> None:
        headers = (
            ("X-Request-Id", "r\xfc\xff"),
            ("x-person", "\u2026\ud800"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
            ("x-odd", " padded\t"),
            ("Connection", "keep-alive"),
            ("Keep-Alive", "timeout=5"),
            ("Transfer-Encoding", "gzip, chunked"),
            ("Trailer", "x"),
        )
        head, _ = played(stream(b"a", headers=headers, status=503))
        assert head.split(b"\r\n") == [
            b"HTTP/1.1 503 Service Unavailable",
            b"X-Request-Id: r\xfc\xff",
            b"x-person: \xe2\x80\xa6?",
            b"set-cookie: a",
            b"set-cookie: b",
            b"x-odd: padded",
            b"Transfer-Encoding: chunked",
            b"Connection: close",
        ]

    def test_compressed_chunks_are_sent_as_they_were(self) -> None:
        data = gzip.compress(b"".join(FRAMES))
        with run_in_thread(fast(stream(data[:7], data[7:], headers=(*SSE, ("content-encoding", "gzip"))))) as server:
            response = httpx.post(f"{server.base_url}/v1/chat/completions", json={})
        assert response.content == b"".join(FRAMES)

    @pytest.mark.parametrize(
        ("length", "end", "kept"),
        [
            (("4",), Ending.EOF, True),
            (("4", "4"), Ending.EOF, True),
            ((" 4",), Ending.EOF, True),
            (("4", "5"), Ending.EOF, False),
            (("3",), Ending.EOF, False),
            (("5",), Ending.EOF, False),
            (("x",), Ending.EOF, False),
            (("-4",), Ending.EOF, False),
            (("\u0664",), Ending.EOF, False),
            (("9" * 5000,), Ending.CUT, False),
            (("5",), Ending.CUT, True),
            (("4",), Ending.CUT, True),
            (("3",), Ending.CUT, False),
            (("5",), Ending.CLIENT_LEFT, True),
        ],
    )
    def test_a_length_is_kept_where_it_is_true_or_shows_a_broken_stream_short(
        self, length: tuple[str, ...], end: Ending, kept: bool
    ) -> None:
        headers = tuple(("Content-Length", value) for value in length)
        with run_in_thread(fast(stream(b"abcd", headers=headers, end=end))) as server, connect(server) as sock:
            sock.sendall(REQUEST)
            head = read_until(sock, b"\r\n\r\n").lower()
            body = read_until(sock, b"abcd")
        assert (b"content-length: " in head, b"chunked" in head) == (kept, not kept)
        assert body == (b"abcd" if kept else b"4\r\nabcd")

    def test_a_status_alone_is_an_empty_body(self) -> None:
        assert played(replace(stream(status=429), ended=0.0)) == (
            b"\r\n".join(
                (
                    b"HTTP/1.1 429 Too Many Requests",
                    b"content-type: text/event-stream",
                    b"content-length: 0",
                    b"Connection: close",
                )
            ),
            b"",
        )

    @pytest.mark.parametrize(
        "recording", [stream(), replace(stream(headers=(("transfer-encoding", "chunked"),)), ended=0.0)]
    )
    def test_a_body_that_ended_empty_later_or_in_chunks_ends_so_again(self, recording: Recording) -> None:
        head, body = played(recording)
        assert b"content-length" not in head
        assert body == b"0\r\n\r\n"

    def test_http_1_0_reads_until_the_close(self) -> None:
        head, body = played(stream(*FRAMES), REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert b"chunked" not in head
        assert body == b"".join(FRAMES)

    @pytest.mark.parametrize("headers", [SSE, (("content-length", "77"),)])
    @pytest.mark.parametrize("end", Ending)
    def test_head_gets_the_headers_only(self, headers: Headers, end: Ending) -> None:
        recording = stream(*FRAMES, headers=headers, end=end)
        recording = replace(recording, request=replace(recording.request, method="GET"))
        head, body = played(recording, CLOSING.replace(b"POST", b"HEAD"))
        assert head.startswith(b"HTTP/1.1 200 ")
        assert (b"content-length: 77" in head) == (headers is not SSE)
        assert body == b""

    @pytest.mark.parametrize("status", [204, 304])
    def test_no_body_follows_a_status_that_has_none(self, status: int) -> None:
        head, body = played(stream(*FRAMES, status=status, headers=(("content-length", "9"),)))
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert body == b""

    @pytest.mark.parametrize(
        ("recording", "problem"),
        [(stream(status=101), "status_code should be in range"), (stream(headers=(("a", "b\vc"),)), "header value")],
    )
    def test_a_recording_that_http_cannot_carry_is_told_as_a_500(
        self, recording: Recording, problem: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with run_in_thread(fast(recording)) as server:
            response = exchange(server)
        assert response.startswith(b"HTTP/1.1 500 ")
        assert problem in error_in(response)["message"]
        assert [record.levelname for record in caplog.records] == ["ERROR"]


class TestRequests:
    def test_what_came_is_kept(self) -> None:
        request = b"POST /v1/chat/completions?a=b HTTP/1.1\r\nHost: x\r\nX-Y: \xfc\r\nConnection: close\r\n"
        with run_in_thread(fast(stream(*FRAMES))) as server:
            exchange(server, request + b'Content-Length: 13\r\n\r\n{"model":"m"}')
            [received] = server.requests
        assert (received.method, received.path) == ("POST", "/v1/chat/completions?a=b")
        assert ("X-Y", "ü") in received.headers
        assert received.body == b'{"model":"m"}'
        assert received.json == {"model": "m"}

    @pytest.mark.parametrize(
        ("body", "value"), [(b"", None), (b"1", 1), (b"{", "{"), (b"\xff", "\ufffd"), (b"[" * 9999, "[" * 9999)]
    )
    def test_a_body_is_read_as_json_where_it_is_json(self, body: bytes, value: object) -> None:
        assert player.Received("POST", "/", (), body).json == value

    def test_only_the_latest_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(player, "KEPT_REQUESTS", 3)
        monkeypatch.setattr(player, "KEPT_BYTES", 5)
        with run_in_thread(fast(stream())) as server:
            for size in (1, 1, 1, 1):
                exchange(server, CLOSING.replace(b"Length: 2", b"Length: %d" % size) + b" " * size)
            assert len(server.requests) == 3
            exchange(server, CLOSING.replace(b"Length: 2", b"Length: 4").replace(b"{}", b"4444"))
            assert [len(received.body) for received in server.requests] == [1, 4]
            exchange(server, CLOSING.replace(b"Length: 2", b"Length: 9").replace(b"{}", b"9" * 9))
            assert [len(received.body) for received in server.requests] == [9]

    def test_a_request_may_come_byte_by_byte(self) -> None:
        with run_in_thread(fast(stream(b"a"))) as server, connect(server) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in CLOSING:
                sock.send(bytes([byte]))
            assert rest(sock).endswith(b"\r\n\r\n1\r\na\r\n0\r\n\r\n")
            assert [received.body for received in server.requests] == [b"{}"]

    def test_connections_are_kept_alive(self) -> None:
        with run_in_thread(fast(stream(b"a"), stream(b"b"))) as server, connect(server) as sock:
            for letter in (b"a", b"b", b"b"):
                sock.sendall(REQUEST)
                assert read_until(sock, b"0\r\n\r\n").endswith(b"\r\n\r\n1\r\n" + letter + b"\r\n0\r\n\r\n")
            assert [received.body for received in server.requests] == [b"{}"] * 3

    def test_pipelined_requests_are_answered_in_order(self) -> None:
        recordings = [stream(b"turn %d" % turn) for turn in range(500)]
        with run_in_thread(fast(*recordings)) as server, connect(server) as sock:
            sock.sendall(REQUEST * 499 + CLOSING)
            *responses, nothing = rest(sock).split(b"\r\n0\r\n\r\n")
        assert nothing == b""
        assert [response.split(b"\r\n")[-1] for response in responses] == [b"turn %d" % turn for turn in range(500)]

    def test_a_client_that_waits_for_100_continue_gets_it(self) -> None:
        request = CLOSING.replace(b"\r\n\r\n{}", b"\r\nExpect: 100-continue\r\n\r\n")
        with run_in_thread(fast(stream(b"a"))) as server, connect(server) as sock:
            sock.sendall(request)
            assert read_until(sock, b"\r\n\r\n") == b"HTTP/1.1 100 \r\n\r\n"
            sock.sendall(b"{}")
            assert rest(sock).startswith(b"HTTP/1.1 200 ")

    @pytest.mark.parametrize(
        ("garbage", "status"),
        [
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
            (b"hello\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
            (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * (playback.MAX_HEAD + 9), 431),
        ],
    )
    def test_garbage_is_refused_with_json_and_the_next_client_is_served(self, garbage: bytes, status: int) -> None:
        with run_in_thread(fast(stream(*FRAMES))) as server:
            response = exchange(server, garbage)
            assert response.startswith(b"HTTP/1.1 %d " % status)
            assert error_in(response)["message"].startswith("Expected an HTTP/1.1 request, got something else: ")
            assert exchange(server).startswith(b"HTTP/1.1 200 ")

    def test_garbage_after_a_head_request_gets_its_body(self) -> None:
        with run_in_thread(fast()) as server:
            response = exchange(server, b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\ngarbage\r\n\r\n")
        assert error_in(response.partition(b"\r\n\r\n")[2])["code"] == 400

    def test_headers_of_60_kb_are_taken(self) -> None:
        long = CLOSING.replace(b"Host: x", b"Host: x\r\nCookie: " + b"y" * 60_000)
        assert played(stream(b"a"), long)[1] == b"1\r\na\r\n0\r\n\r\n"

    @pytest.mark.parametrize("form", ["declared", "chunked"])
    def test_a_body_that_is_too_large_gets_a_413_that_arrives(self, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(playback, "MAX_BODY", 1_000_000)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        if form == "declared":
            request = head + b"Content-Length: 8000000\r\n\r\n" + b"x" * 8_000_000
        else:
            request = (
                head + b"Transfer-Encoding: chunked\r\n\r\n" + b"1000\r\n%b\r\n" % (b"x" * 4096) * 2000 + b"0\r\n\r\n"
            )
        with run_in_thread(fast(stream(*FRAMES))) as server:
            response = exchange(server, request)
            assert server.requests == ()
        assert response.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in response
        assert error_in(response)["type"] == "request_too_large"

    def test_a_client_that_never_stops_sending_after_a_refusal_is_dropped(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(playback, "LINGER_BYTES", 1_000_000)
        monkeypatch.setattr(playback, "LINGER_SECONDS", 1e9)
        with run_in_thread(fast()) as server, connect(server) as sock:
            sock.sendall(b"garbage\r\n\r\n")
            with pytest.raises(OSError, match=r"reset|Broken pipe"):
                collections.deque(map(sock.send, itertools.repeat(b"x" * 65536, 1000)), maxlen=0)
            assert server.idle.wait(30)


class TestEnds:
    @pytest.mark.parametrize(
        "recording",
        [
            stream(*FRAMES, end=Ending.CUT),
            stream(*FRAMES, end=Ending.CUT, headers=(("content-length", "9999"),)),
            stream(end=Ending.CUT),
            stream(*[b"x" * 100_000] * 40, end=Ending.CUT),
            stream(*[b"data: x\n\n"] * 5000, end=Ending.CUT),
        ],
        ids=["chunked", "short of its length", "headers only", "large", "many"],
    )
    @pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
    def test_a_cut_is_a_reset_after_all_bytes(self, recording: Recording, version: bytes) -> None:
        with run_in_thread(fast(recording)) as server, connect(server) as sock:
            sock.sendall(REQUEST.replace(b"HTTP/1.1", version))
            head = read_until(sock, b"\r\n\r\n")
            body = until_reset(sock)
        if b"chunked" in head:
            expected = b"".join(b"%x\r\n%b\r\n" % (len(chunk.data), chunk.data) for chunk in recording.chunks)
        else:
            expected = b"".join(chunk.data for chunk in recording.chunks)
        assert body == expected

    def test_a_cut_takes_nothing_from_a_client_that_reads_ahead(self) -> None:
        async def client(port: int) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
            writer.write(REQUEST)
            data = await reader.readuntil(b"x\r\n")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
            return data

        with run_in_thread(fast(stream(b"x" * 500_000, end=Ending.CUT))) as server:
            assert asyncio.run(client(server.port)).endswith(b"x" * 500_000 + b"\r\n")

    def test_where_the_recorded_client_left_it_is_silent_until_this_one_leaves(self) -> None:
        with run_in_thread(fast(stream(*FRAMES, end=Ending.CLIENT_LEFT))) as server:
            with connect(server) as sock:
                sock.sendall(REQUEST)
                read_until(sock, b"[DONE]\n\n\r\n")
                sock.setblocking(False)
                with pytest.raises(BlockingIOError):
                    sock.recv(1)
                assert not server.idle.is_set()
            assert server.idle.wait(30)


class TestClients:
    def test_clients_may_leave_at_any_time(self) -> None:
        with run_in_thread(fast(stream(*FRAMES))) as server:
            with connect(server) as sock:
                sock.sendall(REQUEST)
                whole = read_until(sock, b"0\r\n\r\n")
            for size in range(0, len(whole), 7):
                with connect(server) as sock, sock.makefile("rb") as file:
                    sock.sendall(REQUEST)
                    assert file.read(size) == whole[:size]
            for size in range(0, len(REQUEST), 5):
                with connect(server) as sock:
                    sock.sendall(REQUEST[:size])
            assert exchange(server).endswith(b"0\r\n\r\n")
            assert server.idle.wait(30)

    def test_a_client_that_leaves_in_a_long_pause_is_noticed_at_once(self) -> None:
        recording = replace(stream(b"a"), chunks=(Chunk(0.0, b"a"), Chunk(1e9, b"b")), ended=1e9)
        with run_in_thread(Player([recording])) as server:
            with connect(server) as sock:
                sock.sendall(REQUEST)
                read_until(sock, b"1\r\na\r\n")
            assert server.idle.wait(30)

    def test_a_client_that_does_not_read_holds_up_nobody_else(self) -> None:
        with run_in_thread(fast(stream(*[b"x" * 65536] * 400))) as server, connect(server) as slow:
            slow.sendall(CLOSING)
            first = exchange(server)
            assert len(first) > 400 * 65536
            assert rest(slow) == first

    def test_hundreds_are_served_at_once(self) -> None:
        async def client(port: int) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(CLOSING)
            data = await reader.read(-1)
            writer.close()
            await writer.wait_closed()
            return data

        async def clients(port: int) -> list[bytes]:
            return await asyncio.gather(*(client(port) for _ in range(400)))

        with run_in_thread(fast(stream(*FRAMES))) as server:
            expected = exchange(server)
            assert asyncio.run(clients(server.port)) == [expected] * 400

    def test_https_is_served_with_a_certificate(self, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
        serving, trusting = tls
        with run_in_thread(fast(stream(*FRAMES), ssl=serving)) as server:
            assert server.base_url == f"https://127.0.0.1:{server.port}"
            response = httpx.post(f"{server.base_url}/v1/chat/completions", json={}, verify=trusting)
            assert response.content == b"".join(FRAMES)

    def test_a_tls_connection_that_is_to_close_does(self, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
        serving, trusting = tls
        with (
            run_in_thread(fast(stream(*FRAMES), ssl=serving)) as server,
            trusting.wrap_socket(connect(server), server_hostname="127.0.0.1") as sock,
        ):
            sock.sendall(CLOSING)
            assert rest(sock).endswith(b"0\r\n\r\n")

    def test_a_cut_over_tls_is_a_reset_after_all_bytes(self, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
        serving, trusting = tls
        recording = stream(*[b"x" * 100_000] * 20, end=Ending.CUT)
        with (
            run_in_thread(fast(recording, ssl=serving)) as server,
            trusting.wrap_socket(connect(server), server_hostname="127.0.0.1") as sock,
        ):
            sock.sendall(REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"))
            head = read_until(sock, b"\r\n\r\n")
            with sock.makefile("rb") as file:
                assert file.read(2_000_000) == b"x" * 2_000_000
            # Python 3.11's ssl module takes a reset for a close, so the last look is at the TCP connection itself.
            with socket.socket(fileno=sock.detach()) as plain:
                plain.settimeout(30)
                assert until_reset(plain) == b""
        assert head.startswith(b"HTTP/1.1 200 ")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate for 127.0.0.1, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    path = tmp_path_factory.mktemp("tls") / "cert.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(path)
    return serving, ssl.create_default_context(cafile=path)


class TestMatching:
    def test_a_miss_is_a_404_that_names_the_nearest(self, caplog: pytest.LogCaptureFixture) -> None:
        recording = stream(*FRAMES, body={"model": "a", "messages": []})
        with run_in_thread(fast(recording, match=Match.EXACT)) as server:
            response = httpx.post(f"{server.base_url}/v1/chat/completions?key=secret", json={"model": "b"})
            [miss] = server.misses
        assert response.status_code == 404
        message = (
            "Expected a request that a recording answers (match: exact), got POST /v1/chat/completions.\n"
            "  test\n"
            "    model: recorded 'a', got 'b'\n"
            "    messages: recorded [], got nothing"
        )
        assert response.json() == {"error": {"message": message, "type": "not_found_error", "param": None, "code": 404}}
        assert str(miss) == message
        assert [record.message for record in caplog.records if record.name.startswith("sseguard")] == [message]

    def test_equal_requests_walk_through_their_recordings(self) -> None:
        with run_in_thread(fast(stream(b"1"), stream(b"2", end=Ending.CUT), stream(b"3"))) as server:
            assert exchange(server).endswith(b"\r\n1\r\n0\r\n\r\n")
            with connect(server) as sock:
                sock.sendall(REQUEST)
                assert until_reset(sock).endswith(b"\r\n2\r\n")
            assert [exchange(server)[-8:-7] for _ in range(2)] == [b"3", b"3"]

    def test_a_strict_player_raises_its_misses_at_the_end(self) -> None:
        server = fast(stream(), strict=True)
        with pytest.raises(MissError, match=r"got POST /a.*\n.*\n.*\n.*got POST /b") as caught, run_in_thread(server):  # noqa: PT012
            for path in (b"/a", b"/v1/chat/completions", b"/b"):
                exchange(server, CLOSING.replace(b"/v1/chat/completions", path))
        assert caught.value.misses == server.misses
        assert len(server.misses) == 2

    def test_a_strict_player_hides_no_other_error(self) -> None:
        server = fast(strict=True)
        with pytest.raises(ZeroDivisionError), run_in_thread(server):  # noqa: PT012
            exchange(server)
            raise ZeroDivisionError

    @pytest.mark.parametrize("strict", [True, False])
    def test_without_misses_or_strictness_nothing_is_raised(self, strict: bool) -> None:
        with run_in_thread(fast(stream(), strict=strict)) as server:
            exchange(server)
            if not strict:
                exchange(server, CLOSING.replace(b"completions", b"x"))

    @pytest.mark.parametrize("path", [b"/", b"/v1/models", b"/models?a=b", b"/?x"])
    def test_the_recorded_models_are_listed(self, path: bytes) -> None:
        with run_in_thread(fast(stream(body={"model": "vendor/m"}), strict=True)) as server:
            response = exchange(server, b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
        listed = json.loads(response.partition(b"\r\n\r\n")[2])
        assert [model["id"] for model in listed["data"]] == ["vendor/m"]

    def test_a_recorded_list_of_models_goes_before_that(self) -> None:
        recording = stream(b"mine")
        recording = replace(recording, request=RecordedRequest("GET", "https://x/v1/models", (), None))
        assert played(recording, b"GET /v1/models HTTP/1.0\r\n\r\n")[1] == b"mine"


class TestTransform:
    def test_it_is_applied_to_each_recording_each_time(self) -> None:
        seen: list[Recording] = []

        def transform(recording: Recording) -> Recording:
            seen.append(recording)
            return replace(recording, chunks=(Chunk(0.0, b"%d" % len(seen)),))

        recording = stream(*FRAMES)
        with run_in_thread(fast(recording, transform=transform)) as server:
            assert [exchange(server)[-8:-7] for _ in range(2)] == [b"1", b"2"]
        assert seen == [recording, recording]

    def test_one_that_fails_is_told_as_a_500(self, caplog: pytest.LogCaptureFixture) -> None:
        def transform(_: Recording) -> Recording:
            raise ZeroDivisionError("oops")

        with run_in_thread(fast(stream(*FRAMES), transform=transform)) as server:
            assert error_in(exchange(server))["message"].endswith("got ZeroDivisionError('oops').")
            assert error_in(exchange(server))["code"] == 500
        assert caplog.records[0].exc_info is not None


class TestLife:
    def test_it_is_an_async_context_manager_that_may_be_waited_for(self) -> None:
        async def main() -> None:
            server = fast(stream(b"a"))
            async with server:
                waiting = asyncio.ensure_future(server.wait())
                async with httpx.AsyncClient() as client:
                    response = await client.post(f"{server.base_url}/v1/chat/completions")
                assert response.content == b"a"
                assert not waiting.done()
            await waiting
            await server.close()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(main())

    @pytest.mark.parametrize("failing", [False, True])
    def test_strictness_holds_there_too(self, failing: bool) -> None:
        async def main() -> None:
            async with fast(strict=True) as server, httpx.AsyncClient() as client:
                await client.get(f"{server.base_url}/x")
                if failing:
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError if failing else MissError):
            asyncio.run(main())

    def test_closing_drops_clients_in_the_middle_of_everything(self) -> None:
        recording = replace(stream(b"a"), chunks=(Chunk(0.0, b"a"), Chunk(1e9, b"b")), ended=1e9)
        with run_in_thread(Player([recording])) as server:
            reading, playing, silent = connect(server), connect(server), connect(server)
            reading.sendall(REQUEST[:20])
            playing.sendall(REQUEST)
            read_until(playing, b"1\r\na\r\n")
            port = server.port
        for sock in (reading, playing, silent):
            with sock:
                assert sock.recv(100) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        assert [thread for thread in threading.enumerate() if "sseguard" in thread.name] == []

    @pytest.mark.parametrize("steps", range(6))
    def test_a_client_that_connects_while_it_closes_is_dropped(self, steps: int) -> None:
        async def main() -> None:
            async with fast(stream(*FRAMES)) as server:
                sock = connect(server)
                for _ in range(steps):
                    await asyncio.sleep(0)
            with sock, contextlib.suppress(ConnectionResetError):
                assert await asyncio.to_thread(sock.recv, 1) == b""

        asyncio.run(main())

    def test_a_tls_handshake_that_outlasts_it_leads_nowhere(self, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
        serving, trusting = tls

        def shake_hands(sock: socket.socket) -> bytes:
            with (
                contextlib.suppress(ConnectionResetError),
                trusting.wrap_socket(sock, server_hostname="127.0.0.1") as it,
            ):
                return it.recv(1)
            return b""

        async def main() -> bytes:
            server = fast(stream(*FRAMES), ssl=serving)
            await server.start()
            sock = connect(server)
            for _ in range(5):
                await asyncio.sleep(0)
            closing = asyncio.ensure_future(server.close())
            for _ in range(5):
                await asyncio.sleep(0)
            said = await asyncio.to_thread(shake_hands, sock)
            await closing
            assert server.idle.is_set()
            return said

        assert asyncio.run(main()) == b""

    def test_a_port_that_is_taken_is_an_error_at_the_start(self) -> None:
        with run_in_thread(fast()) as server:
            with pytest.raises(OSError, match="address already in use"), run_in_thread(fast(port=server.port)):
                pass
            assert exchange(server).startswith(b"HTTP/1.1 404 ")
        assert [thread for thread in threading.enumerate() if "sseguard" in thread.name] == []

    @pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:8080"), ("::1", "http://[::1]:8080")])
    def test_the_base_url_takes_any_address(self, host: str, url: str) -> None:
        assert Player([], host=host, port=8080).base_url == url

    @pytest.mark.parametrize("speed", [-1.0, float("nan"), float("inf")])
    def test_a_speed_that_makes_no_sense_is_refused(self, speed: float) -> None:
        with pytest.raises(ValueError, match=r"Expected a speed of 0 \(no pacing\) or more, got "):
            Player([], speed=speed)

    def test_nothing_is_logged_but_what_matters(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        with run_in_thread(fast(stream(*FRAMES))) as server:
            exchange(server)
        ours = [record.getMessage() for record in caplog.records if record.name.startswith("sseguard")]
        assert ours == ["Playing test (any_body)."]

from __future__ import annotations

import contextlib
import json
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseguard.recordings.fixture import (
    MAX_DAMAGE,
    Chunk,
    Ending,
    FixtureError,
    RecordedRequest,
    RecordedResponse,
    Recording,
    chunk_line,
    dumps,
    end_line,
    header_line,
    load,
    load_all,
    loads,
)

if TYPE_CHECKING:
    from pathlib import Path

REQUEST = RecordedRequest(
    "POST",
    "https://openrouter.ai/api/v1/chat/completions",
    (("content-type", "application/json"),),
    {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "Grüße"}]},
)
RESPONSE = RecordedResponse(200, (("content-type", "text/event-stream"), ("set-cookie", "a"), ("set-cookie", "b")))
RECORDING = Recording(
    REQUEST,
    RESPONSE,
    (Chunk(0.412, b": OPENROUTER PROCESSING\n\n"), Chunk(0.53, b"\xff\xfe"), Chunk(0.53, b"")),
    Ending.EOF,
    5.201,
    "2026-11-22T09:00:00Z",
)
HEADER = header_line(REQUEST, RESPONSE, "2026-11-22T09:00:00Z")
END = '[9, "end", "eof"]\n'


def head(**changes: object) -> str:
    """A header line with some top-level keys changed."""
    return json.dumps(json.loads(HEADER) | changes) + "\n"


def damage_of(text: str | bytes) -> list[str]:
    with pytest.raises(FixtureError) as caught:
        loads(text, "f")
    return str(caught.value).split("\n")


seconds = st.floats(0, 1e6).map(lambda at: round(at, 6))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
header_values = st.text(st.characters(exclude_characters="\r\n\0\v\f", exclude_categories=["Cs"]), max_size=20)
headers = st.lists(st.tuples(st.from_regex(r"[A-Za-z-]+", fullmatch=True), header_values), max_size=4).map(tuple)


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    *times, ended = sorted(draw(st.lists(seconds, min_size=1, max_size=6)))
    data = st.binary(max_size=40) | st.text(max_size=20).map(str.encode)
    return Recording(
        RecordedRequest(
            draw(st.sampled_from(["POST", "GET"])), "https://x/v1/messages", draw(headers), draw(json_values)
        ),
        RecordedResponse(draw(st.integers(100, 599)), draw(headers)),
        tuple(Chunk(at, draw(data)) for at in times),
        draw(st.sampled_from(Ending)),
        ended,
        draw(st.text(max_size=20)),
    )


class TestWriting:
    def test_a_file_is_one_json_value_a_line_that_people_can_read(self) -> None:
        assert dumps(RECORDING) == (
            '{"sseguard": 1, "recorded": "2026-11-22T09:00:00Z", '
            '"request": {"method": "POST", "url": "https://openrouter.ai/api/v1/chat/completions", '
            '"headers": [["content-type", "application/json"]], '
            '"body": {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "Grüße"}]}}, '
            '"response": {"status": 200, "headers": [["content-type", "text/event-stream"], ["set-cookie", "a"], '
            '["set-cookie", "b"]]}}\n'
            '[0.412, "chunk", ": OPENROUTER PROCESSING\\n\\n"]\n'
            '[0.53, "chunk64", "//4="]\n'
            '[0.53, "chunk", ""]\n'
            '[5.201, "end", "eof"]\n'
        )

    @pytest.mark.parametrize(
        ("data", "line"),
        [
            ("ü".encode(), '[1.5, "chunk", "ü"]\n'),
            ("ü".encode()[:1], '[1.5, "chunk64", "ww=="]\n'),
            (b"\xed\xa0\x80", '[1.5, "chunk64", "7aCA"]\n'),
            (b"\0\r\n\x1b[2J", '[1.5, "chunk", "\\u0000\\r\\n\\u001b[2J"]\n'),
            ("\x7f\x85\u2028\u2029\u202e\u2066\ufeff".encode(), None),
        ],
    )
    def test_a_chunk_is_text_where_its_bytes_are_utf_8_on_their_own(self, data: bytes, line: str | None) -> None:
        expected = '[1.5, "chunk", "\\u007f\\u0085\\u2028\\u2029\\u202e\\u2066\\ufeff"]\n' if line is None else line
        assert chunk_line(1.5, data) == expected

    def test_times_are_kept_to_the_microsecond(self) -> None:
        assert chunk_line(0.1 + 0.2, b"") == '[0.3, "chunk", ""]\n'
        assert end_line(1.23456789, Ending.CUT) == '[1.234568, "end", "cut"]\n'

    @pytest.mark.parametrize("at", [-0.001, float("nan"), float("inf")])
    def test_a_time_that_cannot_be_read_back_is_refused(self, at: float) -> None:
        with pytest.raises(ValueError, match=f"got {at!r}"):
            end_line(at, Ending.EOF)

    def test_a_body_with_a_lone_surrogate_is_written_as_an_escape(self) -> None:
        line = header_line(replace(REQUEST, body="\ud800"), RESPONSE, "")
        assert '"body": "\\ud800"' in line
        assert loads(line.encode() + END.encode()).request.body == "\ud800"


class TestRoundTrip:
    @given(recordings())
    def test_what_was_written_reads_back_the_same(self, recording: Recording) -> None:
        text = dumps(recording)
        assert loads(text) == recording
        assert loads(text.encode()) == recording
        assert dumps(loads(text)) == text

    @given(recordings())
    def test_the_pieces_make_the_same_file_line_by_line(self, recording: Recording) -> None:
        lines = [header_line(recording.request, recording.response, recording.recorded)]
        lines += [chunk_line(chunk.at, chunk.data) for chunk in recording.chunks]
        lines.append(end_line(recording.ended, recording.end))
        assert "".join(lines) == dumps(recording)
        assert all(line.index("\n") == len(line) - 1 for line in lines)


class TestKilledRecorder:
    def test_a_file_without_an_end_is_a_cut_at_its_last_chunk_and_says_so(self) -> None:
        recording = loads(HEADER + '[0.5, "chunk", "a"]\n', "f")
        assert (recording.chunks, recording.end, recording.ended) == ((Chunk(0.5, b"a"),), Ending.CUT, 0.5)
        assert "".join(recording.warnings) == (
            "f: Expected an end line, but the recording has none. It plays as cut at 0.5 seconds; "
            'add [0.5, "end", "eof"] if the stream was complete.'
        )

    def test_half_a_line_at_the_end_is_left_out_and_shown(self) -> None:
        recording = loads(HEADER + '[0.5, "chunk", "a"]\n[0.7, "chu', "f")
        assert (recording.chunks, recording.end) == ((Chunk(0.5, b"a"),), Ending.CUT)
        assert """stops in the middle of a line (b'[0.7, "chu', which is left out)""" in recording.warnings[0]

    def test_a_file_with_its_end_has_no_warnings(self) -> None:
        assert loads(HEADER + END).warnings == ()

    def test_a_recorder_may_be_killed_at_any_byte_after_the_first_line(self) -> None:
        whole = dumps(replace(RECORDING, chunks=(*RECORDING.chunks, Chunk(1.0, "ü".encode())))).encode()
        everything = loads(whole)
        for cut in range(len(HEADER.encode()), len(whole) - 1):
            part = loads(whole[:cut])
            complete = whole[:cut].endswith(b"\n") or whole[cut : cut + 1] == b"\n"
            assert part.chunks == everything.chunks[: len(part.chunks)], cut
            assert ("in the middle of a line" in part.warnings[0]) == (not complete), cut
            assert part.end is Ending.CUT, cut

    def test_a_recorder_killed_in_the_first_line_leaves_nothing_to_play(self) -> None:
        assert damage_of(HEADER[:40])[0].startswith("f:1: Expected JSON, got ")


class TestHandEditing:
    @pytest.mark.parametrize(
        "text",
        [
            HEADER + '[1, "chunk", "a"]\n' + END.rstrip("\n"),
            HEADER + '\n \t\n[1, "chunk", "a"]\n\n' + END + "\n\n",
            (HEADER + '[1, "chunk", "a"]\n' + END).replace("\n", "\r\n"),
            "\ufeff" + HEADER + '[1, "chunk", "a"]\n' + END,
            HEADER + ' [ 1.0 ,\t"chunk","\\u0061" ] \n' + END,
        ],
        ids=["no final newline", "blank lines", "CRLF", "byte order mark", "spaces"],
    )
    def test_what_editors_do_is_tolerated(self, text: str) -> None:
        recording = loads(text)
        assert (recording.chunks, recording.end, recording.ended) == ((Chunk(1.0, b"a"),), Ending.EOF, 9.0)
        assert recording.warnings == ()

    def test_other_line_separators_inside_a_chunk_do_not_end_a_line(self) -> None:
        text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
        line = json.dumps([1, "chunk", text], ensure_ascii=False)
        assert loads(HEADER + line + "\n" + END).chunks == (Chunk(1.0, text.encode()),)

    def test_headers_body_and_time_of_recording_may_be_left_out(self) -> None:
        line = '{"sseguard": 1, "request": {"method": "POST", "url": "/v1/messages"}, "response": {"status": 200}}\n'
        recording = loads(line + END)
        assert recording.request == RecordedRequest("POST", "/v1/messages", (), None)
        assert (recording.response, recording.recorded) == (RecordedResponse(200, ()), "")


REQUEST_VALUE = json.loads(HEADER)["request"]


class TestDamage:
    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("{}", 'Expected a first line like {"sseguard": 1, …}, got {}.'),
            ("[1]", 'Expected a first line like {"sseguard": 1, …}, got [1].'),
            (head(sseguard=2), 'Expected "sseguard": 1 (a newer sseguard may read more), got 2.'),
            (head(sseguard=True), 'Expected "sseguard": 1 (a newer sseguard may read more), got True.'),
            (head(sseguard="1"), "Expected \"sseguard\": 1 (a newer sseguard may read more), got '1'."),
            (head(recorded=5), 'Expected a time as text in "recorded", got 5.'),
            (head(note="x"), "Expected only sseguard, recorded, request, response in the first line, got 'note'."),
            (head(request=None), 'Expected an object in "request", got None.'),
            (
                head(request=REQUEST_VALUE | {"boddy": 1}),
                "Expected only method, url, headers, body in \"request\", got 'boddy'.",
            ),
            (head(request={"url": "/"}), 'Expected an HTTP method in "method", got None.'),
            (head(request={"method": "P T", "url": "/"}), "Expected an HTTP method in \"method\", got 'P T'."),
            (head(request={"method": "GET"}), 'Expected a URL or a path in "url", got None.'),
            (head(request={"method": "GET", "url": ""}), "Expected a URL or a path in \"url\", got ''."),
            (
                head(request={"method": "GET", "url": "http://["}),
                "Expected a URL or a path in \"url\", got 'http://['.",
            ),
            (head(request={"method": "GET", "url": "/\r\nx"}), "Expected a URL or a path in \"url\", got '/\\r\\nx'."),
            (head(response=[]), 'Expected an object in "response", got [].'),
            (head(response={}), "Expected a status from 100 to 599, got None."),
            (head(response={"status": 99}), "Expected a status from 100 to 599, got 99."),
            (head(response={"status": 600}), "Expected a status from 100 to 599, got 600."),
            (head(response={"status": True}), "Expected a status from 100 to 599, got True."),
            (head(response={"status": "200"}), "Expected a status from 100 to 599, got '200'."),
            (
                head(response={"status": 200, "headers": {}}),
                'Expected a list like [["name", "value"]] in "headers", got {}.',
            ),
        ],
    )
    def test_a_first_line_that_is_wrong_is_named_with_what_was_expected(self, line: str, problem: str) -> None:
        assert damage_of(line.rstrip("\n") + "\n" + END) == [f"f:1: {problem}"]

    @pytest.mark.parametrize(
        "pair",
        [
            ["a", "b\r\nc"],
            ["a", "b\nc"],
            ["a", "b\0"],
            ["a", "b\x0b"],
            ["a b", "c"],
            ["", "c"],
            ["a:", "c"],
            ["a"],
            "ab",
            1,
        ],
    )
    @pytest.mark.parametrize("side", ["request", "response"])
    def test_headers_that_http_cannot_carry_are_damage(self, side: str, pair: object) -> None:
        value = json.loads(HEADER)[side] | {"headers": [["ok", "ok"], pair]}
        [problem] = damage_of(head(**{side: value}) + END)
        assert problem.startswith('f:1: Expected ["name", "value"] as HTTP can carry it')

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("oops", "Expected JSON, got b'oops\\n' (Expecting value at column 1)."),
            ('{"a": 1}', 'Expected [seconds from 0 up, "chunk" or "chunk64" or "end", "…"], got {\'a\': 1}.'),
            ('[1, "chunk"]', 'Expected [seconds from 0 up, "chunk" or "chunk64" or "end", "…"], got [1, \'chunk\'].'),
            ('[-1, "chunk", ""]', None),
            ('[NaN, "chunk", ""]', None),
            ('[Infinity, "chunk", ""]', None),
            ('[true, "chunk", ""]', None),
            ('["1", "chunk", ""]', None),
            (f'[1{"0" * 400}, "chunk", ""]', None),
            ('[1, "chunk", 5]', None),
            ('[1, "chunk", "", 5]', None),
            ('[1, "blob", ""]', 'Expected the kind "chunk", "chunk64" or "end", got \'blob\'.'),
            ('[1, "end", "done"]', "Expected an end out of eof, cut, client_left, got 'done'."),
            ('[1, "chunk64", "a"]', "Expected base64 in a chunk64, got 'a'."),
            ('[1, "chunk64", "YQ==!"]', "Expected base64 in a chunk64, got 'YQ==!'."),
            ('[1, "chunk64", "ü"]', "Expected base64 in a chunk64, got 'ü'."),
            ('[1, "chunk", "\\ud800"]', "Expected text in a chunk (bytes go in a chunk64), got '\\ud800'."),
        ],
    )
    def test_a_line_that_is_wrong_is_named_with_what_was_expected(self, line: str, problem: str | None) -> None:
        [told] = damage_of(HEADER + line + "\n" + END)
        form = 'Expected [seconds from 0 up, "chunk" or "chunk64" or "end", "…"], got ['
        assert told.startswith(f"f:2: {form}") if problem is None else told == f"f:2: {problem}"

    def test_bytes_that_are_not_utf_8_are_damage(self) -> None:
        [told] = damage_of(HEADER.encode() + b'[1, "chunk", "\xff"]\n' + END.encode())
        assert told.startswith('f:2: Expected JSON in UTF-8, got b\'[1, "chunk", "\\xff"]\\n\' (')

    def test_time_does_not_go_backwards(self) -> None:
        text = HEADER + '[2, "chunk", "a"]\n[1.5, "chunk", "b"]\n[1.9, "end", "eof"]\n'
        assert damage_of(text) == [
            "f:3: Expected a time that is not before the last one (2.0 seconds), got 1.5.",
            "f:4: Expected a time that is not before the last one (2.0 seconds), got 1.9.",
        ]

    def test_nothing_follows_the_end(self) -> None:
        assert damage_of(HEADER + END + '[10, "chunk", "a"]\n\n[11, "chu') == [
            'f:3: Expected nothing after the end line, got b\'[10, "chunk", "a"]\\n\'.',
            "f:5: Expected nothing after the end line, got b'[11, \"chu'.",
        ]

    def test_an_empty_file_is_damage(self) -> None:
        problem = 'f:1: Expected a first line like {"sseguard": 1, …}, got an empty file.'
        assert damage_of("") == [problem]
        assert damage_of("\n\n") == [problem]

    def test_all_damage_is_told_at_once_with_the_lines_it_is_in(self) -> None:
        lines = damage_of("no\n\n" + '[1, "chunk", "a"]\n' + "no\n" + '[1, "end", "?"]\n')
        assert [line.split(" ")[0] for line in lines] == ["f:1:", "f:4:", "f:5:"]

    def test_damage_without_end_is_not_told_without_end(self) -> None:
        lines = damage_of(HEADER + "no\n" * 10_000)
        assert len(lines) == MAX_DAMAGE + 1
        assert lines[-1] == "f: More lines are damaged; mend these first."

    @pytest.mark.parametrize("where", ["first line", "event"])
    def test_json_nested_too_deeply_is_damage_not_a_crash(self, where: str) -> None:
        deep = "[" * 200_000 + "]" * 200_000 + "\n"
        [told] = damage_of(deep if where == "first line" else HEADER + deep + END)
        assert told.endswith("Expected JSON, got a value that is nested too deeply to read.")

    @pytest.mark.parametrize("depth", [200, 500, 900, 3000, 5000])
    def test_json_nested_almost_too_deeply_is_damage_not_a_crash(self, depth: int) -> None:
        [told] = damage_of(HEADER + "[" * depth + "]" * depth + "\n" + END)
        assert told.startswith("f:2: Expected ")

    def test_what_is_shown_is_short_and_escaped(self) -> None:
        [told] = damage_of(HEADER + json.dumps([1, "\x1b[2J\u202e" + "x" * 100_000, ""]) + "\n" + END)
        assert len(told) < 200
        assert told.isprintable()

    @given(st.binary(max_size=60), st.booleans())
    def test_any_bytes_are_read_or_refused(self, data: bytes, after_header: bool) -> None:
        with contextlib.suppress(FixtureError):
            loads(HEADER.encode() * after_header + data)


class TestFiles:
    def test_a_recording_is_named_after_its_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.sse.jsonl"
        path.write_text(dumps(RECORDING), encoding="utf-8", newline="")
        assert load(path) == RECORDING
        assert load(path).name == str(path)

    def test_damage_names_file_and_line(self, tmp_path: Path) -> None:
        path = tmp_path / "bad\n.sse.jsonl"
        path.write_text(HEADER + "no\n", encoding="utf-8")
        with pytest.raises(FixtureError) as caught:
            load(path)
        assert str(caught.value).startswith(f"{str(path)!r}:2: Expected JSON")
        assert [(damage.name, damage.line) for damage in caught.value.damage] == [(repr(str(path)), 2)]

    def test_a_file_that_cannot_be_read_is_told_the_same_way(self, tmp_path: Path) -> None:
        path = tmp_path / "none.sse.jsonl"
        with pytest.raises(FixtureError, match="got: No such file or directory") as caught:
            load(path)
        assert str(caught.value).startswith(f"{path}: Expected a recording that can be read")

    def test_a_folder_is_read_in_the_order_of_its_paths_and_below(self, tmp_path: Path) -> None:
        for name in ("b.sse.jsonl", "a.sse.jsonl", "deep/c.sse.jsonl"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(dumps(RECORDING), encoding="utf-8")
        (tmp_path / "notes.txt").write_text("not a recording")
        names = [recording.name.removeprefix(f"{tmp_path}/") for recording in load_all(tmp_path)]
        assert names == ["a.sse.jsonl", "b.sse.jsonl", "deep/c.sse.jsonl"]

    def test_a_single_file_needs_no_particular_name(self, tmp_path: Path) -> None:
        (tmp_path / "x.json").write_text(dumps(RECORDING), encoding="utf-8")
        assert load_all(tmp_path / "x.json") == (RECORDING,)

    def test_the_damage_of_all_files_is_told_at_once(self, tmp_path: Path) -> None:
        (tmp_path / "a.sse.jsonl").write_text("no\n")
        (tmp_path / "b.sse.jsonl").write_text(dumps(RECORDING), encoding="utf-8")
        (tmp_path / "c.sse.jsonl").write_text(HEADER + "no\nno\n", encoding="utf-8")
        (tmp_path / "d.sse.jsonl").mkdir()
        with pytest.raises(FixtureError) as caught:
            load_all(tmp_path)
        places = [(damage.name.removeprefix(f"{tmp_path}/"), damage.line) for damage in caught.value.damage]
        assert places == [("a.sse.jsonl", 1), ("c.sse.jsonl", 2), ("c.sse.jsonl", 3), ("d.sse.jsonl", 0)]

    def test_a_folder_without_recordings_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(FixtureError, match=r"Expected \*\.sse\.jsonl files in this folder, got none"):
            load_all(tmp_path)

    def test_memory_stays_in_proportion_to_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "big.sse.jsonl"
        with path.open("w", encoding="utf-8") as file:
            file.write(HEADER)
            file.writelines(chunk_line(at, b"data: x\n\n" * 1000) for at in range(1000))
            file.write(end_line(1000, Ending.EOF))
        tracemalloc.start()
        recording = load(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sum(len(chunk.data) for chunk in recording.chunks) == 9_000_000
        assert peak < 1.5 * path.stat().st_size

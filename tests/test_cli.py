from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from harness.codings import encoded
from harness.proxy import PATIENCE
from harness.streams import DONE, HEARTBEAT, chat
from sseguard import commands
from sseguard.cli import main
from sseguard.mutations.mutate import MUTATIONS
from sseguard.recordings import fixture
from sseguard.recordings import recording as recordings
from sseguard.recordings.assessment import assess
from sseguard.recordings.recording import Chunk, Ending, Headers, RecordedRequest, RecordedResponse, Recording

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT / "examples" / "fixtures"
ANSWERED = FIXTURES / "chat-answered.sse.jsonl"
KEY = "sk-or-" + "v1-" + "0123456789abcdef" * 4
PATH = "/v1/chat/completions"


def write(path: Path, *data: bytes, url: str = PATH, headers: Headers = (), body: object = None, **more: Any) -> Path:
    request = RecordedRequest("POST", url, headers, body)
    answered = RecordedResponse(200, (("content-type", "text/event-stream"), *more.get("answered", ())))
    chunks = tuple(Chunk(0.0, part) for part in data)
    path.write_text(recordings.dumps(Recording(request, answered, chunks, Ending.EOF, 0.0, "")), encoding="utf-8")
    return path


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What is said on standard error to a wrong command line: one message, exit code 2."""
    try:
        code: object = main([str(argument) for argument in arguments])
    except SystemExit as e:
        code = e.code
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert "Traceback" not in said.err
    return said.err


@contextmanager
def running(*arguments: str | Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """`python -m sseguard`; stopped at the end, by its process id."""
    options.setdefault("env", {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"})
    process = subprocess.Popen(
        [sys.executable, "-m", "sseguard", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        **options,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def line(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """The first line of standard output that matches."""
    assert process.stdout is not None
    for text in process.stdout:
        if match := re.search(pattern, text):
            return match
    raise AssertionError(f"Expected a line with {pattern!r}, got none.")


# All commands


@pytest.mark.parametrize("command", [[], ["run"], ["replay"], ["mutate"], ["show"], ["check"]])
def test_each_command_explains_itself(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command, "--help"])
    said = capsys.readouterr()
    assert (left.value.code, said.err) == (0, "")
    assert said.out.startswith(f"usage: {' '.join(['sseguard', *command])}")


def test_help_names_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["mutate", "--help"])
    said = capsys.readouterr().out
    assert all(f"--{name}" in said for name in MUTATIONS)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert re.fullmatch(r"sseguard \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "COMMAND"),
        (["frobnicate"], "frobnicate"),
        (["show"], "FILE"),
        (["show", "nowhere.sse.jsonl"], "nowhere.sse.jsonl: Expected a recording that can be read"),
        (["show", str(ROOT)], "Is a directory"),
        (["show", "--width", "39", str(ANSWERED)], "Expected a width from 40 to 10000 columns, got '39'"),
        (["show", "--width", "-5", str(ANSWERED)], "Expected a width"),
        (["show", "--width", "wide", str(ANSWERED)], "Expected a width"),
        (["check", "nowhere"], "got 'nowhere', which is not there"),
        (["check", str(ROOT / "addon")], "Expected *.sse.jsonl files, got none"),
        (["mutate", "nowhere"], "nowhere: Expected a recording that can be read"),
        (["mutate", str(ANSWERED), "--no-such-fault"], "--no-such-fault"),
        (["mutate", str(ANSWERED), "--cut-after-bytes", "x"], "cut-after-bytes"),
        (["mutate", str(ANSWERED), "--cut-after-bytes"], "expected one argument"),
        (["mutate", str(ANSWERED), "--empty", "-o", "/nowhere/at/all"], "got '/nowhere/at/all': No such file"),
        (["mutate", str(ANSWERED), "--empty", "-o", str(ROOT), "--force"], "Is a directory"),
        (["mutate", str(ANSWERED), "--", "--set"], "Expected arguments behind -- only for `sseguard run`"),
        (["replay", "nowhere"], "nowhere: Expected a recording that can be read"),
        (["replay", str(ROOT / "addon")], "got none"),
        (["replay", str(ANSWERED), "--port", "65536"], "Expected a port from 0 to 65535, got '65536'"),
        (["replay", str(ANSWERED), "--port", "-1"], "Expected a port"),
        (["replay", str(ANSWERED), "--port", "\N{SUPERSCRIPT TWO}"], "Expected a port"),
        (["replay", str(ANSWERED), "--speed", "-1"], "Expected a speed of 0 or more"),
        (["replay", str(ANSWERED), "--speed", "inf"], "Expected a speed of 0 or more"),
        (["replay", str(ANSWERED), "--speed", "nan"], "Expected a speed of 0 or more"),
        (["replay", str(ANSWERED), "--speed", "fast"], "Expected a speed of 0 or more"),
        (["replay", str(ANSWERED), "--match", "vaguely"], "vaguely"),
        (["replay", str(ANSWERED), "--seed", "x"], "--seed"),
        (["replay", str(ANSWERED), "--chaos", "cut=2"], "--chaos: Expected"),
        (["replay", str(ANSWERED), "--chaos", "frob=0.1"], "frob"),
        (["replay", str(ANSWERED), "--chaos", "cut=0.9,empty=0.9"], "add up to 1"),
        (["run", "--port", "0"], "Expected a port from 1 to 65535, got '0'"),
        (["run", "--upstream", "openruter"], "Expected an upstream of openrouter, openai, anthropic, gemini"),
        (["run", "--upstream", "ftp://h"], "got 'ftp://h'"),
        (["run", "--upstream", "https://"], "got 'https://'"),
        (["run", "--upstream", "https://h:99999"], "got 'https://h:99999'"),
        (["run", "--upstream", "https://[::1"], "got 'https://[::1'"),
        (["run", "--upstream", "https://h/?key=1"], "got 'https://h/?key=1'"),
    ],
    ids=lambda value: " ".join(value).replace(str(ROOT), "") if isinstance(value, list) else "",
)
def test_a_mistake_is_told_and_exits_with_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refusal(capsys, *arguments)


def test_a_damaged_recording_is_told_with_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.sse.jsonl"
    path.write_text('{"sseguard": 1}\n[0, "chunk", 5]\n[1, "end", "eof"]\n')
    for command in ("show", "mutate", "replay"):
        said = refusal(capsys, command, path)
        assert f"{path}:1: " in said
        assert f"{path}:2: " in said


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"Expected a free port on 127.0.0.1, got {port}" in refusal(
            capsys, "replay", ANSWERED, "--port", str(port)
        )


@pytest.mark.parametrize("command", ["show", "mutate"])
def test_a_reader_who_has_seen_enough_ends_it_quietly(command: str) -> None:
    examples = [str(path) for path in sorted(FIXTURES.iterdir())] if command == "show" else []
    if command == "mutate":
        examples = [str(FIXTURES / "chat-answered-64k_frame.sse.jsonl"), "--bytewise"]
    with running(command, *examples) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""
        process.stdout = None


def test_what_a_terminal_cannot_show_is_escaped() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "60"}
    with running("show", FIXTURES / "chat-answered-split_unicode.sse.jsonl", env=environment) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert out.isascii()
    assert max(map(len, out.splitlines())) <= 60


# show


def test_show_prints_each_file_with_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(path) for path in sorted(FIXTURES.iterdir())]
    assert main(["show", "--width", "80", *paths]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines.count("") == len(paths) - 1
    assert sum(text.startswith("verdict: ") for text in lines) == len(paths)
    joined = "".join(lines)
    assert all(Path(path).name in joined for path in paths)


def test_show_warns_of_a_recording_that_was_not_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.sse.jsonl", chat("Hello"))
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert main(["show", "--width", "80", str(path)]) == 0
    said = capsys.readouterr().out
    assert "warning: " in said
    assert all(len(text) <= 80 for text in said.splitlines())
    assert "verdict: cut_late" in said


def test_show_escapes_the_name_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "\x1b[31mx.sse.jsonl", DONE)
    assert main(["show", str(path)]) == 0
    assert "\x1b" not in capsys.readouterr().out


# check


def test_the_examples_are_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(ROOT / "examples")]) == 0
    said = capsys.readouterr().out
    assert re.fullmatch(r"\d+ recordings: \d+ in order, 0 not\.\n", said)


GZIP: Headers = (("content-encoding", "gzip"),)


@pytest.mark.parametrize(
    ("planted", "place"),
    [
        ({"url": f"https://h{PATH}?key={KEY}"}, "the URL"),
        ({"headers": (("x-anything", KEY),)}, "the headers of the request"),
        ({"headers": (("Authorization", "Bearer something-without-a-shape"),)}, "the headers of the request"),
        ({"body": {"messages": [{"content": f"it is {KEY}"}]}}, "the body of the request"),
        ({"answered": (("set-cookie", "session=0123456789abcdef"),)}, "the headers of the response"),
        ({"answered": (("x-anything", KEY),)}, "the headers of the response"),
        ({"data": [chat(f"it is {KEY}")]}, "the response"),
        ({"data": [bytes([byte]) for byte in chat(KEY)]}, "the response"),
        ({"data": [chat(KEY[start : start + 9]) for start in range(0, len(KEY), 9)]}, "the response"),
        ({"data": encoded("gzip", chat(KEY)), "answered": GZIP}, "the response"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_key_that_was_planted_is_found(
    planted: dict[str, Any], place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "x.sse.jsonl", *planted.pop("data", [DONE]), **planted)
    assert main(["check", str(path)]) == 1
    said = capsys.readouterr().out
    assert f"{path}: Expected no secrets, got one in {place}." in said
    assert KEY not in said
    assert said.endswith("1 recordings: 0 in order, 1 not.\n")


def test_check_tells_all_damage_and_all_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "good.sse.jsonl", DONE)
    (tmp_path / "bad.sse.jsonl").write_text('{"sseguard": 2}\n[0, "chunk", 5]\n')
    unfinished = write(tmp_path / "deep.sse.jsonl", chat("x"))
    unfinished.write_text("".join(unfinished.read_text().splitlines(keepends=True)[:-1]))
    assert main(["check", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "bad.sse.jsonl:1: " in said
    assert "bad.sse.jsonl:2: " in said
    assert "warning: " in said
    assert said.endswith("3 recordings: 1 in order, 2 not.\n")


# mutate


def test_faults_are_done_in_the_order_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mutate", str(ANSWERED), "--heartbeats-first", "3", "--cut-after-frames", "3"]) == 0
    changed = fixture.loads(capsys.readouterr().out)
    assert (assess(changed).verdict, changed.end) == ("cut", Ending.CUT)
    assert main(["mutate", str(ANSWERED), "--cut-after-frames", "3", "--heartbeats-first", "3"]) == 0
    assert len(fixture.loads(capsys.readouterr().out).chunks) > len(changed.chunks)


def test_the_same_command_gives_the_same_file(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for _ in range(2):
        assert main(["mutate", str(ANSWERED), "--rechunk", "7", "--gzip"]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]


def test_without_a_fault_the_recording_stays(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mutate", str(ANSWERED)]) == 0
    assert fixture.loads(capsys.readouterr().out) == fixture.load(ANSWERED)


def test_a_file_is_not_replaced_unless_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.sse.jsonl"
    assert main(["mutate", str(ANSWERED), "--empty", "-o", str(out)]) == 0
    assert assess(fixture.load(out)).verdict == "empty"
    assert "Replace it with --force" in refusal(capsys, "mutate", ANSWERED, "--done-only", "-o", out)
    assert assess(fixture.load(out)).verdict == "empty"
    assert main(["mutate", str(ANSWERED), "--done-only", "-o", str(out), "--force"]) == 0
    assert assess(fixture.load(out)).verdict == "done_only"


def test_a_file_may_be_changed_in_place(tmp_path: Path) -> None:
    path = tmp_path / "x.sse.jsonl"
    path.write_bytes(ANSWERED.read_bytes())
    assert main(["mutate", str(path), "--heartbeats-only", "-o", str(path), "--force"]) == 0
    assert assess(fixture.load(path)).verdict == "heartbeats_only"


# replay


def ask(url: str, model: str = "any") -> bytes:
    try:
        return httpx.post(f"{url}{PATH}", json={"model": model}, timeout=PATIENCE).content
    except httpx.TransportError:
        return b"cut"


def test_replay_serves_until_ctrl_c(tmp_path: Path) -> None:
    path = write(tmp_path / "x.sse.jsonl", HEARTBEAT, DONE)
    with running("replay", path, "--speed", "0") as process:
        url = line(process, r"1 recordings are played at (http://127\.0\.0\.1:\d+)\.")[1]
        assert line(process, "OPENAI_BASE_URL")[0]
        assert ask(url) == HEARTBEAT + DONE
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "Traceback" not in err


@pytest.mark.parametrize(("strict", "code"), [(["--strict"], 1), ([], 0)])
def test_replay_tells_what_was_missing_and_exits_with_1_when_strict(
    strict: list[str], code: int, tmp_path: Path
) -> None:
    path = write(tmp_path / "x.sse.jsonl", DONE, body={"model": "a/b"})
    with running("replay", path, "--match", "model", *strict) as process:
        url = line(process, r"played at (\S+)\.")[1]
        assert b"not_found_error" in ask(url, "another")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert "Traceback" not in err
    assert ("1 requests were not in the recordings" in err) is bool(strict)
    assert "x.sse.jsonl" in err


def test_replay_warns_of_what_is_not_finished(tmp_path: Path) -> None:
    path = write(tmp_path / "x.sse.jsonl", DONE)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with running("replay", path) as process:
        line(process, "played at")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert err.startswith("warning: ")


def chaos(path: Path, seed: str) -> tuple[list[bytes], list[str]]:
    """What ten clients get one after the other, and what is told of it."""
    arguments = ("--chaos", "cut=0.3,empty=0.2,heartbeats-only=0.2", "--seed", seed, "--speed", "0")
    with running("replay", path, *arguments) as process:
        url = line(process, r"played at (\S+)\.")[1]
        bodies = [ask(url) for _ in range(10)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    return bodies, [text for text in err.splitlines() if text.startswith("Stream ")]


def test_chaos_is_decided_by_its_seed_and_told() -> None:
    bodies, told = chaos(ANSWERED, "7")
    assert (bodies, told) == chaos(ANSWERED, "7")
    assert (bodies, told) != chaos(ANSWERED, "8")
    assert told
    assert all(re.fullmatch(r"Stream \d: \S+ done", text) for text in told)
    whole = b"".join(chunk.data for chunk in fixture.load(ANSWERED).chunks)
    assert sum(body != whole for body in bodies) == len(told)


def test_replay_ends_quietly_when_nobody_reads_it(tmp_path: Path) -> None:
    path = write(tmp_path / "x.sse.jsonl", DONE)
    read, written = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", "sseguard", "replay", str(path)],
        stdout=written,
        stderr=subprocess.PIPE,
        timeout=PATIENCE,
        check=False,
    )
    os.close(written)
    assert (process.returncode, process.stderr) == (0, b"")


# run


@pytest.fixture
def mitmdump(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments that mitmdump gets."""
    got: list[str] = []
    stand_in = ModuleType("mitmproxy.tools.main")
    stand_in.mitmdump = got.extend  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    monkeypatch.setattr(sys, "argv", sys.argv)
    return got


def arguments(mode: str, port: int = 8080) -> list[str]:
    script = str(ROOT / "addon" / "main.py")
    return ["-s", script, "--mode", f"reverse:{mode}", "--listen-host", "127.0.0.1", "-p", str(port)]


@pytest.mark.parametrize(
    ("upstream", "mode", "setting"),
    [
        ([], "https://openrouter.ai", "OPENAI_BASE_URL=http://127.0.0.1:8080/api/v1"),
        (["openai"], "https://api.openai.com", "OPENAI_BASE_URL=http://127.0.0.1:8080/v1"),
        (["anthropic"], "https://api.anthropic.com", "ANTHROPIC_BASE_URL=http://127.0.0.1:8080\n"),
        (["gemini"], "https://generativelanguage.googleapis.com", "GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:8080\n"),
        (["http://localhost:1234"], "http://localhost:1234", "OPENAI_BASE_URL=http://127.0.0.1:8080/v1"),
        (["https://h:8443/"], "https://h:8443", "OPENAI_BASE_URL=http://127.0.0.1:8080/v1"),
        (["https://h/api/openai/v1/"], "https://h", "OPENAI_BASE_URL=http://127.0.0.1:8080/api/openai/v1\n"),
    ],
)
def test_run_puts_the_guard_in_front_of_a_provider_and_says_how_to_use_it(
    upstream: list[str], mode: str, setting: str, mitmdump: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *(["--upstream", *upstream] if upstream else [])]) == 0
    assert mitmdump == arguments(mode)
    assert f"export {setting}" in capsys.readouterr().out


def test_what_stands_behind_two_dashes_goes_to_mitmdump(mitmdump: list[str]) -> None:
    rest = ["--set", "sse_record=x", "--", "~m POST", "--help"]
    assert main(["run", "--port", "9000", "--", *rest]) == 0
    assert mitmdump == [*arguments("https://openrouter.ai", 9000), *rest]


def test_without_mitmproxy_run_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mitmproxy.tools.main", None)
    assert "pip install mitmproxy" in refusal(capsys, "run")


def test_the_other_commands_import_no_mitmproxy() -> None:
    code = "import sys, sseguard.cli as cli; cli.main(['check', sys.argv[1]]); print('mitmproxy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(ANSWERED)], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert done.stdout.endswith("False\n")


def test_the_script_is_found_beside_an_installed_package_and_above_it_in_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert commands.script() == ROOT / "addon" / "main.py"
    package = tmp_path / "sseguard"
    (package / "script").mkdir(parents=True)
    (package / "script" / "main.py").touch()
    monkeypatch.setattr(commands, "__file__", str(package / "commands.py"))
    assert commands.script() == package / "script" / "main.py"
    # The wheel puts it there, alone: mitmproxy makes its folder one to import from.
    assert '"addon/main.py" = "sseguard/script/main.py"' in (ROOT / "pyproject.toml").read_text()


def test_run_really_runs(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tmp_path / "recordings"
    rest = ("--set", f"confdir={tmp_path}", "--set", f"sse_replay={ANSWERED}", "--set", f"sse_record={folder}")
    with running("run", "--port", str(port), "--", *rest) as process, httpx.Client(timeout=PATIENCE) as client:
        # In any order.
        first = line(process, "listening at|answered from 1 recordings")[0]
        line(process, "answered from 1 recordings" if first == "listening at" else "listening at")
        body = fixture.load(ANSWERED).request.body
        answer = client.post(f"http://127.0.0.1:{port}/api{PATH}", json=body)
        assert answer.content == b"".join(chunk.data for chunk in fixture.load(ANSWERED).chunks)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    [path] = folder.iterdir()
    assert json.loads(path.read_text().splitlines()[0])["request"]["url"] == f"https://openrouter.ai/api{PATH}"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level

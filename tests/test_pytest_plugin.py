"""The plugin as its users have it: a pytest of their own, in a folder of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.proxy import PATIENCE

FIXTURES = Path(__file__).parents[1] / "examples" / "fixtures"

TESTS = '''
import httpx
import pytest

from sseguard.recordings.fixture import FixtureError
from sseguard.mutations.mutate import MutationError

PATH = "/v1/chat/completions"


def ask(provider, model="any", path=PATH):
    return httpx.post(provider.base_url + path, json={"model": model})


def test_a_file_beside_the_test_is_played_to_any_client(sse_replay):
    provider = sse_replay("recordings/heartbeats.sse.jsonl")
    assert ask(provider).status_code == 200
    assert [request.path for request in provider.requests] == [PATH]
    assert provider.requests[0].json == {"model": "any"}


def test_a_folder_is_played_in_order_and_the_last_repeats(sse_replay):
    provider = sse_replay("recordings/retry", guard=True)
    assert [ask(provider).status_code for _ in range(4)] == [502, 502, 200, 200]


def test_the_guard_makes_silence_an_error(sse_replay):
    provider = sse_replay("recordings/heartbeats.sse.jsonl", guard=True)
    answer = ask(provider)
    assert (answer.status_code, answer.headers["x-sseguard"]) == (502, "heartbeats_only")


def test_faults_are_done_in_order(sse_replay):
    provider = sse_replay("recordings/answered.sse.jsonl", "heartbeats-first=2", "cut-after-frames=2")
    with pytest.raises(httpx.ReadError):
        ask(provider)


def test_an_absolute_path_will_do(sse_replay, request):
    assert ask(sse_replay(request.path.parent / "recordings" / "answered.sse.jsonl")).status_code == 200


def test_a_path_that_is_not_beside_the_test_counts_from_the_working_directory(sse_replay):
    assert ask(sse_replay("elsewhere/answered.sse.jsonl")).status_code == 200


def test_several_providers_at_once_have_ports_of_their_own(sse_replay):
    one, two = sse_replay("recordings/answered.sse.jsonl"), sse_replay("recordings/heartbeats.sse.jsonl")
    assert one.port != two.port
    assert ask(one).content != ask(two).content
    assert (len(one.requests), len(two.requests)) == (1, 1)


def test_a_miss_is_for_the_client_to_see_when_it_is_allowed(sse_replay):
    provider = sse_replay("recordings/answered.sse.jsonl", match="model", strict=False)
    assert ask(provider, "another").status_code == 404
    assert len(provider.misses) == 1


def test_a_miss_fails_the_test_at_its_end(sse_replay):
    provider = sse_replay("recordings/answered.sse.jsonl", match="model")
    ask(provider, "another")


def test_a_file_that_is_not_there_is_told(sse_replay):
    with pytest.raises(FixtureError, match="nowhere.sse.jsonl"):
        sse_replay("nowhere.sse.jsonl")


def test_a_fault_that_is_none_is_told(sse_replay):
    with pytest.raises(MutationError, match="frobnicate"):
        sse_replay("recordings/answered.sse.jsonl", "frobnicate")


def test_a_match_that_is_none_is_told(sse_replay):
    with pytest.raises(ValueError, match="vaguely"):
        sse_replay("recordings/answered.sse.jsonl", match="vaguely")


KEPT = []


def test_a_provider_is_there(sse_replay):
    KEPT.append(sse_replay("recordings/answered.sse.jsonl"))
    assert ask(KEPT[0]).status_code == 200


def test_a_provider_is_gone_when_its_test_is_over():
    with pytest.raises(httpx.ConnectError):
        ask(KEPT[0])


@pytest.fixture
def provider(sse_replay):
    return sse_replay("recordings/answered.sse.jsonl")


def test_fixtures_can_be_built_on_it(provider):
    assert ask(provider).status_code == 200


def test_nothing_is_paced_unless_asked(sse_replay):
    assert ask(sse_replay("recordings/slow.sse.jsonl")).status_code == 200


async def _ignored():
    """Not collected."""
'''


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What became of each test in `TESTS`."""
    home = tmp_path_factory.mktemp("home")
    tests, elsewhere = home / "suite", home / "elsewhere"
    retry = tests / "recordings" / "retry"
    retry.mkdir(parents=True)
    elsewhere.mkdir()
    answered = (FIXTURES / "chat-answered.sse.jsonl").read_text()
    silent = (FIXTURES / "chat-heartbeats_only.sse.jsonl").read_text()
    for path, text in (
        (tests / "recordings" / "answered.sse.jsonl", answered),
        (tests / "recordings" / "heartbeats.sse.jsonl", silent),
        (tests / "recordings" / "slow.sse.jsonl", re.sub(r"\n\[\d+\.\d+, \"end\"", '\n[86400.0, "end"', answered)),
        (retry / "1.sse.jsonl", silent),
        (retry / "2.sse.jsonl", silent),
        (retry / "3.sse.jsonl", re.sub(r'"model": "[^"]*"', '"model": "any"', answered, count=1)),
        (elsewhere / "answered.sse.jsonl", answered),
    ):
        path.write_text(text)
    for path in retry.iterdir():
        # The same request each time, as a client that retries sends it.
        path.write_text(
            re.sub(r'"body": \{.*?\}\}, "response"', '"body": null}, "response"', path.read_text(), count=1)
        )
    (tests / "test_suite.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:anyio", "-rA", "-W", "error", "suite"],
        cwd=home,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 4,
        check=False,
    )
    told = re.findall(r"^(PASSED|FAILED|ERROR) \S+::(\w+)", done.stdout, re.MULTILINE)
    assert told, done.stdout + done.stderr
    found: dict[str, str] = {}
    for outcome, name in told:
        found[name] = f"{found[name]}, {outcome}" if name in found else outcome
    return {**found, "": done.stdout}


NAMES = re.findall(r"^def (test_\w+)", TESTS, re.MULTILINE)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "test_a_miss_fails_the_test_at_its_end"])
def test_the_plugin(name: str, outcomes: dict[str, str]) -> None:
    assert outcomes[name] == "PASSED", outcomes[""]


def test_a_miss_fails_the_test_at_its_end_and_names_the_nearest(outcomes: dict[str, str]) -> None:
    assert "ERROR" in outcomes["test_a_miss_fails_the_test_at_its_end"]
    assert "MissError" in outcomes[""]
    assert "answered.sse.jsonl" in outcomes[""]


def test_the_plugin_brings_no_mitmproxy_into_a_test_run() -> None:
    code = "import sys, sseguard.pytest_plugin; sys.exit('mitmproxy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=PATIENCE, check=False).returncode == 0

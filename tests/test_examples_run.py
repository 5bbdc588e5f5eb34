"""The examples do what they say."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness import Proxy

EXAMPLES = Path(__file__).parents[1] / "examples"

CLIENT = """
import openai
with openai.OpenAI(max_retries=0) as client:
    for _ in range({count}):
        try:
            for _ in client.chat.completions.create(model="{model}", messages=[], stream=True):
                pass
        except openai.APIError:
            pass
"""


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """A command, with the programs of this interpreter's environment first on the path."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_pytest_example_passes_and_needs_no_setting(tmp_path: Path) -> None:
    # Elsewhere, so that none of this project's own settings are found.
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    example = tmp_path / "examples" / "test_retrying_client.py"
    done = run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", example)
    assert (done.returncode, "4 passed" in done.stdout) == (0, True), done.stdout + done.stderr


def test_the_configuration_example_is_understood(tmp_path: Path) -> None:
    text = (EXAMPLES / "config.yaml").read_text()
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        free = [server.getsockname()[1] for server in (one, two)]
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{free[0]}").replace("127.0.0.1:8081", f"127.0.0.1:{free[1]}")
    (tmp_path / "config.yaml").write_text(text.replace("sseguard.log.jsonl", str(tmp_path / "log")))
    with Proxy.started(tmp_path, mode=None) as proxy:
        proxy.wait_for(r"reverse proxy to https://openrouter.ai listening")
        proxy.wait_for(r"reverse proxy to https://api.anthropic.com listening")
        proxy.assert_unharmed()


@pytest.mark.parametrize(("model", "code"), [("anthropic/claude-sonnet-4.5", 0), ("never/recorded", 1)])
def test_the_ci_example_passes_or_fails_by_what_was_recorded(model: str, code: int) -> None:
    script = CLIENT.format(count=5, model=model)
    done = run(EXAMPLES / "ci_job.sh", EXAMPLES / "recordings" / "hello", sys.executable, "-c", script)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("were not in the recordings" in done.stderr) == (code == 1)


def test_the_ci_example_stops_at_a_damaged_recording(tmp_path: Path) -> None:
    (tmp_path / "bad.sse.jsonl").write_text("{}\n")
    done = run(EXAMPLES / "ci_job.sh", tmp_path, "true")
    assert done.returncode == 1
    assert "bad.sse.jsonl:1" in done.stdout

"""Real servers: one with the packaged models, for all tests of a run, and others with a configuration of their own.

`make test` sets LLMOS_TEST_BINARY (the program), LLMOS_TEST_MODEL and LLMOS_TEST_EMBEDDING_MODEL (GGUF files).
"""

import json
import os
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

MODEL = "smollm2"
EMBEDDING_MODEL = "minilm"
CONTEXT = 4096
EMBEDDING_CONTEXT = 2048
THREADS_MAX = 2
# Seconds.
READY_MAX = 120
STOP_MAX = 30
COMMAND_MAX = 30
REQUEST_MAX = 60
POLL = 0.05
LOG_LINES_SHOWN = 20


@dataclass
class Server:
    """A server that runs."""

    binary: str
    folder: Path
    process: subprocess.Popen
    address: str = ""
    key: str = ""

    @property
    def base_url(self):
        return f"{self.address}/v1"

    def client(self, **changes):
        """The official client, unmodified. It does not retry, so that tests see what the server says."""
        settings = {"base_url": self.base_url, "api_key": self.key, "max_retries": 0, "timeout": REQUEST_MAX}
        return openai.OpenAI(**(settings | changes))

    def command(self, *arguments):
        """What `llmos ARGUMENTS --json` prints, with the configuration of this server."""
        line = [self.binary, *arguments, "--json", "--config", str(self.folder / "llmos.toml")]
        done = subprocess.run(line, capture_output=True, text=True, timeout=COMMAND_MAX, env=environment())
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}: {done.stderr}"
        return json.loads(done.stdout)

    def wait_until(self, holds, seconds, what):
        """Waits for something, which the server must live to see."""
        end = time.monotonic() + seconds
        while not holds():
            assert self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{self.log()}"
            assert time.monotonic() < end, f"{what}: not after {seconds} s\n{self.log()}"
            time.sleep(POLL)

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"{self.address}/readyz", timeout=COMMAND_MAX) as answer:
                return answer.status == 200
        except urllib.error.HTTPError as error:
            assert error.code == 503, f"/readyz answers {error.code}"
            return False

    def wait_until_ready(self):
        self.wait_until(self.is_ready, READY_MAX, "the model is ready")

    def log(self):
        """The end of its log."""
        lines = (self.folder / "log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES_SHOWN:])

    def greeting(self):
        """The document that it prints first, once it is whole."""
        text = (self.folder / "stdout").read_text()
        return json.loads(text) if text.endswith("\n") else None


def environment():
    """Ours, without what would change a server's configuration."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LLMOS_")}


def given(name):
    """The file that an environment variable names."""
    path = os.environ.get(name)
    if not path or not Path(path).is_file():
        pytest.exit(f"{name} must name a file (it is {path!r}); `make test` sets it", returncode=2)
    return str(Path(path).absolute())


def configuration(model, embedding_model):
    # Models that together ask for more cores than there are would be refused; without a number they share them.
    enough = len(os.sched_getaffinity(0)) >= 2 * THREADS_MAX
    threads = f"threads = {THREADS_MAX}" if enough else ""
    return f"""
listen = "127.0.0.1:0"
data_dir = "data"

[[model]]
name = "{MODEL}"
source = {json.dumps(model)}
context = {CONTEXT}
{threads}

[[model]]
name = "{EMBEDDING_MODEL}"
source = {json.dumps(embedding_model)}
context = {EMBEDDING_CONTEXT}
{threads}
"""


@contextmanager
def serving(folder):
    """A server with the configuration in a folder, ready; it must end well."""
    binary = given("LLMOS_TEST_BINARY")
    with open(folder / "stdout", "w") as stdout, open(folder / "log", "w") as log:
        line = [binary, "serve", "--json", "--config", str(folder / "llmos.toml")]
        process = subprocess.Popen(line, stdout=stdout, stderr=log, env=environment())
    running = Server(binary, folder, process)
    try:
        running.wait_until(running.greeting, READY_MAX, "the greeting")
        greeting = running.greeting()
        running.address, running.key = greeting["address"], greeting["key"]
        running.wait_until_ready()
        yield running
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_MAX) == 0, running.log()
    finally:
        process.kill()
        process.wait()


@contextmanager
def short_folder():
    """Not pytest's folder: a Unix socket in the data directory needs a short path."""
    with tempfile.TemporaryDirectory(prefix="llmos-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def server():
    models = given("LLMOS_TEST_MODEL"), given("LLMOS_TEST_EMBEDDING_MODEL")
    with short_folder() as folder:
        (folder / "llmos.toml").write_text(configuration(*models))
        with serving(folder) as running:
            yield running


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture
def model():
    return MODEL


@pytest.fixture
def embedding_model():
    return EMBEDDING_MODEL

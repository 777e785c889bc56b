"""`llmos top` at a real terminal, tmux, beside a server that works."""

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import environment, serving, short_folder

CONFIGURATION = """
listen = "127.0.0.1:0"
data_dir = "data"
shutdown_grace_s = 0

[[model]]
name = "busy"
source = "simulator:"

[[model]]
name = "slow"
source = "simulator:"
context = 60000
"""
# A simulated model reads about 500 tokens a second, and a token is a byte: this takes longer than the test.
LONG_PROMPT = "x" * 50_000
BUSY_CLIENTS = 6
SHELL = ["env", "PS1=$ ", "LC_ALL=C.UTF-8", "bash", "--norc", "--noprofile"]
WIDTH, HEIGHT = 120, 40
SMALL_WIDTH, SMALL_HEIGHT = 60, 15
# Seconds.
SCREEN_MAX = 20
REQUEST_MAX = 120
POLL = 0.1


def is_alive(pid):
    """Whether a process has not ended; one that nobody has waited for yet has."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Terminal:
    """A shell in tmux, with its own tmux server."""

    def __init__(self, folder):
        self.folder = folder
        self.socket = str(folder / "tmux")
        size = ["-x", str(WIDTH), "-y", str(HEIGHT)]
        self.tmux("-u", "-f", "/dev/null", "new-session", "-d", *size, *SHELL, cwd=folder)
        self.wait(r"^\$")

    def tmux(self, *arguments, **settings):
        line = ["tmux", "-S", self.socket, *arguments]
        names = environment() | {"LC_ALL": "C.UTF-8"}
        done = subprocess.run(line, capture_output=True, text=True, timeout=SCREEN_MAX, env=names, **settings)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def press(self, *keys):
        self.tmux("send-keys", *keys)

    def type(self, text):
        self.tmux("send-keys", "-l", text)

    def run(self, line):
        self.type(line)
        self.press("Enter")

    def screen(self, *flags):
        return self.tmux("capture-pane", "-p", *flags)

    def wait(self, pattern, gone=False):
        """What is on the screen, once a regular expression is found on it, or is not any more."""
        end = time.monotonic() + SCREEN_MAX
        while True:
            screen = self.screen()
            found = re.search(pattern, screen, re.MULTILINE)
            if bool(found) != gone:
                return screen if gone else found
            assert time.monotonic() < end, f"{pattern!r}: not in {SCREEN_MAX} s; the screen:\n{screen}"
            time.sleep(POLL)

    def assert_restored(self, marker):
        """The shell has its terminal back: the usual screen, a cursor, lines that are echoed."""
        self.wait(f"^{marker}$")
        assert self.tmux("display", "-p", "#{alternate_on} #{cursor_flag}").split() == ["0", "1"]
        self.run("clear; stty -a")
        settings = self.wait(r"(?s)icanon.*echo ").string
        assert " -icanon" not in settings and " -echo " not in settings, settings
        self.run("clear")


def post(server, body):
    """The status and the document that a chat is answered with; or why there is none."""
    headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.base_url}/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_MAX) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError as error:
        return 0, str(error)


def chat(model, content, seed=0):
    return {"model": model, "messages": [{"role": "user", "content": content}], "temperature": 1, "seed": seed}


@pytest.fixture
def site():
    """A folder for servers, one after the other."""
    with short_folder() as folder:
        (folder / "llmos.toml").write_text(CONFIGURATION)
        yield folder


@pytest.fixture
def terminal(site):
    terminal = Terminal(site)
    try:
        yield terminal
    finally:
        terminal.tmux("kill-server")


@pytest.fixture
def at_work():
    """Makes a server work: short chats, one after the other, and one that it will read for a minute."""
    over = threading.Event()
    pool = ThreadPoolExecutor(BUSY_CLIENTS + 1)

    def begin(server):
        def keep_busy(number):
            seed = 0
            while not over.is_set() and post(server, chat("busy", f"number {number}", seed))[0] == 200:
                seed += 1

        for number in range(BUSY_CLIENTS):
            pool.submit(keep_busy, number)
        return pool.submit(post, server, chat("slow", LONG_PROMPT))

    yield begin
    over.set()
    pool.shutdown()


def test_top_shows_what_runs_and_obeys_htops_keys(site, terminal, at_work):
    with serving(site) as server:
        slow = at_work(server)
        terminal.run(f"clear; {server.binary} top --delay 0.3; echo ended $?")
        terminal.wait(r"^ CPU +\[.*Tokens/s +[1-9][\d.]* out, [1-9]")
        terminal.wait(r"^ KV +\[\|+ .*Token gap p50 +[\d.]+ ms")
        terminal.wait(r"^ busy +ready .* [1-9]\d* +0 ")
        terminal.wait(r"^ +\d+ slow .* running .* reads its prompt, ")
        lines = terminal.screen().rstrip("\n").split("\n")
        assert len(lines) == HEIGHT and lines[-1].startswith("F1Help") and max(map(len, lines)) <= WIDTH

        for key, title in [("I", "AGE△"), ("P", "TOK/s▽"), ("M", "KV▽"), ("T", "AGE▽")]:
            terminal.press(key)
            terminal.wait(title)
        terminal.press("F6")
        terminal.wait("^ Sort by")
        terminal.press("Home", "Enter")
        terminal.wait("ID▽")
        terminal.press("F1")
        terminal.wait("keys as in htop")
        terminal.press("q")
        terminal.press("F3")
        terminal.type("slow")
        terminal.wait(r"Search: slow")
        terminal.wait(r"^> +\d+ slow ")
        terminal.press("Escape")
        terminal.wait("Search:", gone=True)

        terminal.press("F4")
        terminal.type("slow")
        terminal.press("Enter")
        terminal.wait(r'^▸Sequences 1 of \d+, filter "slow"')
        terminal.press("F9")
        terminal.wait(r"^ end sequence \d+ of tenant \d+\? y/n")
        terminal.press("n")
        terminal.wait("nothing was done")
        assert not slow.done()
        terminal.press("k")
        number = terminal.wait(r"^ end sequence (\d+) of tenant \d+\? y/n").group(1)
        terminal.press("y")
        terminal.wait(f"ended sequence {number}")
        status, answer = slow.result(REQUEST_MAX)
        assert (status, answer["error"]["code"]) == (409, "request_killed"), answer
        terminal.wait("none that the filter lets through")

        terminal.press("Tab", "End", "F9")
        terminal.wait(r"^ send slow out of memory\? y/n")
        terminal.press("y")
        terminal.wait(r"^>slow +unloaded ")
        terminal.press("l", "y")
        terminal.wait(r"^>slow +ready ")
        terminal.press("Z")
        terminal.wait("^ PAUSED")
        terminal.press("Z")
        terminal.wait("PAUSED", gone=True)

        terminal.tmux("resize-window", "-x", str(SMALL_WIDTH), "-y", str(SMALL_HEIGHT))
        terminal.wait("CPU", gone=True)
        lines = terminal.screen().rstrip("\n").split("\n")
        assert len(lines) == SMALL_HEIGHT and lines[0].startswith(" Tokens/s") and lines[-1].startswith("F1Help")
        terminal.tmux("resize-window", "-x", "1", "-y", "1")
        terminal.tmux("resize-window", "-x", str(WIDTH), "-y", str(HEIGHT))
        terminal.wait("^ CPU")
        terminal.press("q")
        terminal.assert_restored("ended 0")


def test_top_outlives_the_server_and_gives_the_terminal_back(site, terminal):
    pid = site / "pid"

    def begin(settings, binary, marker):
        line = f"{settings} sh -c 'echo $$ > {pid}; exec {binary} top -d 0.3'; echo {marker} $?"
        terminal.run(f"clear; {line}")
        terminal.wait("^ CPU")

    with serving(site) as server:
        begin("", server.binary, "first")
    terminal.wait(r"^ STALE: figures of [\d.]+s ago; trying again: no server is running")
    assert "busy" in terminal.screen()
    with serving(site) as server:
        terminal.wait("STALE", gone=True)
        terminal.wait(f"^ Server .* process {server.process.pid},")
        os.kill(int(pid.read_text()), signal.SIGTERM)
        terminal.assert_restored("first 0")

        begin("NO_COLOR=1", server.binary, "second")
        colours = re.findall(r"\x1b\[(?:\d+;)*(?:3|4|9|10)[0-7](?:;[\d;]*)?m|\x1b\[[34]8;", terminal.screen("-e"))
        assert not colours, colours
        terminal.press("C-c")
        terminal.assert_restored("second 0")

        begin("", server.binary, "third")
        # The terminal goes away, which also ends the shell.
        terminal.tmux("respawn-pane", "-k", *SHELL)
        server.wait_until(lambda: not is_alive(int(pid.read_text())), SCREEN_MAX, "top ends with its terminal")

        report = server.command("top", "--delay", "0.2")
        assert [replica["model"] for replica in report["replicas"]] == ["busy", "slow"]
        assert report["tokens_per_s"]["models"]["busy"] == {"input": 0, "output": 0}
        assert report["window_s"] >= 0.2 and report["machine"]["memory"]["total"] > 0
        without = subprocess.run(
            [server.binary, "top", "--config", str(site / "llmos.toml")],
            capture_output=True, text=True, timeout=SCREEN_MAX, env=environment(), stdin=subprocess.DEVNULL,
        )
        assert without.returncode == 2 and "llmos ps" in without.stderr and without.stdout == "", without
    terminal.run(f"{server.binary} top; echo last $?")
    terminal.assert_restored("last 3")

"""schemathesis at the real server: what `/openapi.json` says is what the server does.

Generated requests, those that the description allows and those that it does not, with an owner's key and without one. None may
end with an error of the server, or with a status, a media type, a body or a header that is not described; what the description
forbids is refused; and what needs a key is refused without one, or with a wrong one.
"""

import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from conftest import EMBEDDING_CONTEXT, given, serving, short_folder

HERE = Path(__file__).parent
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
# Seconds. Two idle cores take a minute; it is Python that takes it, so busy ones take much longer.
RUN_MAX = 600

CONFIGURATION = """
listen = "127.0.0.1:0"
data_dir = "data"
public_url = "http://localhost:8080"

# What is generated is more than a user may ask for.
[audit]
requests_per_minute = 60000

[outbound]
private = ["127.0.0.1"]

[[model]]
name = "mock"
source = "simulator:instant"

[[model]]
name = "minilm"
source = "{embedding_model}"
context = {context}

[[provider]]
name = "corp"
issuer = "https://localhost:1"
client_id = "llmos"

[[role_mapping]]
provider = "corp"
group = "doctors"
tenant = "clinic"
role = "member"
"""


@pytest.fixture(scope="module")
def described():
    """A server, and the file with what it says of itself."""
    with short_folder() as folder:
        configuration = CONFIGURATION.format(
            embedding_model=given("LLMOS_TEST_EMBEDDING_MODEL"), context=EMBEDDING_CONTEXT
        )
        (folder / "llmos.toml").write_text(configuration)
        with serving(folder) as server:
            document = folder / "openapi.json"
            document.write_bytes(get(server, "/openapi.json"))
            yield server, document
            # Nothing that was sent has taken the key's rights away: otherwise the run would have said nothing.
            get(server, "/api/v1/users")
            assert "a defect in llmos" not in (server.folder / "log").read_text()


def get(server, path):
    request = urllib.request.Request(server.address + path, headers={"Authorization": f"Bearer {server.key}"})
    with urllib.request.urlopen(request, timeout=RUN_MAX) as answer:
        return answer.read()


def generated(server, document, *arguments):
    line = [SCHEMATHESIS, "--config-file", HERE / "schemathesis.toml", "run", document, "--url", server.address]
    done = subprocess.run([*line, *arguments], capture_output=True, text=True, timeout=RUN_MAX, cwd=server.folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_server_does_what_its_description_says(described):
    server, document = described
    generated(server, document, "--header", f"Authorization: Bearer {server.key}")


def test_without_a_key_nothing_that_needs_one_is_done(described):
    generated(*described, "--phases", "coverage")

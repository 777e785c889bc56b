"""Stored chat completions, as people use them with the official `openai` client, on a real model."""

import json
import sqlite3

import openai
import pytest

from conftest import serving, short_folder

CONFIGURATION = """
listen = "127.0.0.1:0"
data_dir = "data"

[[model]]
name = "mock"
source = "simulator:"

[retention.chat_completions]
internal_days = 1
"""
DAY_S = 86_400
ASKED = [
    {"role": "system", "content": "You answer in one short sentence."},
    {"role": "user", "content": "What is the capital of France?"},
]
# Seconds.
EXPIRED_MAX = 10


def test_store_retrieve_change_delete(client, model):
    answer = client.chat.completions.create(
        model=model, messages=ASKED, max_tokens=8, temperature=0, store=True, metadata={"ward": "3b"}
    )
    stored = client.chat.completions.retrieve(answer.id)
    assert stored.choices[0].message.content == answer.choices[0].message.content
    assert (stored.created, stored.model, stored.usage) == (answer.created, model, answer.usage)
    assert stored.choices[0].finish_reason == answer.choices[0].finish_reason
    assert stored.metadata == {"ward": "3b"}

    messages = list(client.chat.completions.messages.list(answer.id))
    assert [{"role": found.role, "content": found.content} for found in messages] == ASKED
    last = list(client.chat.completions.messages.list(answer.id, order="desc", limit=1))
    assert [found.role for found in last] == ["user", "system"], "the client follows `has_more`"

    changed = client.chat.completions.update(answer.id, metadata={"ward": "4a", "seen": ""})
    assert changed.metadata == client.chat.completions.retrieve(answer.id).metadata == {"ward": "4a", "seen": ""}

    gone = client.chat.completions.delete(answer.id)
    assert gone.deleted and gone.id == answer.id
    for request in [client.chat.completions.retrieve, client.chat.completions.delete]:
        with pytest.raises(openai.NotFoundError) as refused:
            request(answer.id)
        assert refused.value.code == "chat_completion_not_found"


def test_streams_are_stored_whole(client, model):
    stream = client.chat.completions.create(
        model=model, messages=ASKED, max_tokens=8, temperature=0, store=True, stream=True
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    stored = client.chat.completions.retrieve(chunks[0].id)
    assert stored.choices[0].message.content == text and stored.created == chunks[0].created
    client.chat.completions.delete(stored.id)


def test_what_is_not_asked_to_be_stored_is_not(client, model):
    answer = client.chat.completions.create(model=model, messages=ASKED, max_tokens=2, metadata={"a": "b"})
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(answer.id)


def test_lists_are_paged_and_filtered(client, model):
    made = [
        client.chat.completions.create(
            model=model, messages=ASKED, max_tokens=2, store=True, metadata={"parity": str(number % 2)}
        ).id
        for number in range(5)
    ]

    def ids(**query):
        return [found.id for found in client.chat.completions.list(**query)]

    assert ids() == made
    assert ids(limit=2) == made, "the client follows the pages"
    assert ids(order="desc", limit=2) == made[::-1]
    odd = {"llmos-metadata": json.dumps({"parity": "1"})}
    assert ids(extra_headers=odd, limit=1) == made[1::2], "the client sends the header for each page"
    with pytest.raises(openai.BadRequestError) as refused:
        ids(metadata={"parity": "1"})
    assert "llmos-metadata" in refused.value.message
    assert ids(model="another") == []
    assert ids(after=made[2]) == made[3:]
    page = client.chat.completions.list(limit=2)
    assert page.has_more and page.data[-1].id == made[1]
    for query in [{"limit": 0}, {"limit": 101}, {"order": "up"}, {"after": "chatcmpl-x"}]:
        with pytest.raises(openai.APIStatusError) as refused:
            ids(**query)
        assert refused.value.status_code in (400, 404)
    for found in made:
        client.chat.completions.delete(found)
    assert ids() == []


def test_metadata_in_addresses_are_taken_where_they_are_allowed():
    with short_folder() as folder:
        (folder / "llmos.toml").write_text(f'metadata_filter = "address"\n{CONFIGURATION}')
        with serving(folder) as server, server.client() as client:
            asked = {"model": "mock", "messages": ASKED, "max_tokens": 2, "store": True}
            made = [client.chat.completions.create(**asked, metadata={"ward": ward}).id for ward in ("3b", "4a", "3b")]
            found = client.chat.completions.list(metadata={"ward": "3b"}, limit=1)
            assert [one.id for one in found] == made[::2]


def test_what_has_expired_is_gone():
    with short_folder() as folder:
        (folder / "llmos.toml").write_text(CONFIGURATION)
        with serving(folder) as server, server.client() as client:
            key = server.key
            internal = {"extra_headers": {"llmos-data-class": "internal"}}
            asked = {"model": "mock", "messages": ASKED, "max_tokens": 2, "store": True}
            short = client.chat.completions.create(**asked, **internal)
            long = client.chat.completions.create(**asked)
        database = folder / "data" / "llmos.db"
        rows = sqlite3.connect(database).execute("SELECT expires_at - created_at FROM chat_completion")
        assert [days for (days,) in rows] == [DAY_S, 30 * DAY_S]
        # A day later, as far as the rows know.
        with sqlite3.connect(database) as connection:
            connection.execute(f"UPDATE chat_completion SET expires_at = expires_at - {DAY_S}")

        with serving(folder) as server, server.client(api_key=key) as client:
            assert [found.id for found in client.chat.completions.list()] == [long.id]
            with pytest.raises(openai.NotFoundError):
                client.chat.completions.retrieve(short.id)
            kept = lambda: server.command("vault", "status")["chat_completions"]  # noqa: E731
            server.wait_until(lambda: kept() == 1, EXPIRED_MAX, "the expired one is deleted")
            assert json.dumps(client.chat.completions.retrieve(long.id).to_dict())

"""What people do with embeddings: the official `openai` client, `llama-index` and plain HTTP, on a real model."""

import base64
import json
import math
import os
import signal
import struct
import urllib.error
import urllib.request

import openai
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.embeddings.openai_like import OpenAILikeEmbedding

from conftest import REQUEST_MAX

DIMENSIONS = 384
# The tokens of "fever", with those that the model puts around a text.
FEVER = [101, 9016, 102]
# Tokens that the model reads at most at once.
LONGEST = 512
# Seconds.
DEATH_MAX = 10
FACTS = [
    "Paracetamol lowers a high temperature.",
    "The central bank raised interest rates.",
    "Bread dough rises because of yeast.",
    "A violin has four strings.",
]


def cosine(a, b):
    length = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / length


def embed(client, model, given, **more):
    """The vectors as floats, in the order of the inputs."""
    answer = client.embeddings.create(model=model, input=given, encoding_format="float", **more)
    assert [one.index for one in answer.data] == list(range(len(answer.data)))
    return [one.embedding for one in answer.data]


def rerank(server, **asked):
    """Status and answer of `POST /v1/rerank`; the official client does not have it."""
    headers = {"authorization": f"Bearer {server.key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{server.base_url}/rerank", json.dumps(asked).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_MAX) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_texts_that_mean_the_same_are_near(client, embedding_model):
    fever, temperature, market = embed(client, embedding_model, ["fever", "high temperature", "stock market"])
    assert len(fever) == DIMENSIONS and math.isclose(cosine(fever, fever), 1)
    # Computed from the published weights by code that shares nothing with the engine.
    assert math.isclose(cosine(fever, temperature), 0.441, abs_tol=0.003)
    assert math.isclose(cosine(fever, market), 0.134, abs_tol=0.003)


def test_a_batch_is_as_each_alone_and_usage_adds_up(client, embedding_model):
    texts = [f"Patient {i} has a fever. " * (i % 7 + 1) for i in range(40)]
    together = client.embeddings.create(model=embedding_model, input=texts)
    assert together.model == embedding_model and together.object == "list"
    tokens = 0
    for text, one in zip(texts[:8], together.data, strict=False):
        alone = client.embeddings.create(model=embedding_model, input=text)
        assert cosine(alone.data[0].embedding, one.embedding) > 0.9999
        tokens += alone.usage.prompt_tokens
    first = client.embeddings.create(model=embedding_model, input=texts[:8])
    assert first.usage.prompt_tokens == first.usage.total_tokens == tokens


@pytest.mark.parametrize("given", ["fever", ["fever"], FEVER, [FEVER]])
def test_every_shape_of_input_means_the_same(client, embedding_model, given):
    (vector,) = embed(client, embedding_model, given)
    (fever,) = embed(client, embedding_model, "fever")
    assert cosine(vector, fever) > 0.9999


def test_base64_holds_the_same_numbers(client, embedding_model):
    (floats,) = embed(client, embedding_model, "fever")
    answer = client.embeddings.with_raw_response.create(
        model=embedding_model, input="fever", encoding_format="base64"
    )
    raw = base64.b64decode(json.loads(answer.text)["data"][0]["embedding"], validate=True)
    numbers = struct.unpack(f"<{DIMENSIONS}f", raw)
    assert all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(numbers, floats, strict=True))


def test_fewer_dimensions_are_the_first_ones_at_length_one(client, embedding_model):
    (whole,) = embed(client, embedding_model, "fever")
    (short,) = embed(client, embedding_model, "fever", dimensions=64)
    assert len(short) == 64 and math.isclose(sum(x * x for x in short), 1, abs_tol=1e-5)
    assert cosine(short, whole[:64]) > 0.9999


def test_what_cannot_be_embedded_says_why(client, model, embedding_model):
    long = "fever " * LONGEST
    table = [
        ({"input": ["fever", long]}, f"input 1: it has {LONGEST + 2} tokens, but the model reads at most {LONGEST}"),
        ({"input": ["fever", ""]}, "input 1 is an empty text"),
        ({"input": []}, "at least one"),
        ({"input": [10_000_000]}, "the model has no token 10000000"),
        ({"input": "fever", "dimensions": DIMENSIONS + 1}, f"1 to {DIMENSIONS}"),
        ({"input": "fever", "model": model}, f"is made to generate, not to embed; use one of: {embedding_model}"),
    ]
    for asked, why in table:
        with pytest.raises(openai.BadRequestError) as refused:
            client.embeddings.create(**({"model": embedding_model} | asked))
        assert why in refused.value.message, refused.value.message


def test_a_model_that_embeds_does_not_chat(client, model, embedding_model):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=embedding_model, messages=[{"role": "user", "content": "Hi"}])
    assert f"not to generate; use one of: {model}" in refused.value.message


def test_llama_index_finds_what_is_meant(server, embedding_model):
    embeddings = OpenAILikeEmbedding(
        model_name=embedding_model, api_base=server.base_url, api_key=server.key, max_retries=0
    )
    nodes = [TextNode(text=fact) for fact in FACTS]
    retriever = VectorStoreIndex(nodes, embed_model=embeddings).as_retriever(similarity_top_k=2)
    for question, fact in [
        ("What helps against fever?", FACTS[0]),
        ("How do musicians make sound with a bow?", FACTS[3]),
    ]:
        assert retriever.retrieve(question)[0].text == fact


def test_documents_are_reranked_by_cosine_and_it_says_so(server, client, model, embedding_model):
    query = "What helps against fever?"
    asked = {"model": embedding_model, "query": query, "documents": FACTS}
    status, answer = rerank(server, **asked)
    assert (status, answer["model"], answer["method"]) == (200, embedding_model, "cosine")
    assert sorted(one["index"] for one in answer["results"]) == list(range(len(FACTS)))
    scores = [one["relevance_score"] for one in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    vectors = embed(client, embedding_model, [query, *FACTS])
    for one in answer["results"]:
        assert one["document"]["text"] == FACTS[one["index"]]
        assert math.isclose(one["relevance_score"], cosine(vectors[0], vectors[1 + one["index"]]), abs_tol=1e-3)
    status, answer = rerank(server, **asked, top_n=1, return_documents=False)
    assert status == 200 and [one["index"] for one in answer["results"]] == [0]
    assert "document" not in answer["results"][0]
    for wrong, why in [({"model": model}, "not to rank"), ({"top_n": 0}, "top_n"), ({"documents": []}, "at least one")]:
        status, answer = rerank(server, **(asked | wrong))
        assert status == 400 and why in answer["error"]["message"], answer


def test_the_death_of_the_worker_is_survived(server, client, embedding_model):
    def pid():
        (replica,) = [one for one in server.command("ps")["replicas"] if one["model"] == embedding_model]
        return replica.get("pid")

    before = pid()
    os.kill(before, signal.SIGKILL)
    server.wait_until(lambda: pid() not in (None, before), DEATH_MAX, "another worker")
    assert len(embed(client, embedding_model, "fever")[0]) == DIMENSIONS

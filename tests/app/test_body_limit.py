import asyncio

import pytest

from hf_detr.app.body_limit import BodyLimit


def ask(path, chunks, headers=()):
    """Status and text of the answer to a request that comes in chunks, and how many of them were read."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    read, sent = [], []

    async def receive():
        read.append(messages.pop(0))
        return read[-1]

    async def send(message):
        sent.append(message)

    async def reads_everything(scope, receive, send):
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"fine"})

    limited = BodyLimit(reads_everything, max_upload_bytes=100, max_call_bytes=10)
    asyncio.run(limited({"type": "http", "path": path, "headers": list(headers)}, receive, send))
    return sent[0]["status"], sent[1]["body"].decode(), len(read)


def test_requests_within_the_limits_pass():
    assert ask("/gradio_api/upload", [b"x" * 50, b"x" * 50]) == (200, "fine", 3)
    assert ask("/gradio_api/queue/join", [b"x" * 10]) == (200, "fine", 2)


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/upload/"])
def test_more_than_may_come_is_refused_as_soon_as_it_has_come(path):
    status, text, read = ask(path, [b"x" * 60] * 5)
    assert (status, read) == (413, 2) and "takes up to" in text


def test_calls_may_be_shorter_than_uploads():
    assert ask("/gradio_api/queue/join", [b"x" * 11])[0] == 413


def test_a_declared_length_is_refused_before_anything_is_read():
    assert ask("/gradio_api/upload", [b"x" * 60], [(b"content-length", b"101")])[::2] == (413, 0)
    assert ask("/gradio_api/upload", [b"x" * 60], [(b"content-length", b"60")])[0] == 200

"""The page as programs see it, through the client that they would use."""

import json
import os
import re
import socket
import sys
import urllib.request
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError as Refusal

from benchmarks.app_load import THRESHOLD, put_load
from hf_detr.app.limits import AppLimits
from hf_detr.app.serve import running_app
from hf_detr.errors import AppError


@pytest.fixture(scope="module")
def client(address):
    return Client(address, verbose=False, analytics_enabled=False)


def detect(client, file, threshold=0.9, classes=(), max_detections=None):
    return client.predict(handle_file(str(file)), threshold, list(classes), max_detections, api_name="/detect")


def test_programs_get_what_the_detector_finds(client, detector, pictures):
    for picture in pictures[:2]:
        expected = detector(picture, threshold=0.9)
        answer = detect(client, picture)
        assert [item["category_name"] for item in answer] == list(expected.labels)
        assert [{key: item[key] for key in ("image_id", "category_id", "bbox", "score")} for item in answer] == (
            expected.to_coco(1)
        )
        assert {item["file_name"] for item in answer} == {picture.name}


def test_classes_and_number_can_be_chosen(client, detector, pictures):
    answer = detect(client, pictures[0], 0.5, ["green"], 2)
    assert [item["category_name"] for item in answer] == ["green", "green"]
    stored = detect(client, pictures[0], None)
    assert len(stored) == len(detector(pictures[0]))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"threshold": 2}, "threshold is a number from 0 to 1"),
        ({"threshold": "much"}, "threshold is a number from 0 to 1"),
        ({"classes": ["grean"]}, "no class 'grean'. Did you mean 'green'"),
        ({"max_detections": 0}, "max_detections is a number from 1 on"),
    ],
)
def test_what_makes_no_sense_is_refused(client, pictures, choice, message):
    with pytest.raises(Refusal, match=re.escape(message)):
        detect(client, pictures[0], **choice)


def test_unusable_files_are_refused_in_a_sentence_and_the_page_lives_on(client, pictures, tmp_path, capfd):
    for name, content, message in (
        ("empty.jpg", b"", r"^empty\.jpg is empty \(0 bytes\)\.$"),
        ("text.png", b"no picture", r"^text\.png cannot be read: it is not a picture"),
        ("cut.jpg", pictures[0].read_bytes()[:300], r"^cut\.jpg cannot be read: "),
        ("page.html", b"<script>alert(1)</script>", r"^page\.html cannot be read"),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", r"^drawing\.svg cannot be read"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Refusal, match=message):
            detect(client, tmp_path / name)
    assert "Traceback" not in capfd.readouterr().err
    assert detect(client, pictures[0])


def test_addresses_are_not_fetched(client):
    with pytest.raises(Refusal, match="this page fetches no addresses"):
        detect(client, "https://example.com/photo.jpg")


def test_files_of_the_server_are_out_of_reach(client, address, pictures):
    # A path that was not uploaded, as a program would write it by hand.
    payload = {"path": str(pictures[0]), "meta": {"_type": "gradio.FileData"}}
    answer = httpx.post(f"{address}gradio_api/call/detect", json={"data": [payload, 0.5, [], None]})
    events = httpx.get(f"{address}gradio_api/call/detect/{answer.json()['event_id']}").text
    assert "event: error" in events and "category_name" not in events


def test_uploads_beyond_the_limit_are_refused_by_the_server_itself(address):
    url = f"{address}gradio_api/upload"
    big = httpx.post(url, files={"files": ("big.jpg", b"x" * 2_100_000)})
    assert big.status_code == 413
    many = httpx.post(url, files=[("files", (f"{k}.jpg", b"x" * 1_000_000)) for k in range(4)])
    assert many.status_code == 413
    call = httpx.post(f"{address}gradio_api/queue/join", json={"data": ["x" * 1_100_000]})
    assert call.status_code == 413
    assert httpx.post(url, files={"files": ("fine.jpg", b"x" * 1_900_000)}).status_code == 200


def test_under_overload_each_request_is_answered_or_refused(address, detector, pictures):
    expected = [sorted(detector(picture, threshold=THRESHOLD).labels) for picture in pictures]
    outcome = put_load(address, pictures, expected, requests=2)
    assert outcome.lost == []
    assert len(outcome.answered) + len(outcome.refused) == 2 * len(pictures)
    # One is at the model and two wait; which of the others come too early is a matter of chance.
    assert len(outcome.answered) >= 3


def test_a_full_queue_refuses_politely(detector, pictures, monkeypatch):
    """The model does not come back until more requests than there are places have been sent."""
    from threading import Event

    let_go = Event()
    real = detector.backend

    class Waiting:
        def __getattr__(self, name):
            return getattr(real, name)

        def __call__(self, *inputs):
            let_go.wait(30)
            return real(*inputs)

    monkeypatch.setattr(detector, "backend", Waiting())
    with running_app(detector, AppLimits(max_waiting=2)) as app:
        client = Client(app.local_url, verbose=False, analytics_enabled=False)
        upload = handle_file(str(pictures[0]))
        first = client.submit(upload, 0.9, [], None, api_name="/detect")
        while first.status().code.value != "PROCESSING":
            pass
        waiting = [client.submit(upload, 0.9, [], None, api_name="/detect") for _ in range(2)]
        while any(job.status().code.value != "IN_QUEUE" for job in waiting):
            pass
        with pytest.raises(Exception, match="Queue is full"):
            client.predict(upload, 0.9, [], None, api_name="/detect")
        let_go.set()
        answers = [job.result(timeout=30) for job in (first, *waiting)]
    assert answers[0] and answers[0] == answers[1] == answers[2]


def test_the_page_says_what_it_offers(address):
    with urllib.request.urlopen(f"{address}gradio_api/info") as answer:
        endpoints = json.load(answer)["named_endpoints"]
    assert list(endpoints) == ["/detect"]
    parameters = endpoints["/detect"]["parameters"]
    assert [each["parameter_name"] for each in parameters] == ["picture", "threshold", "classes", "max_detections"]


def test_it_keeps_to_itself(detector, pictures, monkeypatch):
    """Nothing but this computer is connected to, and no file is left behind."""
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    monkeypatch.delenv("GRADIO_ANALYTICS_ENABLED", raising=False)
    connected = []
    connect = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", lambda self, to: (connected.append(to), connect(self, to))[1])
    with running_app(detector, name="Squares") as app:
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        assert detect(Client(app.local_url, verbose=False, analytics_enabled=False), pictures[0])
        assert list(folder.rglob("*.jpg"))
        page = httpx.get(app.local_url).text
    assert not folder.exists() and "GRADIO_TEMP_DIR" not in os.environ
    assert {to[0] for to in connected if isinstance(to, tuple)} == {"127.0.0.1"}
    assert "Squares" in page and "googleapis" not in page


def test_a_port_that_is_taken_is_named(detector):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(AppError, match=rf"Cannot listen on 127\.0\.0\.1 port {port}: .* Name another --port"):
            with running_app(detector, port=port):
                pass
    for address, message in (
        ({"host": "203.0.113.1", "port": 8000}, r"Cannot listen on 203\.0\.113\.1 port 8000"),
        ({"host": "203.0.113.1"}, r"Cannot listen on 203\.0\.113\.1: .*Leave out --host"),
        ({"port": 70000}, "A port is a number from 1 to 65535, not 70000"),
    ):
        with pytest.raises(AppError, match=message), running_app(detector, **address):
            pass


def test_without_gradio_it_says_what_to_install(detector, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(AppError, match=re.escape("pip install 'hf_detr[app]'")):
        with running_app(detector):
            pass

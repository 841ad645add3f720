"""Explorers that are closed after the test, and an ear on what is sent to the page."""

from collections import Counter

import pytest
from ipywidgets import Widget

import nni_widgets as nni


@pytest.fixture
def opened():
    """Open an explorer, wait for its picture, and close it when the test is over."""
    explorers = []

    def open_(explorer):
        explorers.append(explorer)
        return explorer.drain()

    yield open_
    for explorer in explorers:
        explorer.close()


@pytest.fixture(scope="session")
def cnn():
    return nni.models.load("digits-cnn")


@pytest.fixture(scope="session")
def digits():
    return nni.data.digits("test")[:4][0]


@pytest.fixture
def told(monkeypatch):
    """How many messages went to the page, by the kind of widget and trait."""
    counted = Counter()
    send = Widget._send

    def heard(widget, message, buffers=None):
        what = message.get("state") or {message["method"]: ""}
        counted[f"{type(widget).__name__}.{','.join(sorted(what))}"] += 1
        send(widget, message, buffers)

    monkeypatch.setattr(Widget, "_send", heard)
    return counted

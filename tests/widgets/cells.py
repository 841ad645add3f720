"""Copied cells, run as a user would run them, and what an explorer lets one save."""

from tests.widgets.user import clicks, the


def copied(explorer):
    clicks(explorer, "nn-copy-as-code")
    return the(explorer, "nn-code").value


def result_of(cell, **space):
    *lines, last = cell.rstrip().splitlines()
    exec("\n".join([*lines, f"result = {last}"]), space)
    return space["result"]


def downloads(explorer, monkeypatch):
    saved = {}
    monkeypatch.setattr(
        explorer._page, "download", lambda name, content, kind: saved.update({name: content})
    )
    return saved

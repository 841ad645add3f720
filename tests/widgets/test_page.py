"""The explorer's hand in the page, and its words."""

import pytest

from nni_widgets.widgets.parts.closing import close_all
from nni_widgets.widgets.parts.page import Page
from nni_widgets.widgets.parts.status import StatusLine, in_words
from tests.widgets.user import sends


@pytest.fixture
def status():
    status = StatusLine()
    yield status
    close_all(status.widget)
    close_all(status.progress)


def test_the_page_tells_of_pointer_and_escape():
    heard = []
    page = Page(lambda *place: heard.append(place), lambda: heard.append("escape"))
    sends(page, type="hover", pane=1, x=0.25, y=0.5)
    sends(page, type="escape")
    sends(page, type="unknown")
    assert heard == [(1, 0.25, 0.5), "escape"]
    page.close()


def test_copy_and_download_are_sent_to_the_page(monkeypatch):
    page, sent = Page(print, print), []
    monkeypatch.setattr(page, "send", lambda *message: sent.append(message))
    page.copy("text")
    page.download("a.png", b"bytes", "image/png")
    assert sent == [
        ({"type": "copy", "text": "text"},),
        ({"type": "download", "name": "a.png", "kind": "image/png"}, [b"bytes"]),
    ]
    page.close()


def test_words_are_a_status_and_errors_an_alert(status):
    status.say("1 < 2", generation=3)
    assert 'role="status"' in status.widget.value
    assert "1 &lt; 2" in status.widget.value
    assert "#3" in status.widget.value
    status.refuse(ValueError("Who: <b> is wrong."))
    assert (status.words, status.refused) == ("Who: <b> is wrong.", True)
    assert 'role="alert"' in status.widget.value
    assert "Who: &lt;b&gt; is wrong." in status.widget.value
    assert "<details>" in status.widget.value
    status.say("well again")
    assert not status.refused


def test_an_exception_that_is_no_sentence_has_its_name():
    assert in_words(KeyError("layer")) == "KeyError: 'layer'"
    assert in_words(RuntimeError()) == "RuntimeError"
    assert in_words(ValueError()) == "ValueError"


def test_progress_has_steps_and_seconds(status):
    status.begin("SmoothGrad")
    assert "SmoothGrad is at work" in status.progress.value
    status.advance("SmoothGrad", 12, 50, elapsed=1.0)
    assert '<progress max="50" value="12"' in status.progress.value
    assert "SmoothGrad 12/50, about 3 s" in status.progress.value
    status.end()
    assert status.progress.value == ""


def test_quick_work_has_no_bar(status):
    status.advance("SmoothGrad", 12, 50, elapsed=0.01)
    assert status.progress.value == ""

"""The labeller's kernel side; what it does to a page is tested in the browser."""

import pytest

from nni_widgets.widgets.parts.labels import Labels


@pytest.fixture
def labels():
    labels = Labels({"nn-heatmap": "heatmap of a 7"})
    yield labels
    labels.close()


def test_the_names_are_synced(labels):
    assert labels.get_state()["names"] == {"nn-heatmap": "heatmap of a 7"}
    assert "export default" in labels.get_state()["_esm"]


def test_update_sends_all_names(labels, monkeypatch):
    sent = []
    monkeypatch.setattr(labels, "_send", lambda message, buffers=None: sent.append(message))
    labels.update({"nn-heatmap": "heatmap of a 3", "nn-noise": "noise level"})
    names = {"nn-heatmap": "heatmap of a 3", "nn-noise": "noise level"}
    assert labels.names == names
    assert [message["state"] for message in sent] == [{"names": names}]


def test_the_callers_dictionary_stays_its_own():
    names = {"a": "b"}
    labels = Labels(names)
    labels.update({"c": "d"})
    assert names == {"a": "b"}
    labels.close()


def test_its_text_has_no_address(labels):
    assert repr(labels) == "Labels(1 names)"

"""A picture of one's own, sent from the page and made into one as the model takes it."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
from torch import Tensor, nn

from nni_widgets.pictures.files import read_picture
from nni_widgets.widgets.parts.quiet import Quiet
from nni_widgets.widgets.parts.status import in_words


class Upload:
    """A button that sends a picture file; ``on_picture(name, picture)`` gets the result.

    What cannot be read is said in ``words``, and nothing else changes. The button is hidden where
    the model takes no grey or colour pictures.
    """

    def __init__(
        self, model: nn.Module, like: Tensor, on_picture: Callable[[str, Tensor], None]
    ) -> None:
        self._model, self._like, self._on_picture = model, like, on_picture
        self._quiet = Quiet()
        self.button = widgets.FileUpload(
            accept=".png,.jpg,.jpeg,.gif,.webp",
            description="Your picture",
            layout={"width": "auto"},
        ).add_class("nn-upload")
        self.words = widgets.HTML().add_class("nn-words").add_class("nn-upload-words")
        takes_pictures = like.ndim == 4 and like.shape[1] in (1, 3)
        self.button.layout.display = None if takes_pictures else "none"
        self.button.observe(self._sent, "value")

    def _sent(self, change: dict[str, Any]) -> None:
        if self._quiet or not change["new"]:
            return
        (file,) = change["new"]
        with self._quiet:
            self.button.value = ()
        try:
            picture = read_picture(bytes(file["content"]), self._model, self._like)
        except ValueError as error:
            words = html.escape(f"{file['name']}: {in_words(error)}")
            self.words.value = f'<p role="alert" class="nn-error">{words}</p>'
            return
        self.words.value = ""
        self._on_picture(file["name"], picture)

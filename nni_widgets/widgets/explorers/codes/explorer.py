"""The Code space explorer: pictures of a generator, searched for a class or walked by hand."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NoReturn

import ipywidgets as widgets
import torch
from torch import Tensor, nn

from nni_widgets.engine.synthesis import (
    ActivationMaximization,
    Code,
    CodeNorm,
    LogProbability,
    Synthesis,
)
from nni_widgets.errors import invalid
from nni_widgets.params import Declared, as_code, is_whole, param, params
from nni_widgets.pictures.explain import output_names
from nni_widgets.pictures.prototype import levels_of
from nni_widgets.pictures.render import picture_png
from nni_widgets.widgets.bases.studio import Stage, Studio
from nni_widgets.widgets.explorers.codes.generators import Generators
from nni_widgets.widgets.parts.classes import ClassPicker, ForAClass
from nni_widgets.widgets.parts.controls import SIDE, SIDE_STYLE, Dials, button
from nni_widgets.widgets.parts.copied import Names
from nni_widgets.widgets.parts.files import npz
from nni_widgets.widgets.parts.film import Film
from nni_widgets.widgets.parts.maps import PictureView
from nni_widgets.widgets.parts.objective import ObjectiveCurve, short, steps_a_frame, without_state
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.quiet import Quiet
from nni_widgets.widgets.parts.weights import weights_of
from nni_widgets.zoo import models

_WHO = "CodesExplorer"
_DIRECTIONS, _FAR, _MOST = 8, 4.0, 2**31
_MAGNIFIED = 8

Walk = tuple[tuple[int, float], ...]


class Search(Declared):
    """How a code is looked for: ``max_z log p(ω|g(z)) − code_norm · ‖z‖²``."""

    code_norm: float = param(0.001, "weight λ of ‖z‖²", low=0, slider=(0, 0.2))
    n_steps: int = param(200, "number of steps", low=1, high=10**5, slider=(10, 1000), log=True)
    step_size: float = param(
        0.1, "how far a step moves the code", low=1e-9, slider=(0.002, 0.5), log=True
    )
    prior: str = param("normal", "where codes lie", choices=("normal", "positive"))


@dataclass(frozen=True, eq=False)
class Setting:
    """What stays while codes are explored; ``names`` are those of model and generator in code."""

    model: nn.Module
    classes: tuple[str, ...]
    generators: Generators
    names: tuple[str, str]
    preparation: str = ""
    large: bool = False


@dataclass(frozen=True)
class Chosen:
    """What is selected: where in which code space, and what is looked for from there.

    ``base`` is the seed of a random code, or a code itself; ``walk`` leads from there to these
    coordinates along some of the principal directions.
    """

    generator: str
    base: int | tuple[float, ...]
    walk: Walk
    target: int
    search: Search


class CodesExplorer(ForAClass, Studio[Synthesis]):
    """Walks through the codes of a generator, by hand or uphill; made by :func:`explore_codes`.

    ``z`` is the code on the screen and can be set, ``walk`` how far it was moved by hand along the
    principal directions, ``generator`` the name of the generator, ``target`` the class, ``search``
    how Play looks for a code. ``made`` is the Synthesis on the screen.
    """

    opener = "nni.explore_codes"
    plays_at_once = False
    captions: ClassVar[Mapping[str, str]] = {"nn-generated": "the picture that the code makes"}

    def __init__(self, about: Setting, target: int | str | None, seed: int, search: Search) -> None:
        self._about, self._quiet = about, Quiet()
        last = len(about.classes) - 1
        target = min(3, last) if target is None else target
        self._picker = ClassPicker(_WHO, about.classes, target, self._target_changed, self._refuse)
        self._first = Chosen(about.generators.first, seed, (), self._picker.target, search)
        self._base, self._walk, self._seed = self._first.base, self._first.walk, seed
        self._dials_at: object = None
        generators = about.generators.names
        self._generators = widgets.Dropdown(
            options=generators,
            value=about.generators.first,
            description="made by",
            style=SIDE_STYLE,
            layout=SIDE,
        ).add_class("nn-generator")
        self._generators.observe(lambda _: self._generator_changed(), "value")
        self._panel = ParameterPanel(search, lambda _: self._ask(), self._refuse)
        names = [f"direction {number}" for number in range(1, _DIRECTIONS + 1)]
        self._dials = Dials(names, "nn-direction", (-_FAR, _FAR), self._walked)
        self._picture = PictureView("g(z)", "nn-generated")
        self._words = widgets.HTML().add_class("nn-words").add_class("nn-code-words")
        self._curve = ObjectiveCurve()
        super().__init__(about.large)
        self._begin()

    @property
    def generator(self) -> str:
        """The name of the generator in the picker."""
        return str(self._generators.value)

    @generator.setter
    def generator(self, name: str) -> None:
        names = self._about.generators.names
        if name not in names:
            expected = f"one of {', '.join(map(repr, names))}"
            raise invalid(_WHO, "generator", expected, repr(name), f"Try {names[0]!r}")
        self._generators.value = name

    @property
    def search(self) -> Search:
        """How Play looks for a code."""
        search: Search = self._panel.value  # type: ignore[assignment]
        return search

    @search.setter
    def search(self, search: Search) -> None:
        if not isinstance(search, Search):
            expected, action = "such as explorer.search", "Try explorer.search.replace(n_steps=50)"
            raise invalid(_WHO, "search", expected, repr(search), action)
        self._panel.show(search)
        self._ask()

    @property
    def z(self) -> Tensor | None:
        """The code on the screen, ``(1, size)``; it can be set to any ``size`` numbers."""
        return None if self.made is None else self.made.code

    @z.setter
    def z(self, code: Tensor | Sequence[float]) -> None:
        expected, given, action = "finite numbers", f"{code!r:.80}", "Try [0.0] * size"
        try:
            numbers = torch.as_tensor(code).flatten().tolist()
        except (TypeError, ValueError, RuntimeError) as error:
            raise invalid(_WHO, "z", expected, given, action) from error
        if not all(map(math.isfinite, numbers)):
            raise invalid(_WHO, "z", expected, given, action)
        self._go_from(tuple(map(float, numbers)))
        self._ask()

    @property
    def walk(self) -> dict[int, float]:
        """How far the code was moved by hand: coordinate by number of the direction, from 0."""
        return dict(self._walk)

    @walk.setter
    def walk(self, to: Mapping[int, float]) -> None:
        if not isinstance(to, Mapping):
            expected = "coordinates by direction"
            raise invalid(_WHO, "walk", expected, f"{to!r:.80}", "Try {0: 1.5}")
        for number in to:
            if not is_whole(number) or number not in range(_DIRECTIONS):
                _refuse_direction(number, _DIRECTIONS)
        try:
            walk = {int(number): float(place) for number, place in to.items()}
        except (TypeError, ValueError, RuntimeError) as error:
            raise invalid(_WHO, "walk", "to finite numbers", repr(to), "Try {0: 1.5}") from error
        if not all(map(math.isfinite, walk.values())):
            raise invalid(_WHO, "walk", "to finite numbers", repr(to), "Try {0: 1.5}")
        self._walk = tuple(sorted(walk.items()))
        self._dials_at = None
        self._ask()

    def draw(self, seed: int | None = None) -> None:
        """Go to a random code: that of a seed, or of the one after the last."""
        self._go_from(self._seed + 1 if seed is None else checked_seed(seed))
        self._ask()

    def _stage(self) -> Stage:
        words = widgets.VBox([self._curve.widget, self._words])
        random = button("Random code", self.draw)
        chosen = [self._picker.widget, self._generators, random]
        return Stage(
            pictures=[self._picture.view, words],
            choices=[widgets.VBox(chosen)],
            controls=[self._dials.widget, self._panel.box.add_class("nn-recipe")],
        )

    def _selected(self) -> Chosen:
        return Chosen(self.generator, self._base, self._walk, self.target, self.search)

    def _frames(self, selected: Chosen, last: Synthesis | None) -> Iterator[Synthesis]:
        method, model = self._method(selected), self._about.model
        if last is not None:
            return method.resume_steps(model, last)
        return method.steps(model, self._start(selected))

    def _method(self, selected: Chosen) -> ActivationMaximization:
        search, generator = selected.search, self._about.generators[selected.generator]
        return ActivationMaximization(
            LogProbability(selected.target) - search.code_norm * CodeNorm(),
            n_steps=search.n_steps,
            step_size=search.step_size,
            image=Code(generator.make, prior=search.prior),
            keep_every=steps_a_frame(search.n_steps),
        )

    def _start(self, selected: Chosen) -> Tensor:
        """The code where the search begins; its own, if there is nothing else to look for."""
        generator, base = self._about.generators[selected.generator], selected.base
        like = generator.draw(1, base if isinstance(base, int) else 0)
        z = like
        if not isinstance(base, int):
            if len(base) != like.shape[1]:
                expected = f"{like.shape[1]} numbers, as {selected.generator} takes"
                raise invalid(_WHO, "z", expected, f"{len(base)} numbers", "Draw a random code")
            z = like.new_tensor([base])
        space = generator.space
        for number, _ in selected.walk:
            if number >= len(space.directions):
                _refuse_direction(number, len(space.directions))
        z = space.moved(z, dict(selected.walk))
        return z.clamp(min=0) if selected.search.prior == "positive" else z

    def _weights(self) -> Any:
        return weights_of(self._about.model), weights_of(self._about.generators.own)

    def _paint_frame(self, frame: Synthesis, film: Film[Synthesis]) -> None:
        low, high = levels_of(frame, self._about.model)
        chosen: Chosen = film.selected
        self._picture.entitle(f"g(z), {chosen.generator}")
        self._picture.paint(frame.images[0], low, high)
        self._words.value = f"<p>{html.escape(self._numbers(frame, chosen))}</p>"
        self._picker.show(frame.probabilities[0])
        self._turn_dials(frame, film)
        self._curve.show(frame, film)

    def _turn_dials(self, frame: Synthesis, film: Film[Synthesis]) -> None:
        """Let the sliders follow the code, but not while the user moves them."""
        chosen: Chosen = film.selected
        here = (chosen.generator, chosen.base)
        if frame.code is not None and (len(film.frames) > 1 or self._dials_at != here):
            space = self._about.generators[chosen.generator].space
            places = space.coordinates(frame.code)[0].tolist()
            self._dials.show(places)
            for number, row in enumerate(self._dials.widget.children):
                row.layout.display = None if number < len(places) else "none"
            self._dials_at = here

    def _numbers(self, frame: Synthesis, chosen: Chosen) -> str:
        name, share = self._about.classes[chosen.target], frame.probabilities[0, chosen.target]
        norm = "" if frame.code is None else f", ‖z‖² {short(frame.code.square().sum())}"
        return f"p({name}) {share:.2f}, objective {short(frame.objective[-1, 0])}{norm}"

    def _said(self, frame: Synthesis) -> str:
        best = int(frame.probabilities[0].argmax())
        share = float(frame.probabilities[0, best])
        predicted = f"predicted {self._about.classes[best]} ({share:.2f})"
        return f"{predicted} · {self._numbers(frame, self._made_for)}"

    def _digest_of(self, frame: Synthesis) -> str:
        chosen: Chosen = self._made_for
        name = self._about.classes[chosen.target]
        aim = f"log p({name}|g(z)) − {chosen.search.code_norm:g} ‖z‖²"
        return f"{chosen.generator}: {aim}\n{self._said(frame)}"

    def _frame_pngs(self, frame: Synthesis) -> dict[str, bytes]:
        low, high = levels_of(frame, self._about.model)
        words = {"code": self._digest_of(frame), "step": str(frame.step)}
        return {"generated.png": picture_png(frame.images[0], low, high, _MAGNIFIED, words)}

    def _frame_npzs(self, frame: Synthesis) -> dict[str, bytes]:
        code = {} if frame.code is None else {"code": frame.code}
        numbers = npz(images=frame.images, logits=frame.logits, objective=frame.objective, **code)
        return {"generated.npz": numbers}

    def _kept(self, frame: Synthesis) -> Synthesis:
        return without_state(frame)

    def _bytes_of(self, frame: Synthesis) -> int:
        return frame.images.nbytes + frame.objective.nbytes * (1 + len(frame.terms))

    def _preparation(self) -> str:
        return self._about.preparation

    def _arguments(self, names: Names) -> list[str]:
        model, own = self._about.names
        generator = self._about.generators.code(self.generator, own)
        seed = [f"seed={self._base}"] if isinstance(self._base, int) and self._base else []
        search = [
            f"{each.name}={as_code(getattr(self.search, each.name))}"
            for each in params(self.search)
            if getattr(self.search, each.name) != each.default
        ]
        return [model, generator, f"target={self.target}", *seed, *search]

    def _settings(self, names: Names) -> dict[str, str]:
        settings = {}
        if not isinstance(self._base, int):
            settings["z"] = repr(list(self._base))
        if self._walk:
            settings["walk"] = repr(self.walk)
        return settings

    def _at_work(self) -> str:
        return ActivationMaximization.title

    def _forget(self) -> None:
        first = self._first
        self._picker.set(first.target)
        self._panel.reset(first.search)
        with self._quiet:
            self._generators.value = first.generator
        self._go_from(first.base)

    def _go_from(self, base: int | tuple[float, ...]) -> None:
        self._base, self._walk, self._dials_at = base, (), None
        if isinstance(base, int):
            self._seed = base

    def _settle(self) -> None:
        """What comes next begins at the code on the screen, where a search has led to it.

        Not if another code is on its way to the screen.
        """
        made, is_newest = self.made, replace(self._made_for, target=self.target) == self._selected()
        if is_newest and made is not None and made.step and made.code is not None:
            self._go_from(tuple(made.code[0].tolist()))

    def _walked(self, direction: int, to: float) -> None:
        self._settle()
        self._walk = tuple(sorted({**self.walk, direction: to}.items()))
        self._dials_at = (self.generator, self._base)
        self._ask()

    def _target_changed(self) -> None:
        self._settle()
        self._ask()

    def _generator_changed(self) -> None:
        """Codes of one generator mean nothing to another: begin at the first one."""
        if not self._quiet:
            self._go_from(self._first.base)
            self._ask()


def _refuse_direction(number: object, count: int) -> NoReturn:
    expected = f"along directions 0 to {count - 1}"
    raise invalid(_WHO, "walk", expected, f"direction {number!r}", "Try {0: 1.5}")


def explore_codes(
    model: nn.Module | None = None,
    generator: nn.Module | str | None = None,
    target: int | str | None = None,
    *,
    seed: int = 0,
    names: tuple[str, str] = ("model", "generator"),
    large: bool = False,
    **parameters: Any,
) -> CodesExplorer:
    """Explore the codes of a generator: walk by hand, or let Play look for a class.

    ``model``: a classifier of what the generator makes, ``digits-cnn`` unless given.
    ``generator``: a module from codes ``(N, size)`` to pictures that has a ``code_size``, an
    autoencoder with ``decode``, or a name of the zoo such as ``"digits-gan"``; the zoo's stay to be
    chosen. ``target``: a class, by number or name; ``seed``: that of the first code; ``names``:
    what model and generator are called in copied code; ``large``: large type.

    Further parameters say how Play looks for a code: ``code_norm``, ``n_steps``, ``step_size``,
    ``prior`` (``"normal"``, or ``"positive"`` for codes of at least 0). The sliders move the code
    along the directions in which pictures change most, measured in standard deviations of codes.

    Raises ``ValueError`` for a generator that does not fit the model, and for what is not legal.
    """
    preparation = ""
    if model is None:
        model = models.load("digits-cnn")
        preparation = f'{names[0]} = nni.models.load("digits-cnn")\n'
    search = checked_search(parameters)
    generators, seed = Generators(_WHO, generator, model), checked_seed(seed)
    first = generators[generators.first]
    method = ActivationMaximization(LogProbability(0), image=Code(first.make))
    logits = next(method.steps(model, first.draw(1, seed))).logits
    classes = output_names(model, logits.shape[1])
    about = Setting(model, classes, generators, names, preparation, large)
    return CodesExplorer(about, target, seed, search)


def checked_seed(seed: int) -> int:
    """The seed; raises ``ValueError`` for what is none."""
    if not is_whole(seed) or not 0 <= seed <= _MOST:
        expected = f"a whole number from 0 to {_MOST:,}"
        raise invalid(_WHO, "seed", expected, repr(seed), "Try 0")
    return int(seed)


def checked_search(given: Mapping[str, Any]) -> Search:
    """The search with these parameters; raises ``ValueError`` for an unknown one."""
    known = [each.name for each in params(Search)]
    for name in given:
        if name not in known:
            expected, action = f"one of {', '.join(known)}", "See the help of nni.explore_codes"
            raise invalid(_WHO, "a parameter", expected, name, action)
    return Search(**given)

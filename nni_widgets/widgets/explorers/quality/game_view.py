"""The pixel-flipping game on the screen: the picture in patches, the race, and who is where."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from operator import index

import ipywidgets as widgets

from nni_widgets.errors import invalid
from nni_widgets.pictures.numbers import number
from nni_widgets.pictures.render import picture_png
from nni_widgets.widgets.explorers.quality.charts import CHANCE, COLOURS, MINE, Race
from nni_widgets.widgets.explorers.quality.game import WHO, Game, Played
from nni_widgets.widgets.parts.controls import OnError, button
from nni_widgets.widgets.parts.panel import ParameterPanel
from nni_widgets.widgets.parts.patches import PatchPicture, Place
from nni_widgets.widgets.parts.quiet import Quiet

_HIDDEN = "nobody yet"


class GameView:
    """The board with its buttons, the curves, a table of areas, and the rules.

    ``on_change()`` is called when something else is to be computed, ``on_look()`` when the same is
    to be painted otherwise, ``on_error(error)`` when a rule is not legal.
    """

    def __init__(
        self,
        names: Sequence[str],
        game: Game,
        on_change: Callable[[], None],
        on_look: Callable[[], None],
        on_error: OnError,
    ) -> None:
        self._names, self._first, self._quiet = tuple(names), game, Quiet()
        self._on_change, self._patch = on_change, game.patch
        self._board = PatchPicture("remove what matters most", "nn-left", "the patches", on_change)
        self._race = Race()
        self._table = widgets.HTML().add_class("nn-layer-table").add_class("nn-areas")
        self._words = widgets.HTML().add_class("nn-words").add_class("nn-game-words")
        self._reveal = widgets.Dropdown(
            description="show the order of",
            options=(_HIDDEN, *names),
            style={"description_width": "initial"},
            layout={"width": "300px"},
        ).add_class("nn-reveal")
        self._reveal.observe(lambda _: None if self._quiet else on_look(), "value")
        self._panel = ParameterPanel(game, self._ruled, on_error, usual={"patch": game.patch})
        buttons = widgets.HBox(
            [button("Take back", self.take_back), button("Play again", self._again)]
        )
        self.picture = widgets.VBox([self._board.view, buttons, self._words])
        self._order = widgets.HTML().add_class("nn-words").add_class("nn-order-words")
        told = widgets.VBox([self._table, self._reveal, self._order])
        self.numbers = widgets.HBox([self._race.widget, told]).add_class("nn-row")
        self.controls = self._panel.box

    @property
    def game(self) -> Game:
        """The rules."""
        return self._panel.value  # type: ignore[return-value]

    @property
    def chosen(self) -> tuple[Place, ...]:
        """The patches that the user has removed, in their order."""
        return self._board.chosen

    @chosen.setter
    def chosen(self, places: Sequence[Place]) -> None:
        self._board.chosen = _checked(places, self.game.n_patches)

    @property
    def revealed(self) -> str | None:
        """The name of the method whose order is on the board."""
        return None if self._reveal.value == _HIDDEN else str(self._reveal.value)

    @revealed.setter
    def revealed(self, name: str | None) -> None:
        if name is not None and name not in self._names:
            expected = f"None or one of {', '.join(self._names)}"
            raise invalid(WHO, "revealed", expected, repr(name), "Correct it")
        self._reveal.value = name or _HIDDEN

    def take_back(self) -> None:
        """Put the patch that was removed last back."""
        if self.chosen:
            self._board.chosen = self.chosen[:-1]
            self._on_change()

    def begin_again(self) -> None:
        """Put all patches back and hide the orders, without calling back."""
        self._board.chosen = ()
        with self._quiet:
            self._reveal.value = _HIDDEN

    def forget(self) -> None:
        """Set the rules back too, without calling back."""
        self.begin_again()
        self._panel.reset(self._first)
        self._patch = self._first.patch

    def paint(self, played: Played) -> None:
        """Show where the game stands."""
        grid, left = played.grid, played.left
        if left.x.ndim <= 4:
            self._board.paint(picture_png(left.x[0], left.low, left.high))
        self._board.fit(grid.tops, grid.lefts, grid.side, played.most)
        self._draw_order(played)
        self._race.show(played)
        self._table.value = _table(played, self.revealed is not None)
        self._words.value = f'<p role="status">{html.escape(in_words(played))}</p>'

    def clear(self) -> None:
        """Show no game."""
        self._board.clear()
        self._race.clear()
        self._table.value = self._words.value = self._order.value = ""

    def _draw_order(self, played: Played) -> None:
        """The order that is revealed, on the board and in words."""
        names = [player.name for player in played.methods]
        if self.revealed not in names:
            self._board.draw()
            self._order.value = ""
            return
        at = names.index(self.revealed)
        order = [played.grid.place(patch) for patch in played.methods[at].order]
        self._board.draw(order, COLOURS[at])
        places = ", ".join(f"({row},\N{NO-BREAK SPACE}{column})" for row, column in order)
        words = html.escape(f"{self.revealed} removes (row, column), from (0, 0): {places}")
        self._order.value = f'<p role="status"><small>{words}</small></p>'

    def _again(self) -> None:
        self.begin_again()
        self._on_change()

    def _ruled(self, game: Game) -> None:
        """Patches of another size are other patches."""
        same = game.patch == self._patch
        self._patch = game.patch
        self._board.chosen = self.chosen[: game.n_patches] if same else ()
        self._on_change()


def in_words(played: Played) -> str:
    """What the user has done, in words."""
    count, f = len(played.mine.order), played.game.of
    what = "f(x)" if f == "logit" else "the probability"
    begin = number(played.score, digits=3)
    if not count:
        return f"{what} = {begin}. Remove up to {played.most} of {played.grid.count} patches."
    now = number(float(played.mine.curve[-1]), largest=played.score)
    lowest = min(played.methods, key=lambda player: player.area(count))
    first = "nobody's" if played.mine.area(count) <= lowest.area(count) else f"{lowest.name}'s"
    return f"{count} of {played.most} removed: {what} = {begin}, now {now}. Smaller area: {first}."


def _table(played: Played, revealed: bool) -> str:
    """Everybody's area and last height, and what they share with the user."""
    count = played.compared
    head = ["", "AUC", f"f after {count}", *(["shared with you"] if revealed else [])]
    colours = (MINE, *COLOURS[: len(played.methods)], CHANCE)
    rows = []
    for player, colour in zip(played.players, colours, strict=False):
        areas = number(player.area(count), largest=played.score)
        after = number(player.after(count), largest=played.score)
        cells = [f'<i style="background: {colour}"></i>{html.escape(player.name)}', areas, after]
        if revealed:
            same = bool(player.order) and player is not played.mine
            cells.append(f"{played.shared(player)} of {len(played.mine.order)}" if same else "")
        rows.append(cells)
    titles = "".join(f'<th scope="col">{title}</th>' for title in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    first = "the first patch" if count == 1 else f"the first {count} patches"
    mean = f"AUC: mean of f while {first} go; lower is better"
    return (
        f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table><small>{mean}</small>"
    )


def _checked(places: Sequence[Place], most: int) -> tuple[Place, ...]:
    """Rows and columns of patches, no one twice; raises ``ValueError`` for anything else."""
    expected = f"at most {most} different (row, column)"
    try:
        given = tuple((index(row), index(column)) for row, column in places)
    except (TypeError, ValueError) as error:
        action = "Try [(0, 0), (0, 1)]"
        raise invalid(WHO, "chosen", expected, repr(places), action) from error
    wrong = [place for place in given if min(place) < 0]
    if wrong or len(set(given)) < len(given) or len(given) > most:
        raise invalid(WHO, "chosen", expected, repr(places), "Correct it")
    return given

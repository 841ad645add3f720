"""The drawing of a network: its boxes, and the lines that pass some of them by."""

import torch

from nni_widgets.engine.anatomy import INPUT, Part
from nni_widgets.widgets.explorers.layers.network import drawn, in_words, lanes, skips


def part(label, *inputs):
    return Part(label, "add", inputs, torch.zeros(1, 2, 3))


CHAIN = (part("a", INPUT), part("b", "a"), part("c", "b"))
BLOCK = (
    part("a", INPUT),
    part("b", "a"),
    part("c", "b"),
    part("d", "c", "a"),
    part("e", "d", INPUT),
)


def test_a_chain_has_no_skip():
    assert skips(CHAIN) == []
    assert drawn(CHAIN).count("V") == 2


def test_skips_lead_past_boxes():
    assert skips(BLOCK) == [(-1, 4), (0, 3)]
    assert drawn(BLOCK).count("nn-skip") == 2


def test_lines_in_one_lane_do_not_meet():
    taken = lanes([(0, 3), (3, 5), (1, 9), (4, 6), (-1, 9)])
    assert taken[0, 3] == taken[3, 5] == 0
    for one, lane in taken.items():
        for other, same in taken.items():
            assert one == other or lane != same or one[1] <= other[0] or other[1] <= one[0]


def test_a_branch_is_not_joined_to_the_box_above():
    branches = (part("a", INPUT), part("b", "a"), part("c", "a"), part("d", "b", "c"))
    assert skips(branches) == [(0, 2), (1, 3)]
    assert drawn(branches).count("V") == drawn(CHAIN).count("V") + 2


def test_the_words_say_what_is_joined():
    assert in_words(CHAIN[1]) == "b · add · 2 × 3"
    assert in_words(BLOCK[3]) == "d · add · 2 × 3 · of c and a"

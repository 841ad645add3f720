"""The charts of the course say in words what they show, and show what they say."""

import base64
import io
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from course import charts

SVG = "{http://www.w3.org/2000/svg}"


def parts(drawing, tag):
    return list(ElementTree.fromstring(drawing.svg).iter(SVG + tag))


def test_curves_end_where_their_words_say():
    drawing = charts.curves([0, 1, 2], {"up": [0, 1, 4], "down": [2, 0, -2]}, "t", "f", level=4)
    assert repr(drawing).splitlines() == [
        "up: from 0.00 to 4.00 (least 0.00, most 4.00)",
        "down: from 2.00 to −2.00 (least −2.00, most 2.00)",
    ]
    lines = [line.get("points").split() for line in parts(drawing, "polyline")]
    up, down = [line for line in lines if len(line) == 3 and not line[0].startswith("62.0,16.0")]
    heights = [float(point.split(",")[1]) for point in (*up, *down)]
    assert heights[0] > heights[1] > heights[2]
    assert heights[3] < heights[4] < heights[5]
    assert heights[4] == heights[0]


def test_two_curves_differ_by_more_than_their_colour():
    drawing = charts.curves([0, 1], {"a": [0, 1], "b": [1, 0]})
    dashes = [line.get("stroke-dasharray") for line in parts(drawing, "polyline")]
    assert len(set(dashes[-4:])) == 2


def test_a_plane_is_white_where_the_function_is_zero_and_tells_its_points():
    drawing = charts.plane(lambda a, b: a + 0 * b, 4, {"here": (3, 0)}, [((0, 0), (1, 1))])
    assert repr(drawing).splitlines() == ["here (3, 0): 3.00", "from −3.88 to 3.88"]
    (image,) = parts(drawing, "image")
    png = base64.b64decode(image.get("href").partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    assert (pixels == pixels[0]).all()
    orange = pixels[0, :, 0] - pixels[0, :, 2]
    assert orange[0] < 0 < orange[-1]
    assert abs(orange[17]) < 10


def test_a_plane_is_the_right_way_up():
    (image,) = parts(charts.plane(lambda a, b: b + 0 * a, 1), "image")
    png = base64.b64decode(image.get("href").partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    assert pixels[0, 5, 0] > pixels[0, 5, 2]


def test_points_are_marked():
    drawing = charts.plane(np.add, 4, {"here": (3, 0)})
    assert len(parts(drawing, "circle")) == 1


def test_an_arrow_without_length_is_not_drawn():
    with_one = charts.plane(np.add, 1, arrows=[((0, 0), (0.5, 0))])
    with_none = charts.plane(np.add, 1, arrows=[((0, 0), (0, 0))])
    assert len(parts(with_one, "polyline")) == 2
    assert not parts(with_none, "polyline")

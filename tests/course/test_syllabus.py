"""The syllabus says what the lessons say, and what is said about lessons is said about all."""

import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

COURSE = Path(__file__).parents[2] / "course"
NUMBERS = [f"{number:02}" for number in range(25)]
ROW = re.compile(
    r"^\| \[(?P<title>(?P<number>\d\d) · [^\]]+)\]\((?P<file>[^)]+)\) "
    r"\| (?P<minutes>\d+) \| (?P<builds_on>[^|]*) \| (?P<teaches>[^|]+) \|$",
    re.MULTILINE,
)
ROWS = [match.groupdict() for match in ROW.finditer((COURSE / "README.md").read_text("utf-8"))]
LESSON = re.compile(r"\b\d\d\b")
THERE = sorted(COURSE.glob("[0-9][0-9]_*.ipynb"))
PAGES = ["README.md", "teaching.md", "notation.md"]


def in_the_table(builds_on):
    """The lessons that are needed, and those in brackets, which help."""
    needed, _, helpful = builds_on.partition("(")
    return set(LESSON.findall(needed)), set(LESSON.findall(helpful))


def in_the_lesson(line):
    """The same, from the line of a lesson that says what one needs."""
    sentences = line.split(". ")
    helpful = {n for each in sentences if "help" in each for n in LESSON.findall(each)}
    return {n for each in sentences for n in LESSON.findall(each)} - helpful, helpful


def section(page, title):
    """The text below a heading, up to the next one of its kind or above."""
    marks = title.split(" ")[0]
    after = (COURSE / page).read_text("utf-8").partition(f"\n{title}\n")[2]
    return re.split(rf"^#{{1,{len(marks)}}} ", after, flags=re.MULTILINE)[0]


def test_the_table_has_every_lesson_once_and_in_order():
    assert [row["number"] for row in ROWS] == NUMBERS


@pytest.mark.parametrize("path", THERE, ids=lambda path: path.stem)
def test_a_row_says_what_its_lesson_says(path):
    [row] = [row for row in ROWS if row["file"] == path.name]
    text = nbformat.read(path, as_version=4).cells[0].source
    minutes, needs = re.search(r"^\*(\d+) minutes\. (.+)\*$", text, re.MULTILINE).groups()
    assert row["title"] == text.splitlines()[0].removeprefix("# ")
    assert row["minutes"] == minutes
    assert in_the_table(row["builds_on"]) == in_the_lesson(needs)


@pytest.mark.parametrize("path", THERE[1:], ids=lambda path: path.stem)
def test_the_minutes_of_the_sections_make_those_of_the_lesson(path):
    first, *cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells)
    sections = re.findall(r"^## .*\((\d+) minutes\)$", text, re.MULTILINE)
    whole = int(re.search(r"^\*(\d+) minutes", first.source, re.MULTILINE)[1])
    assert sum(map(int, sections)) == whole <= 90


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["number"])
def test_a_lesson_builds_on_earlier_ones_and_is_told_in_few_words(row):
    assert set.union(*in_the_table(row["builds_on"])) <= set(NUMBERS[: int(row["number"])])
    assert len(row["teaches"].split()) <= 8
    assert row["file"].startswith(row["number"])


def test_the_guide_has_every_lesson_in_order():
    guide = (COURSE / "teaching.md").read_text("utf-8")
    titles = re.findall(r"^### (\d\d · .+)$", guide, re.MULTILINE)
    assert titles == [row["title"] for row in ROWS]


def test_the_seminar_has_every_lesson_after_those_it_builds_on():
    weeks = re.findall(
        r"^\| \d+ \|(.+?)\|(.*?)\|", section("README.md", "### A seminar of 14 weeks"), re.MULTILINE
    )
    taught = list(dict.fromkeys(n for week in weeks for part in week for n in LESSON.findall(part)))
    assert len(weeks) == 14
    assert sorted(taught) == NUMBERS
    for row in ROWS:
        for earlier in in_the_table(row["builds_on"])[0]:
            assert taught.index(earlier) < taught.index(row["number"])


@pytest.mark.parametrize(
    ("title", "minutes"), [("### A class of 90 minutes", 90), ("### A workshop of one day", 510)]
)
def test_a_timetable_has_no_holes(title, minutes):
    rows = re.findall(r"^\| ([\d:]+)–([\d:]+) \|", section("README.md", title), re.MULTILINE)
    times = [tuple(map(in_minutes, row)) for row in rows]
    assert all(end == start for (_, end), (start, _) in pairwise(times))
    assert times[-1][1] - times[0][0] == minutes


def in_minutes(time):
    hours, _, minutes = time.rpartition(":")
    return 60 * int(hours or 0) + int(minutes)


@pytest.mark.parametrize("page", PAGES)
def test_a_link_leads_somewhere(page):
    lessons = {row["file"] for row in ROWS}
    links = re.findall(r"\]\(([^)#:]+)\)", (COURSE / page).read_text("utf-8"))
    assert [link for link in links if link not in lessons and not (COURSE / link).exists()] == []


def test_the_glossary_is_alphabetical():
    terms = re.findall(r"^\| \*\*(.+?)\*\*", section("notation.md", "## Glossary"), re.MULTILINE)
    assert len(terms) > 100
    assert terms == sorted(terms, key=str.casefold)
    assert len(set(terms)) == len(terms)

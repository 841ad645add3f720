"""A lesson as Voilà shows it to a class: no code, and the explorers alive."""

from playwright.sync_api import expect

from tests.browser.explorers import changes, draw_seven, says
from tests.browser.harness import fresh_page

VOILAS_OWN = ("fontawesome", "mathjax", "shared module")
"""What Voilà asks of the internet, and of extensions that are made for JupyterLab alone."""


def test_a_lesson_without_its_code(lab, chromium):
    with fresh_page(lab, chromium, VOILAS_OWN) as page:
        page.goto(lab.voila_url("course/00_start_here.ipynb"))
        explorer = page.locator(".nn-explorer")
        expect(explorer.locator("img.nn-heatmap").first).to_be_visible(timeout=60_000)
        expect(page.get_by_text("How to run it")).to_be_visible()
        expect(page.locator(".jp-InputArea .jp-Editor")).to_have_count(0)

        changes(page, explorer, lambda: explorer.locator(".nn-clear").click())
        changes(page, explorer, lambda: draw_seven(page, explorer))
        says(explorer, "predicted 7")
        method = explorer.locator(".nn-method select").first
        changes(page, explorer, lambda: method.select_option("Saliency"))
        says(explorer, "Saliency")

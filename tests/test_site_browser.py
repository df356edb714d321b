"""The site in a headless Chromium, with `--site` (`make test-site`, which builds the site first).

It takes the Chromium or Chrome of the system, or the one in the variable CHROMIUM, or else the one
that `playwright install chromium` fetched.
"""

import functools
import io
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from spineseg.utils.paths import REPOSITORY

HTML = REPOSITORY / "site" / "_build" / "html"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
WINDOWS = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module", autouse=True)
def asked_for(request) -> None:
    if not request.config.getoption("--site"):
        pytest.skip("long: `make test-site`")
    pytest.importorskip("playwright")
    assert (HTML / "index.html").is_file(), "build the site first: `make site`"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The site, served from this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(HTML)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as playwright:
        options = ["--enable-unsafe-swiftshader", "--use-angle=swiftshader"]
        options += ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
        browser = playwright.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()


class Watched:
    """A page of the browser that notes errors and requests to other servers."""

    def __init__(self, browser, address: str, window: str = "desktop", **options) -> None:
        width, height = WINDOWS[window]
        self.context = browser.new_context(viewport={"width": width, "height": height}, **options)
        self.page, self.address, self.faults = self.context.new_page(), address, []
        self.page.set_default_timeout(60_000)
        self.page.on("pageerror", lambda error: self.note(f"error: {error}"))
        self.page.on("console", self._console)
        self.page.on("request", self._request)
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._response)

    def note(self, fault: str) -> None:
        self.faults.append(f"{urlsplit(self.page.url).path}: {fault}")

    def open(self, path: str):
        self.page.goto(f"{self.address}/{path}", wait_until="load")
        return self.page

    def _console(self, message) -> None:
        if message.type == "error":
            self.note(f"console: {message.text}")

    def _request(self, request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.note(f"asks {request.url}")

    def _failed(self, request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the test opened the next page
            self.note(f"failed: {request.url}")

    def _response(self, response) -> None:
        if response.status >= 400:
            self.note(f"{response.status} for {response.url}")


@pytest.fixture
def watched(browser, address) -> Iterator[Watched]:
    watched = Watched(browser, address)
    yield watched
    watched.context.close()
    assert watched.faults == []


def pages() -> list[str]:
    return sorted(path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html"))


def pages_with(words: str) -> list[str]:
    return [name for name in pages() if words in (HTML / name).read_text(encoding="utf-8")]


# -- every page ---------------------------------------------------------------------------------


def test_every_page_loads_without_an_error_or_an_outside_request(watched):
    for name in pages():
        page = watched.open(name)
        assert page.title()
        page.wait_for_timeout(700 if "jupyterquiz" in page.content() else 0)


def test_every_page_forbids_outside_requests():
    assert set(pages_with("Content-Security-Policy")) == set(pages())


def test_every_page_fits_a_phone(browser, address):
    watched = Watched(browser, address, "phone")
    wide = []
    for name in pages():
        page = watched.open(name)
        width = page.evaluate("document.scrollingElement.scrollWidth")
        if width > WINDOWS["phone"][0]:
            wide.append((name, width))
    watched.context.close()
    assert wide == []


def test_every_link_leads_to_a_page_and_a_place_on_it(watched):
    found, links = {}, {}
    for name in pages():
        page = watched.open(name)
        found[name] = set(page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)"))
        links[name] = page.evaluate("[...document.querySelectorAll('a[href]')].map(a => a.href)")
    broken = []
    for name, targets in links.items():
        for target in targets:
            if not target.startswith(watched.address):
                continue
            parts = urlsplit(target)
            path = unquote(parts.path).removeprefix("/")
            path = path + "index.html" if path.endswith("/") or not path else path
            missing = not (HTML / path).is_file()
            lost = parts.fragment and path in found and unquote(parts.fragment) not in found[path]
            if missing or lost:
                broken.append((name, target.removeprefix(watched.address)))
    assert broken == []


def test_every_picture_has_a_text(watched):
    without = []
    for name in pages():
        page = watched.open(name)
        texts = page.evaluate(
            "[...document.querySelectorAll('article img:not(.slider-layer)')].map(i => i.alt)"
        )
        without += [(name, text) for text in texts if len(text) < 10 or text.endswith(".png")]
    assert without == []


def test_dark_and_light(browser, address):
    brightness = {}
    for scheme in ("light", "dark"):
        watched = Watched(browser, address, color_scheme=scheme)
        page = watched.open("index.html")
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness[scheme] = sum(int(part) for part in colour.strip("rgb()").split(",")[:3]) / 3
        watched.context.close()
    assert brightness["light"] > 200
    assert brightness["dark"] < 60


# -- what a reader does ---------------------------------------------------------------------------


def test_search_finds(watched):
    page = watched.open("search.html?q=atrous")
    page.wait_for_selector("#search-results li a")
    addresses = page.eval_on_selector_all("#search-results li a", "all => all.map(a => a.href)")
    assert any("/notebooks/" in each for each in addresses)
    page.click("#search-results li a >> nth=0")
    page.wait_for_load_state()
    assert "atrous" in page.inner_text("article").lower()


@pytest.mark.parametrize("name", ["slices", "noise", "epochs"])
def test_a_slider_moves_the_pictures(name, watched):
    page = watched.open("explore.html")
    slider = page.locator(f"#slider-{name}")
    if not slider.count():
        pytest.skip("left out of this build")

    def state() -> tuple:
        sources = slider.locator("img").evaluate_all("all => all.map(i => i.src)")
        return tuple(sources), slider.locator("figcaption").inner_text()

    handle = slider.locator('input[type="range"]')
    handle.focus()
    seen = set()
    for key in ("Home", "ArrowRight", "ArrowRight", "End"):
        page.keyboard.press(key)
        seen.add(state())
        page.wait_for_load_state("networkidle")
        widths = slider.locator("img").evaluate_all("all => all.map(i => i.naturalWidth)")
        assert min(widths) > 50
    assert len({sources for sources, _ in seen}) == 4
    assert len({text for _, text in seen}) == 4


def test_labels_can_be_hidden(watched):
    page = watched.open("explore.html")
    slider = page.locator("#slider-slices")
    labels = slider.locator(".slider-layer >> nth=1")
    assert labels.is_visible()
    slider.locator('input[type="checkbox"]').uncheck()
    assert not labels.is_visible()


def test_the_kernel_leaves_a_small_map(watched):
    page = watched.open("explore.html")
    figure, beside = page.locator("#rates"), page.locator("#rates .beside")
    figure.locator("select").select_option(index=0)
    figure.locator('input[type="range"]').focus()
    page.keyboard.press("Home")
    assert (figure.locator(".tap").count(), beside.count()) == (9, 0)
    figure.locator("select").select_option(index=figure.locator("option").count() - 1)
    page.keyboard.press("End")
    assert beside.count() == 8
    first = figure.locator("figcaption").inner_text()
    assert first.startswith("1 of 9")
    figure.locator("input").focus()
    page.keyboard.press("Home")
    figure.locator(".map").click(position={"x": 2, "y": 2})  # the corner of the map
    assert figure.locator("figcaption").inner_text().startswith("4 of 9")


def test_quizzes_answer(watched):
    with_quiz = pages_with("data-shufflequestions")
    if not with_quiz:
        pytest.skip("the notebooks have no outputs")
    for name in with_quiz:
        page = watched.open(name)
        page.wait_for_selector(".Quiz")
        buttons = page.locator(".Quiz .MCButton")
        fields = page.locator(".Quiz input[type=text]")
        assert buttons.count() or fields.count()
        if buttons.count():
            quiz = page.locator(".Quiz", has=page.locator(".MCButton")).first
            assert quiz.locator(".Feedback").first.inner_text() == ""
            quiz.locator(".MCButton").first.click()
            page.wait_for_timeout(200)
            assert quiz.locator(".Feedback.correct, .Feedback.incorrect").first.inner_text()
        # the page goes on below the quiz, and not within it
        assert page.locator("div[data-shufflequestions] h2").count() == 0


def test_formulas_are_typeset(watched):
    with_formulas = pages_with('class="math')
    if not with_formulas or not (HTML / "_static" / "mathjax").is_dir():
        pytest.skip("no formula, or no MathJax")
    for name in with_formulas:
        page = watched.open(name)
        page.wait_for_selector("mjx-container")
        wanted = page.locator(".math").count()
        assert page.locator(".math mjx-container").count() >= wanted
        assert page.locator("mjx-merror").count() == 0


def test_the_volume_draws(watched):
    page = watched.open("explore.html")
    if not page.locator("#volume-load").count():
        pytest.skip("built without npm")
    page.click("#volume-load")
    page.wait_for_function("document.getElementById('volume-state').textContent.includes('Drag')")
    page.wait_for_timeout(2000)
    picture = page.locator("#volume-canvas").screenshot()
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).reshape(-1, 3).astype(int)
    assert (pixels.max(1) > 40).mean() > 0.05  # not black
    assert (np.ptp(pixels, axis=1) > 60).mean() > 0.005  # labels are in colour
    gray = np.abs(pixels - pixels.mean(1, keepdims=True)).max(1) < 4
    assert len(np.unique(pixels[gray])) > 30  # the image is in gray


def test_the_sliders_also_work_in_a_page_opened_from_disk(browser):
    address = HTML.as_uri()
    watched = Watched(browser, address)
    page = watched.open("explore.html")
    handle = page.locator('#slider-slices input[type="range"]')
    before = page.locator("#slider-slices img").first.get_attribute("src")
    handle.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#slider-slices img").first.get_attribute("src") != before
    watched.context.close()
    assert watched.faults == []


def test_nothing_of_this_machine_is_on_the_pages():
    home, here = str(Path.home()), str(REPOSITORY)
    found = [
        name
        for name in pages()
        if any(f"{place}/" in (HTML / name).read_text(encoding="utf-8") for place in (home, here))
    ]
    assert found == []

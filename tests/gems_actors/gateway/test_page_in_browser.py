"""The page in a browser: draw, watch, reload, look back; safe, accessible, and alive after a restart of the gateway."""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Route, expect

from gems_actors.errors import BackendError
from gems_actors.supervision.supervisor import open_supervisor
from tests.actors.fakes import png
from tests.browser import PHONE, WIDE, BrowserThread, WatchedPage, needs_chromium, open_browser_thread
from tests.gems_actors.app.editors import INVERTING
from tests.gems_actors.gateway.doors import free_port, in_thread, open_drawing_door, open_painted_door
from tests.gems_actors.gateway.test_page import HARD, HOSTILE, LARGE
from tests.gems_actors.gateway.test_process import config_of, pid_of
from tests.gems_actors.gateway.test_tokens import write

pytestmark = [pytest.mark.slow, needs_chromium, pytest.mark.time_limit(400)]

expect.set_options(timeout=120_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserThread]:
    with open_browser_thread() as thread:
        yield thread


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gems-") as name:  # a socket's path must be short
        yield Path(name)


def submit(watched: WatchedPage, url: str, prompt: str) -> None:
    """Fill in the form and send it."""
    watched.page.goto(url)
    watched.page.get_by_label("Prompt").fill(prompt)
    watched.page.get_by_label("Seed").fill("11")
    watched.page.get_by_role("button", name="Draw").click()


def wait_for_end(watched: WatchedPage) -> list[int]:
    """Wait until a job is over, and return the rounds on the page."""
    expect(watched.page.get_by_role("button", name="Download zip")).to_be_visible()
    expect(watched.page.locator("li.chosen")).to_be_visible()
    return [int(card.get_attribute("data-round") or 0) for card in watched.page.locator("li[data-round]").all()]


def see(watched: WatchedPage, selector: str) -> None:
    """Wait until every picture is there, not only its place."""
    pictures = watched.page.locator(selector)
    expect(pictures.first).to_be_visible()
    for picture in pictures.all():
        expect(picture).to_have_js_property("naturalWidth", 384)


_TABLES_FIT = "[...document.querySelectorAll('.panel.scroll')].every((table) => table.scrollWidth <= table.clientWidth)"


def check(watched: WatchedPage, url: str) -> None:
    """Check what must hold in every view."""
    assert watched.violations() == [], watched.page.url
    assert not watched.is_too_wide(), watched.page.url
    assert watched.complaints == [], watched.page.url
    assert [asked for asked in watched.requested if not asked.startswith((url, "blob:"))] == []


async def test_a_prompt_is_drawn_from_the_form_and_can_be_reloaded_and_looked_back_at(
    browser: BrowserThread, tmp_path: Path
) -> None:
    def use(window: Browser, url: str) -> None:
        watched = WatchedPage(window)
        submit(watched, url, HARD)
        expect(watched.page.locator("li[data-round='1'] img").first).to_be_visible()
        watched.page.reload()
        rounds = wait_for_end(watched)
        assert rounds == [*range(1, len(rounds) + 1)]
        assert len(rounds) > 1
        check(watched, url)
        see(watched, "li[data-round] img")
        watched.page.get_by_role("link", name="In depth").click()
        expect(watched.page.get_by_role("heading", name="Cost")).to_be_visible()
        expect(watched.page.get_by_role("region", name="Time line").get_by_role("row")).not_to_have_count(0)
        expect(watched.page.locator("ins").first).to_be_visible()
        trajectory = watched.page.url
        watched.page.get_by_role("link", name="its run").click()
        see(watched, ".wall img")
        for name in ("Pass rate by round", "Pass rate by kind", "Cost"):
            expect(watched.page.get_by_role("region", name=name)).to_be_visible()
        check(watched, url)
        run = watched.page.url
        watched.page.get_by_role("link", name=HARD).click()
        expect(watched.page.get_by_role("heading", name="Cost")).to_be_visible()
        assert watched.page.url == trajectory
        watched.page.get_by_role("link", name="Search").click()
        watched.page.get_by_label("Words of a prompt, or a whole one").fill("five black elephants")
        watched.page.keyboard.press("Enter")
        see(watched, ".wall img")
        expect(watched.page.locator("ul.list").get_by_role("link", name=HARD).first).to_be_visible()
        watched.context.close()
        for size, scheme in ((WIDE, "dark"), (PHONE, "light")):
            other = WatchedPage(window, size=size, scheme="dark" if scheme == "dark" else "light")
            for view in ("/", trajectory.removeprefix(url), "/#/runs", "/#/search?q=five+elephants", "/#/mesh"):
                other.page.goto(url + view)
                expect(other.page.get_by_role("heading", level=1)).to_be_visible()
                expect(other.page.locator("main .panel, main .rounds").first).to_be_visible()
                if view == "/#/mesh":
                    expect(other.page.locator("canvas")).to_be_visible()
                check(other, url)
            other.page.goto(run)
            expect(other.page.get_by_role("region", name="Cost")).to_be_visible()
            check(other, url)
            assert other.page.evaluate(_TABLES_FIT)
            assert other.page.evaluate("document.querySelector('header.top').offsetHeight") < 55  # one line
            other.context.close()

    async with open_drawing_door(tmp_path, *LARGE) as door:
        await in_thread(browser.run, use, door.url)


async def test_texts_of_prompts_are_shown_as_texts_in_every_view(browser: BrowserThread, tmp_path: Path) -> None:
    def use(window: Browser, url: str) -> None:
        watched = WatchedPage(window)
        dialogs: list[str] = []
        watched.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        submit(watched, url, HOSTILE)
        wait_for_end(watched)
        shown = HOSTILE.replace("\u202e", "\ufffd")
        expect(watched.page.get_by_role("heading", level=1)).to_have_text(shown)
        watched.page.get_by_role("link", name="In depth").click()
        expect(watched.page.get_by_role("heading", level=1)).to_have_text(shown)
        watched.page.get_by_role("link", name="Runs").click()
        expect(watched.page.get_by_role("link", name=shown)).to_be_visible()
        assert (dialogs, watched.complaints) == ([], [])
        assert watched.page.locator("main script, main img[src=x]").count() == 0

    async with open_drawing_door(tmp_path, *LARGE) as door:
        await in_thread(browser.run, use, door.url)


async def test_what_could_not_be_read_is_read_again(browser: BrowserThread, tmp_path: Path) -> None:
    def use(window: Browser, url: str) -> None:
        watched = WatchedPage(window)
        lost: list[str] = []

        def lose(route: Route) -> None:
            lost.append(route.request.url)
            if len(lost) <= 3:
                route.abort()
            else:
                route.continue_()

        watched.page.route(re.compile("/v1/gems/jobs/[^/]+/view$"), lose)
        submit(watched, url, HARD)
        rounds = wait_for_end(watched)
        assert rounds == [*range(1, len(rounds) + 1)]
        assert len(lost) > 3

    async with open_drawing_door(tmp_path, *LARGE) as door:
        await in_thread(browser.run, use, door.url)


async def test_a_view_that_is_opened_while_no_gateway_answers_appears_once_one_does(
    browser: BrowserThread, tmp_path: Path
) -> None:
    def use(window: Browser, url: str) -> None:
        watched = WatchedPage(window)
        watched.page.goto(f"{url}/#/mesh")
        expect(watched.page.get_by_role("region", name="Roles")).to_be_visible()
        watched.page.route(re.compile("/v1/"), lambda route: route.abort())
        watched.page.get_by_role("link", name="Runs").click()
        expect(watched.page.get_by_text("Connection lost")).to_be_visible()
        watched.page.unroute_all()
        expect(watched.page.get_by_text("Nothing was drawn yet.")).to_be_visible()
        expect(watched.page.get_by_text("Connection lost")).to_have_count(0)

    async with open_painted_door(tmp_path) as (door, _):
        await in_thread(browser.run, use, door.url)


async def test_what_failed_is_retried_from_the_page_of_its_job(browser: BrowserThread, tmp_path: Path) -> None:
    async with open_painted_door(tmp_path, *LARGE) as (door, painter):
        painter.refused["a bad one"] = BackendError("the server is away")

        def use(window: Browser, url: str) -> None:
            watched = WatchedPage(window)
            submit(watched, url, "a bad one")
            retry = watched.page.get_by_role("button", name="Retry 1 picture")
            expect(retry).to_be_visible()
            expect(watched.page.get_by_text("the server is away")).to_be_visible()
            check(watched, url)
            painter.refused.clear()
            retry.click()
            expect(watched.page.get_by_text("✓ done")).to_be_visible()
            expect(watched.page.get_by_text("the server is away")).to_have_count(0)

        await in_thread(browser.run, use, door.url)
        assert [task.prompt for task in painter.begun] == ["a bad one"] * 2


async def test_an_admin_scales_a_role_and_pauses_a_run_on_the_page_of_the_mesh(
    browser: BrowserThread, folder: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def use(window: Browser) -> None:
        body = {"prompts": [f"{number} black elephants" for number in range(600)], "size": "384x384"}
        run = httpx.post(f"{url}/v1/gems/jobs", json=body).json()["run"]
        watched = WatchedPage(window)
        watched.page.goto(f"{url}/#/mesh")
        page = watched.page
        more, less = (page.get_by_role("button", name=f"One planner {word}") for word in ("more", "less"))
        more.click()
        expect(page.get_by_role("status").get_by_text("planner: 1 → 2 actors.")).to_be_visible()
        expect(page.get_by_role("region", name="Actors").get_by_role("rowheader", name="planner-")).to_have_count(2)
        less.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("status").get_by_text("planner: 2 → 1 actors.")).to_be_visible()
        expect(less).to_be_focused()
        unfinished = page.get_by_role("region", name="Unfinished runs")
        unfinished.get_by_role("button", name="Pause").click()
        expect(unfinished.get_by_text("paused")).to_be_visible()
        check(watched, url)
        page.goto(f"{url}/#/run/{run}")
        expect(page.get_by_text("paused").first).to_be_visible()
        check(watched, url)
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_role("status").get_by_text("Resumed")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("✗ cancelled").first).to_be_visible()
        assert watched.complaints == []

    async with open_supervisor(config_of(folder, f"gateway.address=127.0.0.1:{port}")) as supervisor:
        await supervisor.ready()
        await in_thread(browser.run, use)


async def test_the_page_asks_for_a_token_where_one_is_needed(browser: BrowserThread, tmp_path: Path) -> None:
    tokens = write(tmp_path, '[alice]\ntoken = "0123456789abcdef"\n')

    def use(window: Browser, url: str) -> None:
        watched = WatchedPage(window)
        watched.page.goto(url)
        watched.page.get_by_label("Token").fill("0123456789abcdef")
        watched.page.get_by_role("button", name="Continue").click()
        watched.page.get_by_label("Prompt").fill(HARD)
        watched.page.get_by_role("button", name="Draw").click()
        wait_for_end(watched)
        see(watched, "li[data-round] img")
        refused = "error: Failed to load resource: the server responded with a status of 401"
        assert [text for text in watched.complaints if not text.startswith(refused)] == []

    async with open_drawing_door(tmp_path, f"gateway.tokens={tokens}", *LARGE) as door:
        await in_thread(browser.run, use, door.url)


async def test_a_page_goes_on_when_its_gateway_was_killed_and_nothing_is_lost_or_doubled(
    browser: BrowserThread, folder: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def use(window: Browser, kill: Callable[[], None]) -> None:
        watched = WatchedPage(window)
        submit(watched, url, HARD)
        expect(watched.page.locator("li[data-round='1']")).to_be_visible()
        kill()
        rounds = wait_for_end(watched)
        expect(watched.page.locator("#connection")).to_have_text("")
        assert rounds == [*range(1, len(rounds) + 1)]
        lost = "error: Failed to load resource: net::ERR"
        assert [text for text in watched.complaints if not text.startswith(lost)] == []
        with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:  # it may not be back yet
            jobs = client.get(f"{url}/v1/gems/jobs").json()["data"]
        assert [(job["status"], job["counts"]["done"]) for job in jobs] == [("completed", 1)]

    async with open_supervisor(config_of(folder, f"gateway.address=127.0.0.1:{port}")) as supervisor:
        await supervisor.ready()
        pid = pid_of(supervisor, "gateway")
        await in_thread(browser.run, use, partial(os.kill, pid, signal.SIGKILL))


async def test_a_picture_is_drawn_from_one_that_was_chosen_with_the_keyboard(
    browser: BrowserThread, tmp_path: Path
) -> None:
    (tmp_path / "red.png").write_bytes(png(96, 48, "red"))
    (tmp_path / "blue.png").write_bytes(png(32, 32, "blue"))

    def use(window: Browser, url: str) -> None:
        watched = WatchedPage(window)
        page = watched.page
        page.goto(url)
        page.get_by_label("Prompt").fill("a red dog")
        files = page.get_by_label("Pictures to start from")
        files.set_input_files([tmp_path / "blue.png", tmp_path / "red.png"])
        expect(page.get_by_alt_text("Given picture blue.png")).to_have_js_property("naturalWidth", 32)
        check(watched, url)
        page.get_by_role("button", name="Remove pictures").press("Enter")
        expect(page.locator("ul.given img")).to_have_count(0)
        expect(files).to_be_focused()
        files.set_input_files(tmp_path / "red.png")
        page.get_by_label("Strength").fill("0.5")
        page.get_by_label("Rounds, at most").fill("1")
        page.get_by_role("button", name="Draw").press("Enter")
        wait_for_end(watched)
        expect(page.locator("li[data-given] img")).to_have_js_property("naturalWidth", 96)
        expect(page.locator("li[data-round] img")).to_have_js_property("naturalWidth", 128)
        check(watched, url)
        page.get_by_role("link", name="In depth").click()
        expect(page.get_by_role("heading", name="Given picture")).to_be_visible()
        expect(page.get_by_text("0.5", exact=True)).to_be_visible()
        check(watched, url)

    async with open_drawing_door(tmp_path, INVERTING) as door:
        await in_thread(browser.run, use, door.url)

"""Debian's Chromium, driven by Playwright: what a page asks for, what it complains about, and what axe finds in it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

WIDE, PHONE = (1400, 900), (390, 844)
_CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(_CHROMIUM is None and "CI" not in os.environ, reason="needs Debian's chromium")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start a browser and end it."""
    with sync_playwright() as playwright:
        # the suite may run as root, whom Chromium's sandbox refuses; only our own pages are opened
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class BrowserThread:
    """A browser for several tests, in a thread of its own: Playwright's objects belong to the thread that made them."""

    def __init__(self, thread: ThreadPoolExecutor, browser: Browser) -> None:
        self._thread, self._browser = thread, browser

    def run(self, use: Callable[..., None], *args: object) -> None:
        """Run a function in the thread of the browser, and close whatever it has opened."""
        self._thread.submit(self._run, partial(use, self._browser, *args)).result()

    def _run(self, use: Callable[[], None]) -> None:
        try:
            use()
        finally:
            for context in self._browser.contexts:
                context.close()


@contextmanager
def open_browser_thread() -> Iterator[BrowserThread]:
    """Start a browser in a thread of its own, and end both."""
    with ThreadPoolExecutor(1) as thread, ExitStack() as stack:
        browser = thread.submit(stack.enter_context, open_browser()).result()
        try:
            yield BrowserThread(thread, browser)
        finally:
            thread.submit(stack.close).result()


class WatchedPage:
    """A page, with what it asked for and complained about since it was made."""

    def __init__(
        self, browser: Browser, *, size: tuple[int, int] = WIDE, scheme: Literal["light", "dark"] = "light"
    ) -> None:
        width, height = size
        # axe is run by the test and not by the page, whose policy forbids scripts
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce", bypass_csp=False
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requested.append(request.url))

    def is_too_wide(self) -> bool:
        """Return whether the page scrolls sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))

    def violations(self) -> list[str]:
        """Return what axe-core finds: contrast, texts in place of pictures, names of controls, structure."""
        self.page.evaluate(_axe())
        found = self.page.evaluate("axe.run()")
        return [f"{item['id']}: {item['nodes'][0]['html'][:200]}" for item in found["violations"]]


def _axe() -> str:
    spec = importlib.util.find_spec("axe_playwright_python")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("axe.min.js").read_text()

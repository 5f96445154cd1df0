"""Debian's Chromium, driven by Playwright, and the server's page in its tabs."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, async_playwright, expect

from tests.examples.serving import SECONDS, Server
from tests.torture.means import program

OPTIONS = (
    *("--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # whatever a page or the browser itself may try
)
FAILED = "Failed to load resource: "  # how Chromium begins to say that an answer was none of 2xx, or that none came


@asynccontextmanager
async def chromium(home: Path) -> AsyncIterator[Browser]:
    """Run Chromium without windows; its profile is temporary, and what else it keeps is below ``home``."""
    expect.set_options(timeout=SECONDS * 1000)
    kept = {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home)}
    async with (
        async_playwright() as playwright,
        await playwright.chromium.launch(
            executable_path=program("chromium"),
            args=list(OPTIONS),
            chromium_sandbox=os.geteuid() != 0,  # root's has no sandbox
            env={**os.environ, **kept},
            timeout=SECONDS * 1000,
        ) as browser,
    ):
        yield browser


class Tab:
    """A tab that shows a user's fleet, and what goes on in it that its user does not see.

    Args:
        page: what it is to be.
        url: of the page.
        may_fail: whether requests may fail; Chromium writes an error on the console for each.
    """

    def __init__(self, page: Page, url: str, *, may_fail: bool) -> None:
        self.page = page
        self.url = url
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._may_fail = may_fail
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._listen)
        page.on("request", lambda request: self.requests.append(request.url))

    def _listen(self, said: ConsoleMessage) -> None:
        if said.type == "error" and not (self._may_fail and said.text.startswith(FAILED)):
            self.errors.append(said.text)

    @property
    def state(self) -> Locator:
        """The line that says whether it is connected, and to which worker."""
        return self.page.locator("#state")

    @property
    def problem(self) -> Locator:
        """The line that says what went wrong."""
        return self.page.locator("#problem")

    @property
    def names(self) -> Locator:
        """The names of the pets."""
        return self.page.locator(".pet .name")

    @property
    def active(self) -> Locator:
        """The name of the pet whose button is pressed."""
        return self.page.locator('.pet[aria-pressed="true"] .name')

    def pet(self, name: str) -> Locator:
        """Return the button of a pet."""
        return self.page.locator(".pet", has=self.page.locator(".name").get_by_text(name, exact=True))

    async def add(self, name: str) -> None:
        """Fill in the form that adds a pet, and send it."""
        for label, text in {"Name": name, "Role": "friend", "Manifest": "pets/new.toml"}.items():
            await self.page.get_by_label(label, exact=True).fill(text)
        await self.page.keyboard.press("Enter")

    async def worker(self) -> int:
        """Return the process that serves this tab, once it is connected."""
        await expect(self.state).to_have_text(re.compile("Live"))
        return int((await self.state.inner_text()).rsplit(maxsplit=1)[-1])


async def open_tab(context: BrowserContext, server: Server, user_id: str, *, may_fail: bool = False) -> Tab:
    """Open a tab with the page of a user."""
    tab = Tab(await context.new_page(), f"{server.url}/?user={quote(user_id, safe='')}", may_fail=may_fail)
    await tab.page.goto(tab.url)
    return tab


async def serve_by_another(tab: Tab, other: Tab) -> None:
    """Reload a tab until another worker serves it than the other one: which it is, is the operating system's choice."""
    while await tab.worker() == await other.worker():
        await tab.page.reload()

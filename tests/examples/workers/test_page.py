"""The server's page in a real browser, from four real workers."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import signal
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, BrowserContext, Dialog, Route, expect

from petfleet import FleetStore, PetFleet, fleet_path
from tests.conftest import pet, wait_until
from tests.examples.browser import Tab, chromium, open_tab, serve_by_another
from tests.examples.serving import REPOSITORY, SECONDS, Server
from tests.support.children import names, program
from tests.torture.means import need

Visit = Callable[..., Coroutine[None, None, Tab]]
HOSTILE = """<img src=x onerror="document.title='owned'"> & "quoted" </bdi>"""


@pytest.fixture(scope="module", autouse=True)
def _browser_is_there() -> None:
    need("chromium")


@pytest.fixture(scope="module")
async def browser(server: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """The browser."""
    async with chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """What the tabs of a test share: connections, and a clock and a language."""
    async with await browser.new_context(locale="en-GB", timezone_id="UTC") as context:
        yield context


@pytest.fixture
async def visit(context: BrowserContext, server: Server) -> AsyncIterator[Visit]:
    """How to open a tab; none of them may ask another host or write an error on its console."""
    tabs = []

    async def visit(user_id: str, *, may_fail: bool = False) -> Tab:
        tabs.append(await open_tab(context, server, user_id, may_fail=may_fail))
        return tabs[-1]

    yield visit
    assert [error for tab in tabs for error in tab.errors] == []
    hosts = {urlsplit(url).netloc for tab in tabs for url in tab.requests if not url.startswith("data:")}
    assert hosts == {urlsplit(server.url).netloc}


async def furnish(store: FleetStore, user_id: str, *pets: str) -> None:
    """Give a user some pets; the first one is active."""
    for name in pets:
        await store.add(user_id, pet(name))


async def test_tabs_of_different_workers_follow_each_other(visit: Visit, store: FleetStore) -> None:
    """A click in one tab is shown by the other, and the other way round; so is a change by a program."""
    await furnish(store, "both", "mira", "rex", "pip")
    left, right = await visit("both"), await visit("both")
    await serve_by_another(right, left)
    await left.pet("rex").click()
    for tab in (left, right):
        await expect(tab.active).to_have_text(["rex"])
    await right.pet("pip").click()
    for tab in (left, right):
        await expect(tab.active).to_have_text(["pip"])
    await store.add("both", pet("tom"))
    await store.switch("both", "mira")
    await store.remove("both", "rex")
    for tab in (left, right):
        await expect(tab.names).to_have_text(["mira", "pip", "tom"])
        await expect(tab.active).to_have_text(["mira"])
    assert await left.worker() != await right.worker()
    assert (await store.load("both")).active_pet == "mira"


async def test_a_tab_survives_its_worker(visit: Visit, store: FleetStore, server: Server) -> None:
    """The tab of a killed worker says so, comes back through another one, and shows what happened meanwhile."""
    await furnish(store, "killed", "mira", "rex")
    tab = await visit("killed", may_fail=True)
    killed = await tab.worker()
    await tab.page.route("**/events", lambda route: route.abort())  # it may not come back before it was seen to be away
    os.kill(killed, signal.SIGKILL)
    await expect(tab.state).to_have_text("Not connected, trying again")
    await store.switch("killed", "rex")
    await store.add("killed", pet("pip"))
    await tab.page.unroute("**/events")
    await expect(tab.active).to_have_text(["rex"])
    await expect(tab.names).to_have_text(["mira", "rex", "pip"])
    assert await tab.worker() != killed
    wait_until(lambda: len(server.worker_pids() - {killed}) == 4, SECONDS)


async def test_a_stream_that_is_refused_is_asked_for_again(visit: Visit, store: FleetStore) -> None:
    """After an answer other than 200, with which a browser gives up, the page asks again; what it hears late is old."""
    await furnish(store, "refused", "mira")
    tab = await visit("refused", may_fail=True)
    await tab.worker()
    is_live = asyncio.Event()

    async def say_late_what_was_wrong(route: Route) -> None:
        await is_live.wait()
        await route.fulfill(status=503)

    await tab.page.route("**/events", lambda route: route.fulfill(status=503))
    await tab.page.route("**/fleet", say_late_what_was_wrong)
    async with tab.page.expect_response("**/events"):
        await tab.page.reload()
    await tab.page.unroute("**/events")
    await expect(tab.active).to_have_text(["mira"])
    await tab.worker()
    async with tab.page.expect_request_finished(lambda request: request.url.endswith("/fleet")):
        is_live.set()
    await tab.page.evaluate("new Promise(requestIdleCallback)")  # it has heard
    await tab.worker()


async def test_the_page_says_why_it_is_not_connected(visit: Visit) -> None:
    """The server's problem is shown where the stream cannot begin."""
    tab = await visit("no::name", may_fail=True)
    await expect(tab.state).to_have_text(re.compile("^Not connected, trying again: 422 "))


async def test_hostile_texts_stay_text(visit: Visit, store: FleetStore) -> None:
    """Names, roles and user ids that are HTML are shown letter by letter, and times beyond all calendars as well."""
    user_id = "<img src=x onerror=alert(1)>"
    await store.add(user_id, pet(HOSTILE, 2**63 - 1, role=f"role {HOSTILE}"))
    await store.add(user_id, pet("two\n  lines", -(2**63)))
    tab = await visit(user_id, may_fail=True)
    await expect(tab.names).to_have_text([HOSTILE, re.compile("^two\n  lines$")], use_inner_text=True)
    await expect(tab.page.locator(".role").first).to_have_text(f"role {HOSTILE}")
    await expect(tab.page.locator("#active")).to_have_text(HOSTILE)
    await expect(tab.page.get_by_role("heading")).to_have_text(user_id)
    await expect(tab.page.locator(".time").first).to_have_text(re.compile("^in .* years$"))
    await expect(tab.page.locator(".time").first).to_have_attribute("title", re.compile("^9223372.* s$"))
    await expect(tab.page).to_have_title(f"{user_id} - petfleet")
    await tab.add(HOSTILE)
    await expect(tab.problem).to_contain_text(HOSTILE)
    assert await tab.page.locator("img").count() == 0


@pytest.mark.parametrize("name", ["50% of 1+1? #", "%2F", "a/..", "ü \u202e ☂ &amp;"])
async def test_names_arrive_whole(name: str, visit: Visit, store: FleetStore) -> None:
    """Whatever is in a user id or a pet's name, the page adds, switches to and releases that pet and no other."""
    user_id = f"names {name.replace('/', '-')}"
    await furnish(store, user_id, "mira")
    tab = await visit(user_id)
    await expect(tab.active).to_have_text(["mira"])
    await tab.add(name)
    await expect(tab.page.get_by_label("Name")).to_be_empty()
    await expect(tab.page.get_by_label("Name")).to_be_focused()
    await tab.pet(name).click()
    await expect(tab.active).to_have_text([name])
    assert (await store.load(user_id)).active_pet == name
    tab.page.once("dialog", lambda dialog: dialog.accept())
    await tab.page.get_by_role("button", name=f"Release {name}", exact=True).click()
    await expect(tab.active).to_have_text(["mira"])
    assert names(await store.load(user_id)) == ["mira"]


async def test_a_pet_stays_unless_its_release_is_confirmed(visit: Visit, store: FleetStore) -> None:
    """The page asks before it releases a pet, and does nothing after a no."""
    await furnish(store, "kept", HOSTILE)
    tab = await visit("kept")
    asked = []

    async def refuse(dialog: Dialog) -> None:
        asked.append(dialog.message)
        await dialog.dismiss()

    tab.page.once("dialog", refuse)
    await tab.page.get_by_role("button", name="Release").click()
    await store.add("kept", pet("mira"))
    await expect(tab.names).to_have_text([HOSTILE, "mira"])
    assert asked == [f"Release {HOSTILE}?"]
    assert not [url for url in tab.requests if "/pets/" in url]


async def test_problems_are_shown_until_something_succeeds(visit: Visit, store: FleetStore) -> None:
    """409, 404, a page of some proxy, a broken connection: each is one line, which goes away with the next success."""
    await furnish(store, "wrong", "mira", "rex")
    tab = await visit("wrong", may_fail=True)
    await expect(tab.active).to_have_text(["mira"])
    await expect(tab.problem).to_be_hidden()
    await tab.add("rex")
    await expect(tab.problem).to_have_text(re.compile("^409 .*rex"))
    await tab.pet("rex").click()
    await expect(tab.problem).to_be_empty()

    another = partial(Route.continue_, post_data='{"pet_name": "gone"}')
    await tab.page.route("**/active", another)  # the stream takes a pet from the page before anyone could click on it
    await tab.pet("mira").click()
    await expect(tab.problem).to_have_text(re.compile("^404 .*gone"))
    await tab.page.unroute("**/active")
    await tab.pet("mira").click()
    await expect(tab.problem).to_be_empty()
    await expect(tab.active).to_have_text(["mira"])

    await tab.page.route("**/active", lambda route: route.fulfill(status=502, body="<h1>Not today</h1>"))
    await tab.pet("rex").click()
    await expect(tab.problem).to_have_text("502 Bad Gateway")

    await tab.page.route("**/active", lambda route: route.abort())
    await tab.pet("rex").click()
    await expect(tab.problem).to_have_text("The connection broke: the list will show whether it was done.")
    await expect(tab.active).to_have_text(["mira"])


async def test_a_busy_fleet_is_said_to_be_busy(visit: Visit, store: FleetStore, root: Path) -> None:
    """While another program holds the lock, a click ends in 503; after that it works."""
    await furnish(store, "busy", "mira", "rex")
    tab = await visit("busy", may_fail=True)
    await expect(tab.active).to_have_text(["mira"])
    with program("hold", f"{fleet_path('busy', root)}.lock") as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        await tab.pet("rex").click()
        await expect(tab.problem).to_have_text(re.compile("^503 "))
        await expect(tab.problem).not_to_have_text(re.compile(r"(\w+) \(\1\)"))  # a title that is the detail too
        await expect(tab.active).to_have_text(["mira"])
    await tab.pet("rex").click()
    await expect(tab.active).to_have_text(["rex"])
    await expect(tab.problem).to_be_empty()


async def test_the_page_shows_what_happened_and_not_what_was_answered(visit: Visit, store: FleetStore) -> None:
    """A 200 alone presses no button: the stream does."""
    await furnish(store, "truth", "mira", "rex")
    tab = await visit("truth")
    await expect(tab.active).to_have_text(["mira"])
    await tab.page.evaluate(
        """() => new MutationObserver((changes) => changes.forEach(({ target }) => {
             if (target.ariaPressed === "true") document.title += ` ${target.innerText}`;
           })).observe(document, { subtree: true, attributeFilter: ["aria-pressed"] })"""
    )
    await tab.page.route("**/active", lambda route: route.fulfill(json={"active_pet": "rex"}))
    async with tab.page.expect_request_finished(lambda request: request.url.endswith("/active")):
        await tab.pet("rex").click()
    await store.add("truth", pet("pip"))
    await expect(tab.names).to_have_text(["mira", "rex", "pip"])
    assert "rex" not in await tab.page.title()
    await tab.page.unroute("**/active")
    await tab.pet("rex").click()
    await expect(tab.page).to_have_title(re.compile("rex"))  # or nothing would have been noticed


async def test_the_keyboard_is_enough(visit: Visit, store: FleetStore) -> None:
    """Tab reaches a pet, the space bar switches to it, and the focus stays on it while others come and go."""
    await furnish(store, "keys", "mira", "rex", "pip")
    tab = await visit("keys")
    await expect(tab.active).to_have_text(["mira"])
    for _ in range(3):  # mira, her release, rex
        await tab.page.keyboard.press("Tab")
    await tab.page.keyboard.press("Space")
    await expect(tab.active).to_have_text(["rex"])
    await store.remove("keys", "mira")
    await store.add("keys", pet("tom"))
    await expect(tab.names).to_have_text(["rex", "pip", "tom"])
    await expect(tab.pet("rex")).to_be_focused()


async def test_assistive_programs_find_their_way(visit: Visit, store: FleetStore) -> None:
    """Buttons, pressed or not, labelled inputs, and lines that are read out when they change."""
    await furnish(store, "heard", "mira", "rex")
    tab = await visit("heard")
    worker = await tab.worker()
    await expect(tab.page.locator("body")).to_match_aria_snapshot(f"""
- main:
  - heading "heard" [level=1]
  - status: Live from worker {worker}
  - status: "2 pets. Active: mira"
  - alert
  - list "Pets":
    - listitem:
      - button /mira friend/ [pressed]
      - button "Release mira"
    - listitem:
      - button /rex friend/
      - button "Release rex"
  - form "Add a pet":
    - textbox "Name"
    - textbox "Role"
    - textbox "Manifest"
    - button "Add"
""")
    await expect(tab.pet("rex")).to_have_attribute("aria-pressed", "false")


async def test_a_name_that_is_there_twice_is_pressed_once(visit: Visit, store: FleetStore) -> None:
    """A file of the old program may hold a name twice: both are shown, and the first one is the active one."""
    twice = PetFleet("twice", (pet("mira"), pet("mira", role="guard"), pet("rex")), "mira")
    await store.save(twice)
    tab = await visit("twice")
    await expect(tab.names).to_have_text(["mira", "mira", "rex"])
    await expect(tab.active).to_have_count(1)
    await expect(tab.pet("mira").first).to_have_attribute("aria-pressed", "true")
    await store.switch("twice", "rex")
    await expect(tab.active).to_have_text(["rex"])
    await expect(tab.names).to_have_text(["mira", "mira", "rex"])


async def test_times_go_on(visit: Visit, store: FleetStore, context: BrowserContext) -> None:
    """How long ago a pet was active is told as time passes, with no event."""
    await context.clock.set_fixed_time(1_700_000_030)
    await furnish(store, "times", "mira")
    tab = await visit("times")
    time = tab.page.locator(".time")
    await expect(time).to_have_text("30 seconds ago")
    await expect(time).to_have_attribute("title", re.compile("14/11/2023, 22:13:20"))
    await context.clock.set_fixed_time(1_700_007_230)
    await expect(time).to_have_text("2 hours ago")


async def test_narrow_wide_light_and_dark(visit: Visit, store: FleetStore) -> None:
    """The page fits a small telephone, long names included, and its colours follow the system's."""
    await furnish(store, "looks", "mira", "long" * 60)
    tab = await visit("looks")
    await expect(tab.names).to_have_count(2)
    grounds = []
    for scheme in ("light", "dark"):
        await tab.page.emulate_media(color_scheme=scheme)
        grounds.append(await tab.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(246, 245, 242)", "rgb(27, 26, 24)"]
    for width in (320, 1280):
        await tab.page.set_viewport_size({"width": width, "height": 640})
        assert await tab.page.evaluate("document.documentElement.scrollWidth") == width


async def test_the_readmes_picture_can_be_taken(
    browser: Browser, server: Server, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows two tabs, sharp and small enough for a README."""
    monkeypatch.syspath_prepend(REPOSITORY / "docs")
    screenshot = importlib.import_module("screenshot")
    await screenshot.furnish(root)
    await screenshot.take(browser, server, tmp_path / "server.png")
    data = (tmp_path / "server.png").read_bytes()
    kind, width, height = struct.unpack("!8s8x2I", data[:24])
    assert kind == b"\x89PNG\r\n\x1a\n"
    assert 1600 < width < 2000
    assert 600 < height < 1000
    assert 20_000 < len(data) < 200_000


async def test_the_page_without_a_user_asks_for_one(visit: Visit, store: FleetStore) -> None:
    """It shows nothing but a form, which leads to that user's fleet; an unknown user's is empty."""
    tab = await visit("")
    await tab.page.get_by_label("User").fill("någon & co")
    await tab.page.get_by_role("button").click()
    await expect(tab.page.get_by_role("heading")).to_have_text("någon & co")
    await expect(tab.page.locator("#count")).to_have_text("0 pets. Active:")
    await tab.add("mira")
    await expect(tab.active).to_have_text(["mira"])
    assert names(await store.load("någon & co")) == ["mira"]

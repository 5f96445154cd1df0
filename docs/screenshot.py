"""Takes docs/server.png: one user's fleet in two tabs, which different workers serve, after a click in one of them.

nox -s pictures, or python docs/screenshot.py [FILE]
"""

from __future__ import annotations

import asyncio
import base64
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # the server and the browser are started as the tests do it

from playwright.async_api import Browser, expect

from petfleet import FleetStore, PetHandle
from tests.examples.browser import Tab, chromium, open_tab, serve_by_another
from tests.examples.serving import Server, serving

PICTURE = Path(__file__).parent / "server.png"
USER = "user-alpha"
PETS = [("mira", "friend", 300), ("rex", "guard", 7200), ("ovid", "storyteller", 200_000)]
WIDTH = 430  # of a tab: two of them are as wide as the README
FRAME = """<style>
body {{ margin: 0; padding: 10px; display: inline-flex; gap: 16px; background: #fff; }}
figure {{ margin: 0; border: 1px solid #c9c4b8; border-radius: 8px; overflow: hidden; }}
figcaption {{ padding: 7px 12px; background: #e4e0d7; color: #55514a; font: 13px system-ui, sans-serif; }}
img {{ display: block; }}
</style>{tabs}"""
WINDOW = '<figure><figcaption>{url}</figcaption><img width="{width}" src="data:image/png;base64,{picture}"></figure>'


async def furnish(root: Path) -> None:
    """Make the fleet."""
    now = int(time.time())
    async with FleetStore(root) as store:
        for name, role, ago in PETS:
            await store.add(USER, PetHandle(name, role, f"pets/{name}.toml", now - ago))


async def take(browser: Browser, server: Server, picture: Path) -> None:
    """Take the picture of two tabs."""
    context = await browser.new_context(viewport={"width": WIDTH, "height": 100}, device_scale_factor=2)
    left, right = await open_tab(context, server, USER), await open_tab(context, server, USER)
    await serve_by_another(right, left)
    await left.pet("ovid").click()
    await left.page.mouse.move(0, 0)
    page = await browser.new_page(device_scale_factor=2)
    await page.set_content(FRAME.format(tabs="".join([await window(tab) for tab in (left, right)])))
    await page.locator("body").screenshot(path=picture)


async def window(tab: Tab) -> str:
    """Return a tab as a window in HTML, once it shows the click."""
    await expect(tab.active).to_have_text("ovid")
    shown = base64.b64encode(await tab.page.screenshot(full_page=True)).decode()
    return WINDOW.format(url=f"127.0.0.1:8000/?user={USER}", width=WIDTH, picture=shown)


async def main(picture: Path = PICTURE) -> None:
    """Start all that it takes, and take it."""
    with tempfile.TemporaryDirectory(prefix="petfleet-screenshot-") as directory:
        root = Path(directory, "fleets")
        await furnish(root)
        with serving(root) as server:
            async with chromium(Path(directory)) as browser:
                await take(browser, server, picture)
    print(picture)


if __name__ == "__main__":
    asyncio.run(main(*map(Path, sys.argv[1:])))

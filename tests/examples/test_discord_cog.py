"""The Discord cog in the real client, which talks to a stand-in for Discord over HTTP and a websocket."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import discord
import pytest
import yarl
from filelock import FileLock

import discord_cog
from companions import Companions
from petfleet import FleetStore, PetFleet, fleet_path
from tests.conftest import pet, wait_until
from tests.examples.discord_service import TOKEN, Discord, discord_service, person, pretend

LIST = ["petfleet:choose:mira", "petfleet:choose:rex"]


@pytest.fixture
def anyio_backend() -> str:
    """The client library knows asyncio only."""
    return "asyncio"


def set_lock_timeout(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set the lock_timeout of the bots that start from now on."""
    defaults = Companions.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "lock_timeout", seconds)


@pytest.fixture(autouse=True)
def no_deadline_ends_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is."""
    set_lock_timeout(monkeypatch, 3600)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the bot keeps everything."""
    monkeypatch.setenv("PETFLEET_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Discord]:
    """A Discord that the client takes for the real one."""
    async with discord_service() as service:
        base, gateway = pretend(service.url)
        monkeypatch.setattr(discord.http.Route, "BASE", base)
        monkeypatch.setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(gateway))
        yield service


@asynccontextmanager
async def running(service: Discord) -> AsyncIterator[discord_cog.Bot]:
    """Run the bot, once Discord knows it, and stop it afterwards."""
    before = service.identified
    async with discord_cog.Bot() as bot:
        running = asyncio.create_task(bot.start(TOKEN))
        ready = asyncio.create_task(service.until(lambda: service.identified > before))
        await asyncio.wait([running, ready], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running  # it failed
        yield bot
    await running


def says(answers: list[dict[str, Any]]) -> str:
    """Return what a user got who gave a command: at once that it takes a moment, then this, which nobody else sees."""
    first, answer = answers
    assert first == {"type": 5, "data": {"flags": 64}}
    assert answer["flags"] == 64
    return str(answer["content"])


def buttons(answer: dict[str, Any]) -> dict[str, int]:
    """Return the buttons of a message, and the style of each: 3 for the active pet."""
    return {button["custom_id"]: button["style"] for row in answer["components"] for button in row["components"]}


async def hears(service: Discord, user: int, text: str, **options: Any) -> str:
    """Write to the bot in private, and return what it answers."""
    answers = service.sent[f"9{user}"]
    before = len(answers)
    await service.write(user, text, **options)
    await service.until(lambda: len(answers) > before)
    assert answers[before]["allowed_mentions"] == {"parse": []}
    return str(answers[before]["content"])


async def test_a_users_day(service: Discord, data: Path) -> None:
    """Adopting, listing, choosing, talking, releasing: each answer tells what is on disk."""
    store = FleetStore(data / "fleets")
    async with running(service):
        assert "Adopt one" in await hears(service, 7, "hello?")
        assert says(await service.command(7, "pets")) == "You have no pets yet. /adopt NAME ROLE"
        said = says(await service.command(7, "adopt", name="mira", role="@everyone's *friend*"))
        assert said == "mira is yours now. Your active pet is mira."
        assert says(await service.command(7, "adopt", name="rex", role="guard")).endswith("Your active pet is mira.")
        assert "already" in says(await service.command(7, "adopt", name="rex", role="cook"))
        assert "one word" in says(await service.command(7, "adopt", name="../x", role="cook"))
        assert [pet.pet_name for pet in (await store.load("7")).pets] == ["mira", "rex"]

        answers = await service.command(7, "pets")
        assert says(answers) == "Your pets:\n▶ mira, @everyone's \\*friend\\*\n• rex, guard"
        assert answers[1]["allowed_mentions"] == {"parse": []}
        assert buttons(answers[1]) == dict(zip(LIST, (3, 2), strict=True))
        first, edited = await service.press(7, LIST[1])
        assert first["type"] == 6
        assert edited["content"].endswith("▶ rex, guard")
        assert buttons(edited) == dict(zip(LIST, (2, 3), strict=True))
        assert (await store.load("7")).active_pet == "rex"

        assert (await hears(service, 7, "good morning")).startswith("rex, your guard")
        assert "tea" in await hears(service, 7, "remember I like tea")
        assert "good morning" in await hears(service, 7, "and now?")
        assert await service.typing(7, "release", "name", "R") == ["rex"]
        assert await service.typing(7, "release", "name", "") == ["mira", "rex"]
        assert says(await service.command(7, "release", name="rex")) == "rex is free. Your active pet is mira."
        assert says(await service.command(7, "release", name="rex")) == "You have no pet called rex."
        assert "tea" in await hears(service, 7, "who are you?")
        assert (await store.load("7")).get("rex") is None


async def test_buttons_outlive_the_bot(service: Discord, data: Path) -> None:
    """A list from before a restart still switches; a pet that has gone since is told."""
    async with running(service):
        for name in ("mira", "rex"):
            await service.command(7, "adopt", name=name, role="friend")
    async with running(service):
        assert (await service.press(7, LIST[1]))[1]["content"].endswith("▶ rex, friend")
        await service.command(7, "release", name="mira")
        first, told = await service.press(7, LIST[0])
        assert (first["type"], told["flags"], told["content"]) == (6, 64, "You have no pet called mira any more.")
    assert (await FleetStore(data / "fleets").load("7")).active_pet == "rex"


async def test_a_button_is_for_whoever_presses_it(service: Discord, data: Path) -> None:
    """Another user who gets at a list chooses among the own pets, and changes nothing of the list's owner."""
    async with running(service):
        for user in (7, 8):
            for name in ("mira", "rex"):
                await service.command(user, "adopt", name=name, role=f"{user}'s")
        await service.command(7, "adopt", name="owned", role="7's")
        assert (await service.press(8, LIST[1]))[1]["content"] == "Your pets:\n• mira, 8's\n▶ rex, 8's"
        told = (await service.press(8, "petfleet:choose:owned"))[1]
        assert (told["flags"], told["content"]) == (64, "You have no pet called owned any more.")
    assert (await FleetStore(data / "fleets").load("7")).active_pet == "mira"


async def test_a_held_lock_and_a_broken_file(
    service: Discord, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Commands, buttons and messages tell the user that the pets are busy, or that something went wrong."""
    set_lock_timeout(monkeypatch, 2)
    paths = [fleet_path(f"{user}", data / "fleets") for user in (7, 8, 9)]
    async with running(service):
        for user in (7, 8, 9):
            await service.command(user, "adopt", name="mira", role="friend")
        with ExitStack() as held:
            for path in paths:
                held.enter_context(FileLock(f"{path}.lock"))
            told = asyncio.gather(service.command(7, "release", name="mira"), service.press(8, LIST[0]))
            heard = asyncio.create_task(hears(service, 9, "hello"))
            assert await service.typing(7, "release", "name", "") == ["mira"]  # who types waits for nobody
            busy = "Your pets are busy just now. Please try again in a moment."
            assert [await heard, *(answers[1]["content"] for answers in await told)] == [busy] * 3
        paths[0].write_text("no TOML")
        assert "something went wrong" in says(await service.command(7, "pets"))
        assert "something went wrong" in await hears(service, 7, "hello")
    assert "FleetFormatError" in caplog.text


async def test_a_check_of_the_bots_own(service: Discord, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a check refuses before the pets are asked is answered, too."""
    async with running(service) as bot:
        adopt = bot.tree.get_command("adopt")
        assert isinstance(adopt, discord.app_commands.Command)
        checks: list[Any] = [lambda interaction: False]
        monkeypatch.setattr(adopt, "checks", checks)  # not add_check: the list is that of all cogs of the class
        token = await service.begin(7, "adopt", name="mira", role="friend")
        (answer,) = service.answers[token]
        assert (answer["type"], answer["data"]["flags"]) == (4, 64)
        assert "something went wrong" in answer["data"]["content"]


async def test_what_discord_would_refuse(service: Discord, data: Path) -> None:
    """Long answers are cut, and fleets that other programs made are listed with the buttons that are possible."""
    long, odd = "n" * 101, "two\nlines"
    pets = [pet(name) for name in (long, odd, "twin", "twin", *(f"pet{number}" for number in range(30)))]
    await FleetStore(data / "fleets").save(PetFleet("8", pets, "twin"))
    async with running(service):
        await service.command(7, "adopt", name="mira", role="*" * 100)
        for number in range(19):
            await service.command(7, "adopt", name=f"{'x' * 30}{number}", role="*" * 100)
        assert len(says(await service.command(7, "pets"))) == 2000
        assert len(await hears(service, 7, "remember " + "text" * 497)) == 2000

        _, answer = await service.command(8, "pets")
        assert f"{long}, friend" in answer["content"]
        assert list(buttons(answer))[:3] == [f"petfleet:choose:{name}" for name in (odd, "twin", "pet0")]
        assert len(buttons(answer)) == 25
        assert "▶ two" in (await service.press(8, f"petfleet:choose:{odd}"))[1]["content"]
        assert len(await service.typing(8, "release", "name", "")) == 25


async def test_what_a_user_sends_is_done_in_its_order(service: Discord, data: Path) -> None:
    """Whatever waits; and a bot that is closed answers first what was begun."""
    async with running(service) as bot:
        await service.command(7, "adopt", name="mira", role="friend")
        with FileLock(f"{fleet_path('7', data / 'fleets')}.lock"):
            # The messages come before these two commands are acknowledged, the first of which needs no lock.
            sent = [
                asyncio.create_task(service.command(7, "adopt", name=name, role="guard")) for name in ("a b", "rex")
            ]
            await asyncio.sleep(0)
            for text in ("one", "two", "three"):
                await service.write(7, text)
            sent.append(asyncio.create_task(service.command(7, "release", name="mira")))
            # All are acknowledged, and the first is done; then one more request, so that its task has ended, too.
            await service.until(lambda: sum(map(len, service.answers.values())) == 2 + 2 + 1 + 1)
            await service.typing(7, "release", "name", "")
            closing = asyncio.create_task(bot.close())
            while bot.get_cog("Pets"):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
        refused, adopted, released = [says(answers) for answers in await asyncio.gather(*sent)]
        await closing
    assert "one word" in refused
    assert adopted == "rex is yours now. Your active pet is mira."
    assert released == "mira is free. Your active pet is rex."
    assert [message["content"] for message in service.sent["97"]] == [
        "mira, your friend: that is message 1 between us.",
        "mira, your friend: that is message 2 between us. Before that you said: one",
        "mira, your friend: that is message 3 between us. Before that you said: two",
    ]


async def test_what_is_not_for_the_pets(service: Discord, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Messages in guilds and of bots are not answered; what comes twice is remembered once; no text is a command."""
    async with running(service) as bot:
        await service.command(7, "adopt", name="mira", role="friend")
        await service.write(7, "to all", guild_id="77")
        await service.write(7, "by a bot", author=person(7) | {"bot": True})
        await hears(service, 7, "only once", id="1234")
        await hears(service, 7, "only once", id="1234")
        assert await hears(service, 7, "") == "Pets understand text only."  # a picture
        await service.write(7, "pinned", type=6)
        await hears(service, 8, "<@42> help")
        cog = bot.get_cog("Pets")
        assert isinstance(cog, discord_cog.Pets)
        assert await cog.companions.recall("pet::7::mira") == ["only once"]
    assert (len(service.sent["97"]), len(service.sent["98"])) == (3, 1)
    assert caplog.messages == []  # the client logs and drops a message that the stand-in made badly


async def test_fifty_users_at_once(service: Discord, data: Path) -> None:
    """Everyone gets the own pets and nobody else's."""

    async def live(user: int) -> list[str]:
        me = f"u{user}"
        said = [says(await service.command(user, "adopt", name=f"{me}-{name}", role=f"{me}-role")) for name in "ab"]
        said.append((await service.press(user, f"petfleet:choose:{me}-b"))[1]["content"])
        said.append(await hears(service, user, f"{me}-text"))
        said.append(await hears(service, user, f"{me}-more"))
        said.append(says(await service.command(user, "release", name=f"{me}-a")))
        return said

    async with running(service):
        lives = await asyncio.gather(*(live(100 + number) for number in range(50)))
    store = FleetStore(data / "fleets")
    for number, said in enumerate(lives):
        me = f"u{100 + number}"
        assert set(re.findall(r"\bu\d+", " ".join(said))) == {me}
        fleet = await store.peek(str(100 + number))
        assert ([pet.pet_name for pet in fleet.pets], fleet.active_pet) == ([f"{me}-b"], f"{me}-b")


@asynccontextmanager
async def process(service: Discord, data: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the bot as a process until it is connected, and end it afterwards if it has not ended."""
    before = service.identified
    bot = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'exec "$0" -m tests.examples.discord_service "$1" 2>> "$2"'),
        *(sys.executable, service.url, data.with_suffix(".log")),
        env={**os.environ, "DISCORD_TOKEN": TOKEN, "PETFLEET_DATA": str(data)},
    )
    try:
        await service.until(lambda: service.identified > before)
        yield bot
    finally:
        if bot.returncode is None:
            bot.kill()
        await bot.wait()


async def test_a_killed_bot_has_lost_nothing(service: Discord, data: Path) -> None:
    """The process that is started in its place knows the pets, and what they were told."""
    async with process(service, data) as bot:
        await service.command(7, "adopt", name="mira", role="friend")
        assert (await hears(service, 7, "good morning")).startswith("mira, your friend")
        bot.kill()
        await bot.wait()
    async with process(service, data):
        assert "good morning" in await hears(service, 7, "and now?")


async def test_a_stopped_bot_answers_those_who_asked(service: Discord, data: Path) -> None:
    """SIGTERM while a command waits for a lock and a message for nothing: both are answered, then it ends with 0."""
    path = fleet_path("7", data / "fleets")
    async with process(service, data) as bot:
        await service.command(7, "adopt", name="mira", role="friend")
        with FileLock(f"{path}.lock"):
            token = await service.begin(7, "adopt", name="rex", role="guard")
            bot.send_signal(signal.SIGTERM)
            await service.until(lambda: len(service.answers[token]) > 1)
        assert "busy" in service.answers[token][1]["content"]
        assert await bot.wait() == 0


async def test_a_bot_that_cannot_connect_is_stopped_at_once(service: Discord, data: Path) -> None:
    """Discord is away, and the client waits before it tries again."""
    async with process(service, data) as bot:
        await service.go_away()
        log = data.with_suffix(".log")
        await asyncio.to_thread(wait_until, lambda: "Attempting a reconnect" in log.read_text())
        bot.send_signal(signal.SIGTERM)
        assert await bot.wait() == 0


async def test_it_is_an_extension(service: Discord, data: Path) -> None:
    """A bot of one's own loads and unloads it."""
    async with discord.ext.commands.Bot("!", intents=discord.Intents.none()) as bot:
        await bot.load_extension("discord_cog")
        assert {command.name for command in bot.tree.get_commands()} == {"adopt", "pets", "release"}
        await bot.unload_extension("discord_cog")
        assert bot.tree.get_commands() == []
        assert bot._connection._view_store._dynamic_items == {}  # nothing public tells whether buttons are still taken
        assert (data / "memory.sqlite").exists()
        assert not (data / "memory.sqlite-wal").exists()  # it is closed

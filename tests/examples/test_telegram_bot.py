"""The Telegram bot as its users meet it: a real process that polls a Bot API server over HTTP."""

from __future__ import annotations

import asyncio
import itertools
import re
import sqlite3
import tomllib
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import filelock
import pytest

from petfleet import FleetStore, PetFleet, fleet_path, per_pet_memory_key, shared_memory_key
from tests.examples.bot_api import BotApi, serve
from tests.examples.bot_process import Forks, kill, log_of, run, stop
from tests.support.children import names

CHATS: Final = 200
USERS: Final = itertools.count(1001)  # each test has users of its own: the bot and its data are shared


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Aiogram is made for asyncio."""
    return "asyncio"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the bot that these tests share."""
    return tmp_path_factory.mktemp("bot") / "data"


@pytest.fixture(scope="module")
async def api(data: Path) -> AsyncIterator[BotApi]:
    """A server that this bot polls."""
    async with serve() as api, run(api, data):
        yield api


@pytest.fixture(scope="module")
async def forks() -> AsyncIterator[Forks]:
    """What starts further bots, as they are killed."""
    async with Forks() as forks:
        yield forks


@pytest.fixture
def user() -> int:
    """A new user of it."""
    return next(USERS)


async def fleet_of(user: int, data: Path) -> PetFleet:
    """Return what is stored for a user."""
    return await FleetStore(data / "fleets").peek(str(user))


def remembered(data: Path) -> list[tuple[str, str, str]]:
    """Return the key, the message and the text of all that is remembered, in order."""
    with closing(sqlite3.connect(data / "memory.sqlite")) as memory:
        return memory.execute("SELECT key, message, text FROM memory ORDER BY number").fetchall()


async def test_start_says_what_the_bot_can_do(api: BotApi, user: int) -> None:
    """Every command is named, and the same are in the menu."""
    help = await api.ask(user, "/start")
    menu = next(params["commands"] for method, params in api.calls if method == "setMyCommands")
    assert all(f"/{command} " in help and f'"{command}"' in menu for command in ("adopt", "pets", "release"))


async def test_adopt_writes_a_manifest_and_adds_the_pet(api: BotApi, user: int, data: Path) -> None:
    """A role may be several words; the first pet is active, the second is not."""
    assert await api.ask(user, "/adopt mira wise <b>old</b> friend") == "mira is yours now. Your active pet is mira."
    assert await api.ask(user, "/adopt rex guard") == "rex is yours now. Your active pet is mira."
    fleet = await fleet_of(user, data)
    assert (names(fleet), fleet.active_pet) == (["mira", "rex"], "mira")
    written = tomllib.loads((data / fleet.pet("mira").manifest_path).read_text())
    assert written == {"name": "mira", "role": "wise <b>old</b> friend"}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("/adopt", "/adopt NAME ROLE, as in"),
        ("/adopt rex", "/adopt NAME ROLE, as in"),
        ("/adopt ../rex guard", "A name is one word"),
        ("/adopt mira guard", "You have a pet called mira already."),
        ("/release", "/release NAME, as in"),
        ("/release rex", "You have no pet called rex."),
        (f"/release {'x' * 4080}", "You have no pet called xxx"),
        (None, "Pets understand text only."),
    ],
)
async def test_what_cannot_be_done_is_told(api: BotApi, user: int, data: Path, text: str | None, answer: str) -> None:
    """The answer says why, and the fleet stays as it was."""
    await api.ask(user, "/adopt mira friend")
    before = await fleet_of(user, data)
    assert (await api.ask(user, text)).startswith(answer)
    assert await fleet_of(user, data) == before


async def test_a_press_switches_the_active_pet(api: BotApi, user: int, data: Path) -> None:
    """The press is answered, the list shows it, the next message goes to that pet; a second press changes nothing."""
    await api.ask(user, "/adopt mira friend")
    await api.ask(user, "/adopt rex guard")
    shown, (_, rex) = await api.list_of(user)
    assert api.shown[shown]["text"] == "Your pets:\n▶ mira, friend\n• rex, guard"
    presses = [api.press(user, shown, rex) for _ in range(2)]
    assert (await api.ask(user, "hello")).startswith("rex, your guard: that is message 1 between us.")
    assert [api.answers[press] for press in presses] == [["rex is your active pet."]] * 2
    assert api.shown[shown]["text"] == "Your pets:\n• mira, friend\n▶ rex, guard"
    assert (await fleet_of(user, data)).active_pet == "rex"
    assert len(api.made("editMessageText", user)) == 2


async def test_a_press_is_about_the_pets_of_who_pressed(api: BotApi, user: int, data: Path) -> None:
    """A button on another user's list changes nothing of theirs, and shows them nothing."""
    other = next(USERS)
    for text in ("/adopt mira friend", "/adopt rex guard"):
        await api.ask(user, text)
    shown, (_, rex) = await api.list_of(user)
    before, list_before = await fleet_of(user, data), api.shown[shown]

    assert await api.answered(api.press(other, shown, rex)) == "You have no pet called rex any more."
    for text in ("/adopt zoe cat", "/adopt rex dog"):
        await api.ask(other, text)
    assert await api.answered(api.press(other, shown, rex)) == "rex is your active pet."
    assert (await api.ask(other, "hello")).startswith("rex, your dog: that is message 1 between us.")

    assert (await fleet_of(other, data)).active_pet == "rex"
    assert (await fleet_of(user, data), api.shown[shown]) == (before, list_before)


async def test_release_lets_a_pet_go_with_what_it_remembers(api: BotApi, user: int, data: Path) -> None:
    """A new pet of that name knows nothing of it, only what all pets may know."""
    await api.ask(user, "/adopt mira friend")
    await api.ask(user, "a secret")
    await api.ask(user, "remember: tea at five")
    manifest = data / (await fleet_of(user, data)).pet("mira").manifest_path
    assert await api.ask(user, "/release mira") == "mira is free. You have no active pet now."
    assert await api.ask(user, "anyone?") == "None of your pets is active. Adopt one, or choose one."
    assert await api.ask(user, "/pets") == "You have no pets yet. /adopt NAME ROLE"
    assert not manifest.exists()
    assert per_pet_memory_key(str(user), "mira") not in [key for key, _, _ in remembered(data)]
    await api.ask(user, "/adopt mira friend")
    answer = await api.ask(user, "what do you know?")
    assert answer == "mira, your friend: that is message 1 between us. I know: tea at five."


async def test_texts_are_sent_as_they_are_and_cut_to_what_telegram_takes(api: BotApi, user: int) -> None:
    """No text is read as markup; counted in either way, an answer has at most 4096 characters."""
    await api.ask(user, "/adopt mira friend")
    assert (await api.ask(user, "remember: <b>bold</b> & *more*")).endswith("<b>bold</b> & *more*")
    long = await api.ask(user, f"remember {'🐾' * 2044}")
    assert long.endswith("🐾")
    assert len(long.encode("utf-16-le")) // 2 in (4095, 4096)


async def test_many_pets_fit_into_a_list(api: BotApi, user: int) -> None:
    """The longest names and roles that are taken can be shown, with a button for each."""
    for number in range(20):
        await api.ask(user, f"/adopt {number:02}{'é' * 19} {'🐾' * 100}")
    assert await api.ask(user, "/adopt mira friend") == "You have 20 pets. Release one first."
    assert len((await api.list_of(user))[1]) == 20


async def test_a_group_hears_nothing(api: BotApi, user: int) -> None:
    """What pets know of their owner is told to nobody else."""
    await api.ask(user, "/adopt mira friend")
    api.say(user, "/pets", chat=-5)
    api.say(user, "hello", chat=-5)
    assert (await api.ask(user, "hello")).startswith("mira, your friend: that is message 1")  # those came before it
    assert not api.made("sendMessage", -5)


async def test_messages_of_one_user_are_handled_in_the_order_they_were_sent(api: BotApi, user: int) -> None:
    """Without waiting for an answer, a pet may be adopted, spoken to and released."""
    texts = ["/adopt mira friend", "one", "two", "/release mira", "/adopt rex guard", "three"]
    answers = [await api.answered(number) for number in [api.say(user, text) for text in texts]]
    assert answers == [
        "mira is yours now. Your active pet is mira.",
        "mira, your friend: that is message 1 between us.",
        "mira, your friend: that is message 2 between us. Before that you said: one",
        "mira is free. You have no active pet now.",
        "rex is yours now. Your active pet is rex.",
        "rex, your guard: that is message 1 between us.",
    ]


async def test_a_busy_fleet_is_no_failure(api: BotApi, user: int, data: Path) -> None:
    """While another program holds the user's lock, the bot asks to try again, and others are answered."""
    other = next(USERS)
    for one in (user, other):
        await api.ask(one, "/adopt mira friend")
    with filelock.FileLock(f"{fleet_path(str(user), data / 'fleets')}.lock"):
        number = api.say(user, "hello")
        assert (await api.ask(other, "hello")).startswith("mira, your friend: that is message 1")
        assert not api.answers[number]
        assert await api.answered(number) == "Your pets are busy just now. Please try again in a moment."
    assert (await api.ask(user, "hello")).startswith("mira, your friend: that is message 1 between us.")


async def test_a_failure_is_told_and_logged(api: BotApi, user: int, data: Path) -> None:
    """A fleet file that nobody can read is no empty fleet: the user is told that it did not work, the log says why."""
    await api.ask(user, "/adopt mira friend")
    path = fleet_path(str(user), data / "fleets")
    path.write_text("nonsense")
    assert (await api.ask(user, "/adopt rex guard")).startswith("Sorry, something went wrong")
    assert path.read_text() == "nonsense"
    assert f"FleetFormatError: {path}, line 1" in log_of(data)


async def test_a_press_from_before_a_long_stop_still_switches(api: BotApi, user: int, data: Path) -> None:
    """Telegram takes no answer to it any more; the list shows what was done."""
    await api.ask(user, "/adopt mira friend")
    await api.ask(user, "/adopt rex guard")
    shown, (_, rex) = await api.list_of(user)
    api.too_old = True
    try:
        api.press(user, shown, rex)
        await api.until(lambda: "▶ rex" in api.shown[shown]["text"])
    finally:
        api.too_old = False
    assert (await fleet_of(user, data)).active_pet == "rex"


async def test_flood_control_delays_an_answer(api: BotApi, user: int) -> None:
    """An answer that Telegram refuses for now is sent when it may be."""
    api.retry_after = [1]
    assert await api.ask(user, "/adopt mira friend") == "mira is yours now. Your active pet is mira."
    assert not api.retry_after


async def test_what_is_delivered_again_after_a_kill_happens_once(tmp_path: Path, forks: Forks) -> None:
    """A bot that is killed before its updates are confirmed gets them again: remembered once, answered alike."""
    data = tmp_path / "data"
    async with serve() as api:
        async with forks.run(api, data) as process:
            await api.ask(7, "/adopt mira friend")
            await api.ask(7, "one")
            await api.until(lambda: api.polled)  # with all of that confirmed
            api.confirming.clear()
            number = api.say(7, "two")
            await api.answered(number)
            await kill(api, process)
        api.confirming.set()
        async with forks.run(api, data) as process:
            await api.ask(7, "three")  # after all that was delivered again
            assert await stop(process) == 0
    assert api.answers[number] == ["mira, your friend: that is message 2 between us. Before that you said: one"] * 2
    assert [text for _, _, text in remembered(data)] == ["one", "two", "three"]


async def test_sigterm_lets_what_was_begun_be_finished(tmp_path: Path, forks: Forks) -> None:
    """A press that was not yet answered is answered and its list edited; then the bot ends with 0."""
    data = tmp_path / "data"
    async with serve() as api, forks.run(api, data) as process:
        for text in ("/adopt mira friend", "/adopt rex guard"):
            await api.ask(7, text)
        shown, (_, rex) = await api.list_of(7)
        api.answering.clear()
        press, number = api.press(7, shown, rex), api.say(7, "hello")
        await api.until(lambda: "answerCallbackQuery" in [method for method, _ in api.calls])
        await api.until(lambda: api.polled)  # with both confirmed
        stopped = asyncio.create_task(stop(process))
        await api.until(lambda: not api.polled)
        api.answering.set()
        assert await stopped == 0
        assert await api.answered(press) == "rex is your active pet."
    assert api.answers[number] == ["rex, your guard: that is message 1 between us."]
    assert api.shown[shown]["text"] == "Your pets:\n• mira, friend\n▶ rex, guard"
    assert "ERROR" not in log_of(data)


class Chatter:
    """A user who adopts two pets, talks to both and lets one go, and sends again what was not answered."""

    def __init__(self, api: BotApi, user: int) -> None:
        self.api = api
        self.user = user
        self.tag = f"u{user}u"
        self.seen: list[str] = []
        self.said: list[tuple[str, int, str]] = []  # answered: the pet, or "" for all, the message and its text

    async def ask(self, text: str) -> tuple[int, str]:
        """Send a message until it is answered; return its number and the answer."""
        while True:
            number = self.api.say(self.user, text)
            if (answer := await self.api.answered(number)) is not None:
                self.seen.append(answer)
                return number, answer

    async def tell(self, pet: str, text: str) -> None:
        """Tell the active pet something; it is that pet that answers."""
        number, answer = await self.ask(text)
        assert answer.startswith(f"{pet}-{self.tag}, your {pet} of {self.tag}: ")
        shared = text.startswith("remember: ")
        self.said.append(("" if shared else pet, number, text.removeprefix("remember: ")))

    async def live(self) -> None:
        """Do it all."""
        for pet in ("mira", "rex"):
            _, answer = await self.ask(f"/adopt {pet}-{self.tag} {pet} of {self.tag}")
            assert re.match(f"{pet}-{self.tag} is yours now|You have a pet called {pet}-{self.tag} already", answer)
        await self.tell("mira", f"{self.tag} says one")
        await self.tell("mira", f"remember: {self.tag} likes tea")
        while True:
            await self.ask("/pets")
            shown = max(number for number, shown in self.api.shown.items() if shown["chat"]["id"] == self.user)
            pressed = await self.api.answered(self.api.press(self.user, shown, f"switch:rex-{self.tag}"))
            if pressed is not None:
                assert pressed == f"rex-{self.tag} is your active pet."
                break
        await self.tell("rex", f"{self.tag} says two")
        if self.user % 4 == 0:
            _, answer = await self.ask(f"/release mira-{self.tag}")
            assert re.match(f"mira-{self.tag} is free|You have no pet called mira-{self.tag}", answer)
        await self.tell("rex", f"{self.tag} says three")


@pytest.mark.timeout(300)
async def test_two_hundred_chats_lose_nothing_when_the_bot_is_killed(tmp_path: Path, forks: Forks) -> None:
    """Whatever was answered is in the fleets, the manifests and the memory, once, and each user sees only their own."""
    data = tmp_path / "data"
    async with serve() as api:
        api.answering.clear()  # so that the first kill always hits a press
        chatters = [Chatter(api, user) for user in range(1000, 1000 + CHATS)]
        living = asyncio.gather(*(chatter.live() for chatter in chatters))
        async with forks.run(api, data) as process:
            await api.until(lambda: api.acknowledged >= CHATS and "answerCallbackQuery" in dict(api.calls))
            await api.until(lambda: api.polled)  # with that press confirmed
            await kill(api, process)
        api.answering.set()
        async with forks.run(api, data) as process:
            await api.until(lambda: living.done() or api.acknowledged >= 5 * CHATS)
            await kill(api, process)
        async with forks.run(api, data) as process:
            await living
            assert await stop(process) == 0

    assert api.lost > 0
    assert not api.unasked
    memory = remembered(data)
    rows = {message: (key, text) for key, message, text in memory}
    assert len(rows) == len(memory)
    for chatter in chatters:
        await check(chatter, rows, data)
    assert "ERROR" not in log_of(data)


async def check(chatter: Chatter, rows: dict[str, Any], data: Path) -> None:
    """Look up what one user was told in what is stored."""
    tag, user_id = chatter.tag, str(chatter.user)
    fleet = await fleet_of(chatter.user, data)
    released = chatter.user % 4 == 0
    assert names(fleet) == [f"{pet}-{tag}" for pet in ("mira", "rex") if not (released and pet == "mira")]
    assert fleet.active_pet == f"rex-{tag}"
    for handle in fleet.pets:
        manifest = tomllib.loads((data / handle.manifest_path).read_text())
        assert manifest == {"name": handle.pet_name, "role": handle.role}
        assert handle.role == f"{handle.pet_name.partition('-')[0]} of {tag}"
    for pet, number, text in chatter.said:
        key = per_pet_memory_key(user_id, f"{pet}-{tag}") if pet else shared_memory_key(user_id)
        gone = released and pet == "mira"
        assert rows.get(f"{user_id}/{number}") == (None if gone else (key, text))
    for message, (key, text) in rows.items():  # what was remembered and not answered is the user's own too
        if message.startswith(f"{user_id}/"):
            assert tag in text
            assert key.split("::")[1] == user_id
    assert {found for answer in chatter.seen for found in re.findall(r"u\d+u", answer)} == {tag}

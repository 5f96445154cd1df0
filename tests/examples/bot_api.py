"""A Bot API server on this machine, as far as the bot needs it.

What the real server does and a test could miss is done here too: an update is gone only once a higher offset was asked
for; texts and buttons that are too long, parse modes of a typo and edits that change nothing are refused.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web

from tests.conftest import wait_until

TOKEN: Final = "42:test"
SECONDS: Final = 100  # for what the bot has to do: less than a test has, so that the test cleans up
Params = Mapping[str, Any]


class BotApi:
    """The server, and in the test's hands all of its users and what they see.

    A message counts as answered by the first text that the bot sends to its chat after all earlier messages of that
    chat, as far as this bot process was given them, are answered.
    """

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.shown: dict[int, dict[str, Any]] = {}  # the bot's messages as the users see them now
        self.answers: dict[int | str, list[str]] = defaultdict(list)  # by the message's number or the press's id
        self.unasked: list[str] = []
        self.acknowledged = 0  # answers to messages and to presses
        self.lost = 0  # messages that a killed bot was given, confirmed and did not answer
        self.open_connections: Callable[[], int] = lambda: 0
        self.retry_after: list[int] = []  # flood control: each refuses one message
        self.too_old = False  # presses are answered too late
        self.confirming = asyncio.Event()  # cleared: an update is not confirmed, the request for more hangs
        self.confirming.set()
        self.answering = asyncio.Event()  # cleared: presses are not answered, the request hangs
        self.answering.set()
        self._numbers = itertools.count(1)
        self._updates: list[dict[str, Any]] = []  # unconfirmed
        self._given: dict[int, deque[int]] = defaultdict(deque)  # by chat: messages that this bot process was given
        self._highest_given = 0
        self._waiting: dict[int | str, asyncio.Future[str | None]] = {}  # the same
        self._webhook = True  # left from another program
        self._polls = 0
        self._changed = asyncio.Event()

    # --- what users do -----------------------------------------------------------------------------------------------

    def say(self, user: int, text: str | None, *, chat: int | None = None) -> int:
        """Send a message (None: a picture), to the bot alone unless it is in a group, and return its number."""
        number = next(self._numbers)
        kind = {"type": "private", "first_name": f"user {user}"} if chat is None else {"type": "group", "title": "all"}
        content = {"photo": [], "caption": "look"} if text is None else {"text": text}
        message = {
            "message_id": number,
            "date": int(time.time()),
            "from": _user(user),
            "chat": {"id": chat or user} | kind,
        }
        self._put({"message": message | content})
        return number

    def press(self, user: int, shown: int, data: str) -> str:
        """Press a button of a message that the bot sent, to whomever, and return the press's id."""
        press = f"press-{next(self._numbers)}"
        content = {"id": press, "from": _user(user), "chat_instance": "1", "data": data, "message": self.shown[shown]}
        self._put({"callback_query": content})
        return press

    async def answered(self, number: int | str) -> str | None:
        """Return the first answer to a message or press; None if the bot was killed and will never see it again."""
        async with asyncio.timeout(SECONDS):
            return await self._waiting.setdefault(number, asyncio.get_running_loop().create_future())

    async def ask(self, user: int, text: str | None) -> str:
        """Send a message and return the answer to it."""
        answer = await self.answered(self.say(user, text))
        assert answer is not None
        return answer

    async def until(self, state: Callable[[], object]) -> None:
        """Wait until something that this server sees has come about."""
        async with asyncio.timeout(SECONDS):
            while not state():
                await self._changed.wait()

    async def list_of(self, user: int) -> tuple[int, list[str]]:
        """Ask for the user's pets, and return the number of the list and what its buttons carry."""
        await self.ask(user, "/pets")
        number = max(number for number, message in self.shown.items() if message["chat"]["id"] == user)
        return number, [row[0]["callback_data"] for row in self.shown[number]["reply_markup"]["inline_keyboard"]]

    def made(self, method: str, chat: int) -> list[dict[str, Any]]:
        """Return what the bot called a method with for a chat."""
        return [params for called, params in self.calls if called == method and params.get("chat_id") == str(chat)]

    # --- what becomes of the bot -------------------------------------------------------------------------------------

    @property
    def polled(self) -> bool:
        """Whether the bot asks for updates at this moment."""
        return self._polls > 0

    async def bot_died(self) -> None:
        """Settle what the killed bot was given: unconfirmed updates will be given again, the others are lost."""
        await asyncio.to_thread(wait_until, lambda: not self.open_connections())  # what it had sent arrives
        unconfirmed = {update.get("message", {}).get("message_id") for update in self._updates}
        unconfirmed |= {update.get("callback_query", {}).get("id") for update in self._updates}
        given = {number for numbers in self._given.values() for number in numbers}
        for number, future in self._waiting.items():
            was_given = isinstance(number, str) or number in given
            if was_given and number not in unconfirmed and not future.done():
                self.lost += 1
                future.set_result(None)
        self._given.clear()
        self._highest_given = 0

    # --- what the bot calls ------------------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a call of the bot as the Bot API does."""
        if request.match_info["token"] != TOKEN:
            return _refuse(401, "Unauthorized")
        params, method = dict(await request.post()), request.match_info["method"]
        self.calls.append((method, params))
        self._notify()
        try:
            result = await getattr(self, re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", f"_{method}"))(params)
        except _RefusedError as refused:
            return refused.response
        finally:
            self._notify()
        return web.json_response({"ok": True, "result": result})

    async def _get_me(self, params: Params) -> Any:
        return {"id": 42, "is_bot": True, "first_name": "Pets", "username": "pets_bot"}

    async def _delete_webhook(self, params: Params) -> Any:
        assert "drop_pending_updates" not in params
        self._webhook = False
        return True

    async def _set_my_commands(self, params: Params) -> Any:
        assert all(command["description"] for command in json.loads(params["commands"]))
        return True

    async def _get_updates(self, params: Params) -> Any:
        if self._webhook:
            raise _RefusedError(409, "Conflict: can't use getUpdates method while webhook is active")
        offset = int(params.get("offset", 0))
        if any(update["update_id"] < offset for update in self._updates):
            await self.confirming.wait()
            self._updates = [update for update in self._updates if update["update_id"] >= offset]
        self._polls += 1
        try:
            self._notify()
            async with asyncio.timeout(int(params["timeout"])):
                await self.until(lambda: self._updates)
        except TimeoutError:
            return []
        finally:
            self._polls -= 1
        batch = self._updates[:100]
        for update in batch:
            if "message" in update and update["update_id"] > self._highest_given:
                self._given[update["message"]["chat"]["id"]].append(update["message"]["message_id"])
        self._highest_given = max(self._highest_given, batch[-1]["update_id"])
        return batch

    async def _send_message(self, params: Params) -> Any:
        if self.retry_after:
            seconds = self.retry_after.pop()
            raise _RefusedError(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)
        chat = int(params["chat_id"])
        message = {"message_id": next(self._numbers), "date": int(time.time()), "chat": {"id": chat, "type": "private"}}
        self.shown[message["message_id"]] = message | _content(params)  # type: ignore[index]
        if self._given[chat]:
            self._settle(self._given[chat].popleft(), params["text"])
        else:
            self.unasked.append(params["text"])
        return message | _content(params)

    async def _edit_message_text(self, params: Params) -> Any:
        old = self.shown[int(params["message_id"])]
        assert str(old["chat"]["id"]) == params["chat_id"]
        if old | _content(params) == old:
            raise _RefusedError(400, "Bad Request: message is not modified: nothing of it is new")
        self.shown[old["message_id"]] = old | _content(params)
        self._notify()
        return self.shown[old["message_id"]]

    async def _answer_callback_query(self, params: Params) -> Any:
        if len(params.get("text", "")) > 200:
            raise _RefusedError(400, "Bad Request: MESSAGE_TOO_LONG")
        if self.too_old:
            raise _RefusedError(
                400, "Bad Request: query is too old and response timeout expired or query ID is invalid"
            )
        await self.answering.wait()
        self._settle(params["callback_query_id"], params.get("text", ""))
        return True

    # -----------------------------------------------------------------------------------------------------------------

    def _settle(self, number: int | str, text: str) -> None:
        self.acknowledged += 1
        self.answers[number].append(text)
        future = self._waiting.setdefault(number, asyncio.get_running_loop().create_future())
        if not future.done():
            future.set_result(text)

    def _put(self, update: dict[str, Any]) -> None:
        self._updates.append({"update_id": next(self._numbers)} | update)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class _RefusedError(Exception):
    """What the Bot API answers instead of a result."""

    def __init__(self, code: int, description: str, **parameters: int) -> None:
        self.response = _refuse(code, description, **parameters)


def _refuse(code: int, description: str, **parameters: int) -> web.Response:
    refusal = {"ok": False, "error_code": code, "description": description, "parameters": parameters}
    return web.json_response(refusal, status=code)


def _content(params: Params) -> dict[str, Any]:
    text, markup = params.get("text", ""), json.loads(params.get("reply_markup", "null"))
    if not 1 <= len(text.encode("utf-16-le")) // 2 <= 4096:
        raise _RefusedError(400, "Bad Request: message is too long, or empty")
    if "parse_mode" in params:
        raise _RefusedError(400, "Bad Request: can't parse entities")
    for row in (markup or {}).get("inline_keyboard", []):
        if not all(1 <= len(button["callback_data"].encode()) <= 64 for button in row):
            raise _RefusedError(400, "Bad Request: BUTTON_DATA_INVALID")
    return {"text": text} | ({"reply_markup": markup} if markup else {})


def _user(user: int) -> dict[str, Any]:
    return {"id": user, "is_bot": False, "first_name": f"user {user}"}


@asynccontextmanager
async def serve() -> AsyncIterator[BotApi]:
    """Run the server in this event loop, on a free port."""
    api = BotApi()
    application = web.Application()
    application.router.add_post("/bot{token}/{method}", api.handle)
    # A bot that is gone must not be given updates.
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        api.url = f"http://{host}:{port}"
        assert runner.server is not None
        server = runner.server
        api.open_connections = lambda: len(server.connections)
        yield api
    finally:
        await runner.cleanup()

"""A small stand-in for Discord over HTTP and a websocket, for the real client, and people who use the bot behind it."""

from __future__ import annotations

import asyncio
import itertools
import json
import runpy
import sys
import unittest.mock
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from aiohttp import WSMsgType, web

TOKEN: Final = "NDI.test.token"
_APPLICATION: Final = "42"
_BOT: Final = {"id": "42", "username": "pets", "discriminator": "0", "avatar": None, "bot": True, "global_name": None}


class Discord:
    """What Discord does for one bot, as far as pets need it."""

    def __init__(self) -> None:
        self.url = ""
        self.commands: list[dict[str, Any]] = []  # what the bot has told of its commands
        self.identified = self.intents = 0
        self.refused: list[str] = []  # what Discord would not have taken
        # By the token of an interaction: the acknowledgement, then what the bot sent or edited.
        self.answers: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.sent: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)  # by channel
        self._sockets: list[web.WebSocketResponse] = []
        self._ids = itertools.count(10**17)
        self._sequence = itertools.count(2)
        self._away = False
        self._changed = asyncio.Condition()

    async def until(self, state: Callable[[], object]) -> None:
        """Wait for a state that a request of the bot brings about; fail if it asks for what is refused."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.refused or state())
        assert not self.refused

    async def go_away(self) -> None:
        """Refuse every connection from now on, and end those that there are."""
        self._away = True
        for socket in self._sockets:
            await socket.close(code=1012)

    # --- people -------------------------------------------------------------------------------------------------------

    async def command(self, user: int, name: str, /, **options: str) -> list[dict[str, Any]]:
        """Have a user give a command, and return the acknowledgement and the answer."""
        return await self._interact(user, 2, self._command(name, options))

    async def typing(self, user: int, name: str, option: str, typed: str) -> list[str]:
        """Have a user type an option of a command, and return what is proposed."""
        data = self._command(name, {option: typed})
        data["options"][0]["focused"] = True
        (answer,) = await self._interact(user, 4, data, answers=1)
        return [choice["value"] for choice in answer["data"]["choices"]]

    async def press(self, user: int, custom_id: str) -> list[dict[str, Any]]:
        """Have a user press a button, and return the acknowledgement and what the bot did."""
        button = {"type": 2, "style": 2, "label": "a pet", "custom_id": custom_id}
        message = self._message(f"9{user}", {"content": "the list"})
        message["components"] = [{"type": 1, "components": [button]}]
        return await self._interact(user, 3, {"custom_id": custom_id, "component_type": 2}, message=message)

    async def write(self, user: int, text: str, **more: Any) -> None:
        """Have a user write a message, in private if to no guild."""
        assert "guild_id" in more or self.intents & 1 << 12  # or Discord tells the bot of no private message
        message = {**self._message(f"9{user}", {"content": text}), "author": person(user)}
        await self._dispatch("MESSAGE_CREATE", message | more)

    def _command(self, name: str, options: dict[str, str]) -> dict[str, Any]:
        (known,) = [command for command in self.commands if command["name"] == name]
        given = [{"name": option, "type": 3, "value": value} for option, value in options.items()]
        return {"id": known["id"], "name": name, "type": 1, "options": given}

    async def begin(self, user: int, name: str, /, **options: str) -> str:
        """Have a user give a command, and return the key of its answers once it was acknowledged."""
        token = await self._interaction(user, 2, self._command(name, options))
        await self.until(lambda: self.answers[token])
        return token

    async def _interact(
        self, user: int, kind: int, data: dict[str, Any], *, answers: int = 2, **more: Any
    ) -> list[dict[str, Any]]:
        token = await self._interaction(user, kind, data, **more)
        await self.until(lambda: len(self.answers[token]) >= answers)
        return self.answers[token]

    async def _interaction(self, user: int, kind: int, data: dict[str, Any], **more: Any) -> str:
        token = f"token-{next(self._ids)}"
        await self._dispatch(
            "INTERACTION_CREATE",
            {
                "id": str(next(self._ids)),
                "application_id": _APPLICATION,
                "type": kind,
                "version": 1,
                "token": token,
                "data": data,
                "user": person(user),
                "channel_id": f"9{user}",
                "locale": "en-GB",
                "channel": {"id": f"9{user}", "type": 1, "recipients": []},
                "context": 1,
                "entitlements": [],
                "authorizing_integration_owners": {},
                "app_permissions": "0",
                "attachment_size_limit": 1024,
                **more,
            },
        )
        return token

    async def _dispatch(self, event: str, data: dict[str, Any]) -> None:
        payload = {"op": 0, "t": event, "s": next(self._sequence), "d": data}
        await self._sockets[-1].send_json(payload)

    def _message(self, channel: str, content: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": str(next(self._ids)),
            "channel_id": channel,
            "author": _BOT,
            "timestamp": "2026-01-01T00:00:00Z",
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": [],
            "embeds": [],
            "pinned": False,
            "type": 0,
            "components": [],
            "content": content.get("content") or "",
        }

    # --- what the bot asks for ----------------------------------------------------------------------------------------

    async def _noted(self, notes: list[dict[str, Any]], content: dict[str, Any], *faults: str) -> None:
        async with self._changed:
            self.refused += [f"{fault}: {content}" for fault in faults]
            notes.append(content)
            self._changed.notify_all()
        if faults:
            raise web.HTTPBadRequest(text='{"code": 50035, "message": "Invalid Form Body"}')

    async def _me(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bot {TOKEN}"
        return _json(_BOT)

    async def _application(self, request: web.Request) -> web.Response:
        application: dict[str, Any] = {
            "id": _APPLICATION,
            "name": "pets",
            "icon": None,
            "description": "",
            "verify_key": "",
            "flags": 0,
            "bot_public": True,
            "bot_require_code_grant": False,
            "owner": _BOT,
            "rpc_origins": [],
        }
        return _json(application)

    async def _sync(self, request: web.Request) -> web.Response:
        self.commands = [
            {**command, "id": str(next(self._ids)), "application_id": _APPLICATION, "version": "1"}
            for command in await request.json()
        ]
        return _json(self.commands)

    async def _acknowledge(self, request: web.Request) -> web.Response:
        content, notes = await _body(request), self.answers[request.match_info["token"]]
        proposed = [choice["value"] for choice in content.get("data", {}).get("choices", [])]
        wrong = len(proposed) > 25 or not all(0 < len(value) <= 100 for value in proposed)
        await self._noted(notes, content, *["acknowledged twice"] * bool(notes), *["choices"] * wrong)
        interaction = {"id": request.match_info["id"], "type": 2, "response_message_id": str(next(self._ids))}
        return _json({"interaction": interaction})

    async def _follow_up(self, request: web.Request) -> web.Response:
        content, notes = await _body(request), self.answers[request.match_info["token"]]
        await self._noted(notes, content, *["not acknowledged"] * (not notes), *_faults(content))
        return _json(self._message("1", content))

    async def _send(self, request: web.Request) -> web.Response:
        content, channel = await _body(request), request.match_info["channel"]
        await self._noted(self.sent[channel], content, *_faults(content))
        return _json(self._message(channel, content))

    async def _gateway(self, request: web.Request) -> web.WebSocketResponse:
        if self._away:
            raise web.HTTPServiceUnavailable
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"op": 10, "d": {"heartbeat_interval": 45_000}, "s": None, "t": None})
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            match json.loads(message.data):
                case {"op": 1}:
                    await socket.send_json({"op": 11, "d": None, "s": None, "t": None})
                case {"op": 2, "d": {"intents": intents}}:
                    self.intents = intents
                    ready: dict[str, Any] = {
                        "v": 10,
                        "user": _BOT,
                        "guilds": [],
                        "private_channels": [],
                        "session_id": "s",
                        "resume_gateway_url": self.url,
                        "application": {"id": _APPLICATION, "flags": 0},
                    }
                    self._sockets.append(socket)
                    await socket.send_json({"op": 0, "t": "READY", "s": 1, "d": ready})
                    async with self._changed:
                        self.identified += 1
                        self._changed.notify_all()
        return socket


def _faults(message: dict[str, Any]) -> list[str]:
    """Return what is wrong with a message: Discord's limits, and that no text may mention anyone."""
    rows = [row["components"] for row in message.get("components") or []]
    buttons = [button for row in rows for button in row]
    ids = [button["custom_id"] for button in buttons]
    wrong = {
        "text": not 0 < len(message["content"]) <= 2000,
        "mentions": message.get("allowed_mentions") != {"parse": []},
        "rows": len(rows) > 5 or any(len(row) > 5 for row in rows),
        "labels": not all(0 < len(button["label"]) <= 80 for button in buttons),
        "custom ids": len(set(ids)) < len(ids) or any(len(custom_id) > 100 for custom_id in ids),
    }
    return [fault for fault, is_there in wrong.items() if is_there]


def _json(content: object) -> web.Response:
    # The client reads JSON only where the type stands alone, without a charset.
    return web.Response(body=json.dumps(content).encode(), headers={"Content-Type": "application/json"})


async def _body(request: web.Request) -> dict[str, Any]:
    if request.content_type == "application/json":
        return dict(await request.json())
    return dict(json.loads(str((await request.post())["payload_json"])))


def person(number: int) -> dict[str, Any]:
    """Return a user as Discord tells of one."""
    return {"id": str(number), "username": f"user{number}", "discriminator": "0", "avatar": None, "global_name": None}


@asynccontextmanager
async def discord_service() -> AsyncIterator[Discord]:
    """Serve a Discord on a free port."""
    service = Discord()
    application = web.Application()
    application.router.add_routes(
        [
            web.get("/api/users/@me", service._me),
            web.get("/api/oauth2/applications/@me", service._application),
            web.put("/api/applications/{application}/commands", service._sync),
            web.post("/api/interactions/{id}/{token}/callback", service._acknowledge),
            web.post("/api/webhooks/{application}/{token}", service._follow_up),
            web.patch("/api/webhooks/{application}/{token}/messages/@original", service._follow_up),
            web.post("/api/channels/{channel}/messages", service._send),
            web.get("/", service._gateway),
        ]
    )
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        service.url = f"http://{host}:{port}"
        yield service
    finally:
        for socket in service._sockets:
            await socket.close()
        await runner.cleanup()


def pretend(url: str) -> tuple[str, str]:
    """Return what a client has to take for the addresses of Discord: of its API, and of its gateway."""
    return f"{url}/api", url.replace("http", "ws", 1)


def main(url: str) -> None:
    """Run the bot, as its users start it, with that service for Discord."""
    import discord
    import yarl

    discord.http.Route.BASE, gateway = pretend(url)
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway)
    # An hour until it tries to connect again.
    unittest.mock.patch("discord.client.ExponentialBackoff.delay", return_value=3600).start()
    examples = Path(__file__).parent.parent.parent / "examples"
    sys.path.insert(0, str(examples))
    runpy.run_path(str(examples / "discord_cog.py"), run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1])

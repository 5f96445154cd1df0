"""A Telegram bot whose users keep pets: /adopt NAME ROLE, /pets, /release NAME; other messages go to the active pet.

    BOT_TOKEN=... python examples/telegram_bot.py

PETFLEET_DATA is the directory of all data (default: data), BOT_API the base URL of your own Bot API server.

An answer is sent when its change is on disk. If the bot is killed: aiogram confirms updates to Telegram when it asks
for the next ones, which is at once, since every update has a task of its own. So an update may come again, which does
no harm (see companions.py), or it was confirmed and is never handled: its user gets no answer, and sends it again.
`handle_as_tasks=False` would lose none of them, but each user would wait for the disk and network of all others.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiogram import BaseMiddleware, Bot, Dispatcher, F, Router
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.session.middlewares.base import NextRequestMiddlewareType
from aiogram.client.telegram import PRODUCTION, TelegramAPIServer
from aiogram.enums import ChatType
from aiogram.exceptions import TelegramBadRequest, TelegramRetryAfter
from aiogram.filters import Command, CommandObject, CommandStart
from aiogram.filters.callback_data import CallbackData
from aiogram.methods import Response, TelegramMethod
from aiogram.methods.base import TelegramType
from aiogram.types import (
    BotCommand,
    CallbackQuery,
    ErrorEvent,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    Message,
    TelegramObject,
    User,
)

from companions import Companions, RefusedError, Turns, active_text, error_text, list_text
from petfleet import PetFleet

COMMANDS: Final = {
    "adopt": "NAME ROLE: a new pet, as in /adopt mira wise old friend",
    "pets": "your pets; press one to talk to it",
    "release": "NAME: let a pet go, with what it remembers",
}
HELP: Final = "\n".join(
    [
        *(f"/{command} {what}" for command, what in COMMANDS.items()),
        "Anything else is for your active pet. What starts with “remember” all your pets will know.",
    ]
)
router = Router()
# In a group, pets would tell their owners' secrets to everyone.
router.message.filter(F.chat.type == ChatType.PRIVATE)


class Switch(CallbackData, prefix="switch"):
    """The data of a pet's button: the name only, since any user may press it."""

    name: str


@router.message(CommandStart())
async def start(message: Message) -> None:
    """Describe the commands."""
    await message.answer(HELP)


@router.message(Command("adopt"))
async def adopt(message: Message, command: CommandObject, event_from_user: User, companions: Companions) -> None:
    """Give the user a pet."""
    name, role = [*(command.args or "").split(maxsplit=1), "", ""][:2]
    if not role:
        raise RefusedError("/adopt NAME ROLE, as in /adopt mira wise old friend")
    fleet = await companions.adopt(str(event_from_user.id), name, role)
    await message.answer(f"{name} is yours now. {active_text(fleet)}")


@router.message(Command("release"))
async def release(message: Message, command: CommandObject, event_from_user: User, companions: Companions) -> None:
    """Release a pet."""
    name = (command.args or "").strip()
    if not name:
        raise RefusedError("/release NAME, as in /release mira")
    fleet = await companions.release(str(event_from_user.id), name)
    await message.answer(f"{name} is free. {active_text(fleet)}")


@router.message(Command("pets"))
async def pets(message: Message, event_from_user: User, companions: Companions) -> None:
    """Show the user's pets, with a button for each."""
    text, buttons = _list(await companions.pets(str(event_from_user.id)))
    await message.answer(text, reply_markup=buttons)


@router.callback_query(Switch.filter())
async def switch(query: CallbackQuery, callback_data: Switch, companions: Companions) -> None:
    """Make the presser's pet of that name the active one; the button may be in another user's list."""
    fleet = await companions.switch(str(query.from_user.id), callback_data.name)
    await answered(query, f"{callback_data.name} is your active pet.")
    if not isinstance(query.message, Message) or query.message.chat.id != query.from_user.id:
        return  # another chat must not see this user's list
    text, buttons = _list(fleet)
    try:
        await query.message.edit_text(text, reply_markup=buttons)
    except TelegramBadRequest as error:
        if "message is not modified" not in error.message:  # it was the active one already
            raise


@router.message(F.text)
async def talk(message: Message, event_from_user: User, companions: Companions) -> None:
    """Let the active pet answer."""
    same = f"{message.chat.id}/{message.message_id}"  # a message's number is unique in its chat only
    await message.answer(_cut(await companions.answer(str(event_from_user.id), message.text or "", message=same)))


@router.message()
async def wonder(message: Message) -> None:
    """Say that pictures and the like are not understood."""
    await message.answer("Pets understand text only.")


@router.error()
async def tell(event: ErrorEvent) -> None:
    """Tell the user about an error; log the details."""
    text = error_text(event.exception)
    if event.update.callback_query is not None:
        await answered(event.update.callback_query, text, show_alert=True)
    elif event.update.message is not None:
        await event.update.message.answer(_cut(text))


async def answered(query: CallbackQuery, text: str, *, show_alert: bool = False) -> None:
    """Answer a press, unless Telegram no longer accepts it, since the press was made while the bot was down."""
    try:
        await query.answer(text[:200], show_alert=show_alert)
    except TelegramBadRequest as error:
        if "query is too old" not in error.message:
            raise


class InTurn(BaseMiddleware):
    """Handles each user's updates in order; SimpleEventIsolation would keep a lock for every user forever."""

    def __init__(self) -> None:
        self.turns = Turns()

    async def __call__(
        self,
        handler: Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]],
        event: TelegramObject,
        data: dict[str, Any],
    ) -> Any:
        """Wait for this user's previous update, then handle this one."""
        user = data.get("event_from_user")
        before = self.turns.begin(0 if user is None else user.id)  # of a channel, say
        if before is not None:
            await asyncio.wait([before])
        return await handler(event, data)


async def wait_when_told(
    make_request: NextRequestMiddlewareType[TelegramType], bot: Bot, method: TelegramMethod[TelegramType]
) -> Response[TelegramType]:
    """Make a request; while Telegram's flood control refuses it, wait and repeat it."""
    while True:
        try:
            return await make_request(bot, method)
        except TelegramRetryAfter as error:
            await asyncio.sleep(error.retry_after)


def _list(fleet: PetFleet) -> tuple[str, InlineKeyboardMarkup | None]:
    buttons = [
        [InlineKeyboardButton(text=pet.pet_name, callback_data=Switch(name=pet.pet_name).pack())] for pet in fleet.pets
    ]
    return _cut(list_text(fleet)), InlineKeyboardMarkup(inline_keyboard=buttons) if buttons else None


def _cut(text: str) -> str:
    # Telegram accepts 4096 characters, of which an emoji may count as two.
    return text.encode("utf-16-le")[: 2 * 4096].decode("utf-16-le", "ignore")


async def main(token: str) -> None:
    """Answer until SIGTERM or SIGINT; then finish the updates that have begun, even if flood control delays that."""
    api = os.environ.get("BOT_API")
    session = AiohttpSession(api=TelegramAPIServer.from_base(api) if api else PRODUCTION)
    session.middleware(wait_when_told)
    dispatcher, in_turn = Dispatcher(disable_fsm=True), InTurn()
    dispatcher.include_router(router)
    dispatcher.update.outer_middleware(in_turn)
    dispatcher.shutdown.register(in_turn.turns.finish)
    data = os.environ.get("PETFLEET_DATA", "data")
    async with Companions(data) as companions, Bot(token, session=session) as bot:
        await bot.delete_webhook()  # or polling is refused; pending updates are kept
        await bot.set_my_commands([BotCommand(command=name, description=what) for name, what in COMMANDS.items()])
        await dispatcher.start_polling(bot, companions=companions)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main(os.environ.get("BOT_TOKEN") or sys.exit("BOT_TOKEN has to be the token that @BotFather gave you")))

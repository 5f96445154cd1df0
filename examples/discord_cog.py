"""Pets for a Discord bot: /adopt, /pets, /release; what a user writes to the bot directly goes to the active pet.

    DISCORD_TOKEN=... python examples/discord_cog.py        # a bot of its own
    await bot.load_extension("discord_cog")                 # in your bot, with this file on the path

PETFLEET_DATA is the directory of everything (default: data). What pets are and what they remember is in companions.py.

Discord takes a command for failed that is not answered within three seconds, and a disk or a lock may take longer now
and then: each handler first says "wait" (`defer`), and answers when what it says is on disk. Only the user sees the
answers (`ephemeral`): what a pet knows of its owner is nobody else's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from typing import Any, Final

import discord
from discord import app_commands
from discord.ext import commands

from companions import Companions, RefusedError, Turns, excuse, listed, listening
from petfleet import PetFleet

LONGEST: Final = 2000  # characters of a message
SILENT: Final = discord.AllowedMentions.none()  # a role may be "@everyone"


class Choose(discord.ui.DynamicItem[discord.ui.Button[Any]], template=r"petfleet:choose:(?P<name>(?s:.+))"):
    """A pet's button. It carries the pet's name, so that it still works after the bot was started again."""

    def __init__(self, name: str, *, active: bool = False) -> None:
        style = discord.ButtonStyle.success if active else discord.ButtonStyle.secondary
        super().__init__(discord.ui.Button(label=name, style=style, custom_id=f"petfleet:choose:{name}"))
        self.name = name

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str], /
    ) -> Choose:
        """Return the button that was pressed."""
        return cls(match["name"])

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Make a pet of whoever pressed it the active one, and show the list as it is now."""
        pets: Pets = interaction.client.get_cog("Pets")
        await pets.take_turn(interaction)
        try:
            text, view = shown(await pets.companions.switch(str(interaction.user.id), self.name))
            await interaction.edit_original_response(content=text, view=view, allowed_mentions=SILENT)
        except Exception as error:  # noqa: BLE001 - discord.py has no handler for buttons but the log
            await tell(interaction, error)


def shown(fleet: PetFleet) -> tuple[str, discord.ui.View]:
    """Return a list of pets, with a button for each."""
    view = discord.ui.View(timeout=None)
    # Discord refuses a whole message for a button twice, a name of over 80 characters, or more than 25 buttons. No such
    # pets are adopted here, but the command line and other programs may add them.
    names = [name for name in dict.fromkeys(pet.pet_name for pet in fleet.pets) if len(name) <= 80]
    for name in names[:25]:
        view.add_item(Choose(name, active=name == fleet.active_pet))
    return cut(listed(fleet)), view


def cut(text: str) -> str:
    """Return as much of a text as fits into a message, with nothing taken for markup."""
    return discord.utils.escape_markdown(text)[:LONGEST]


async def tell(interaction: discord.Interaction[Any], error: BaseException) -> None:
    """Answer with an error."""
    text = cut(excuse(getattr(error, "original", error)))
    if interaction.response.is_done():
        await interaction.followup.send(text, ephemeral=True, allowed_mentions=SILENT)
    else:  # a check of the bot's own refused it
        await interaction.response.send_message(text, ephemeral=True, allowed_mentions=SILENT)


class Pets(commands.Cog):
    """Users' pets."""

    def __init__(self, data: str | os.PathLike[str]) -> None:
        self.companions = Companions(data)
        self._turns = Turns()

    async def cog_load(self) -> None:
        """Open what pets need."""
        await self.companions.__aenter__()

    async def cog_unload(self) -> None:
        """Let those be answered who asked: the bot is still connected, and discord.py would leave them half way."""
        await self._turns.finish()
        await self.companions.__aexit__(None, None, None)

    async def take_turn(self, interaction: discord.Interaction[Any]) -> None:
        """Tell a user that the answer takes a moment, and go on when all that this user sent before is answered."""
        before = self._turns.begin(interaction.user.id)  # not after `defer`, since requests overtake each other
        await interaction.response.defer(ephemeral=True)
        if before is not None:
            await asyncio.wait([before])

    @app_commands.command()
    @app_commands.describe(name="one word", role="what it is to you")
    async def adopt(self, interaction: discord.Interaction[Any], name: str, role: str) -> None:
        """Gives you a pet."""
        await self.take_turn(interaction)
        fleet = await self.companions.adopt(str(interaction.user.id), name, role)
        await self._answer(interaction, f"{name} is yours now. {listening(fleet)}")

    @app_commands.command()
    async def pets(self, interaction: discord.Interaction[Any]) -> None:
        """Shows your pets; press one to talk to it."""
        await self.take_turn(interaction)
        text, view = shown(await self.companions.pets(str(interaction.user.id)))
        await interaction.followup.send(text, view=view, ephemeral=True, allowed_mentions=SILENT)

    @app_commands.command()
    async def release(self, interaction: discord.Interaction[Any], name: str) -> None:
        """Lets a pet go, with what it remembers."""
        await self.take_turn(interaction)
        fleet = await self.companions.release(str(interaction.user.id), name)
        await self._answer(interaction, f"{name} is free. {listening(fleet)}")

    @release.autocomplete("name")
    async def names(self, interaction: discord.Interaction[Any], typed: str) -> list[app_commands.Choice[str]]:
        """Return the user's pets that begin like this; `peek` waits for nobody, as typing must not."""
        fleet = await self.companions.store.peek(str(interaction.user.id))
        found = [pet.pet_name for pet in fleet.pets if pet.pet_name.casefold().startswith(typed.casefold())]
        return [app_commands.Choice(name=name, value=name) for name in found if len(name) <= 100][:25]

    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        """Let the active pet answer what is written to the bot directly."""
        if message.author.bot or message.is_system() or not isinstance(message.channel, discord.DMChannel):
            return
        before = self._turns.begin(message.author.id)
        if before is not None:
            await asyncio.wait([before])
        try:
            if not message.content:
                raise RefusedError("Pets understand text only.")
            # Discord may deliver a message again when the bot connects again: it is remembered once.
            answer = await self.companions.answer(str(message.author.id), message.content, message=str(message.id))
        except Exception as error:  # noqa: BLE001 - for a listener, discord.py has no handler but the log
            answer = excuse(error)
        await message.channel.send(cut(answer), allowed_mentions=SILENT)

    async def cog_app_command_error(
        self, interaction: discord.Interaction[Any], error: app_commands.AppCommandError
    ) -> None:
        """Tell the user what did not work."""
        await tell(interaction, error)

    async def _answer(self, interaction: discord.Interaction[Any], text: str) -> None:
        await interaction.followup.send(cut(text), ephemeral=True, allowed_mentions=SILENT)


async def setup(bot: commands.Bot) -> None:
    """Add the pets to a bot: what `load_extension` calls."""
    await bot.add_cog(Pets(os.environ.get("PETFLEET_DATA", "data")))
    bot.add_dynamic_items(Choose)


async def teardown(bot: commands.Bot) -> None:
    """Take the buttons out; `unload_extension` removes the cog itself."""
    bot.remove_dynamic_items(Choose)


class Bot(commands.Bot):
    """A bot that has pets and nothing else."""

    def __init__(self) -> None:
        # Direct messages come with their text although no privileged intent is asked for.
        # No prefix, no help: all that is written is for the pets.
        super().__init__((), help_command=None, intents=discord.Intents(guilds=True, dm_messages=True))

    async def setup_hook(self) -> None:
        """Load the pets, and tell Discord of the commands."""
        await setup(self)
        await self.tree.sync()


async def main(token: str) -> None:
    """Answer until SIGTERM or SIGINT."""
    async with Bot() as bot:
        serving = asyncio.create_task(bot.start(token))
        # Windows has no such handlers: there Ctrl-C ends asyncio.run.
        for number in () if sys.platform == "win32" else (signal.SIGTERM, signal.SIGINT):
            # Not bot.close(): that does not end a wait for the next attempt to connect.
            asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await serving


if __name__ == "__main__":
    discord.utils.setup_logging()
    asyncio.run(main(os.environ.get("DISCORD_TOKEN") or sys.exit("DISCORD_TOKEN has to be your bot's token")))

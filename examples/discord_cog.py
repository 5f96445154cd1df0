"""Pets for a Discord bot: /adopt, /pets, /release; direct messages go to the user's active pet.

    DISCORD_TOKEN=... python examples/discord_cog.py        # a bot of its own
    await bot.load_extension("discord_cog")                 # in your bot, with this file on the path

PETFLEET_DATA is the directory of all data (default: data). companions.py has all that does not depend on Discord.

Discord reports a command as failed if it is not answered within three seconds, and a disk or a lock may take longer.
So each handler first says "wait" (`defer`), and answers when the change is on disk. Only the user sees the answers
(`ephemeral`): pets know private things about their owners.
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

from companions import Companions, RefusedError, Turns, active_text, error_text, list_text
from petfleet import PetFleet

LONGEST: Final = 2000  # characters of a message
SILENT: Final = discord.AllowedMentions.none()  # a role may be "@everyone"


class Choose(discord.ui.DynamicItem[discord.ui.Button[Any]], template=r"petfleet:choose:(?P<name>(?s:.+))"):
    """A pet's button. It carries the pet's name, so that it still works after a restart of the bot."""

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
        """Make the presser's pet of that name the active one, and show the new list."""
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
    # Discord refuses a message with equal buttons, labels of over 80 characters, or more than 25 buttons. This bot
    # adopts no such pets, but the command line and other programs may add them.
    names = [name for name in dict.fromkeys(pet.pet_name for pet in fleet.pets) if len(name) <= 80]
    for name in names[:25]:
        view.add_item(Choose(name, active=name == fleet.active_pet))
    return cut(list_text(fleet)), view


def cut(text: str) -> str:
    """Escape markup, and shorten a text to the length of a message."""
    return discord.utils.escape_markdown(text)[:LONGEST]


async def tell(interaction: discord.Interaction[Any], error: BaseException) -> None:
    """Answer with an error."""
    text = cut(error_text(getattr(error, "original", error)))
    if interaction.response.is_done():
        await interaction.followup.send(text, ephemeral=True, allowed_mentions=SILENT)
    else:  # a check of the bot refused it
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
        """Finish all handlers while the bot is still connected; discord.py would drop them."""
        await self._turns.finish()
        await self.companions.__aexit__(None, None, None)

    async def take_turn(self, interaction: discord.Interaction[Any]) -> None:
        """Tell the user to wait, and return when the user's earlier messages are answered."""
        before = self._turns.begin(interaction.user.id)  # before `defer`, since requests overtake each other
        await interaction.response.defer(ephemeral=True)
        if before is not None:
            await asyncio.wait([before])

    @app_commands.command()
    @app_commands.describe(name="one word", role="what it is to you")
    async def adopt(self, interaction: discord.Interaction[Any], name: str, role: str) -> None:
        """Gives you a pet."""
        await self.take_turn(interaction)
        fleet = await self.companions.adopt(str(interaction.user.id), name, role)
        await self._answer(interaction, f"{name} is yours now. {active_text(fleet)}")

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
        await self._answer(interaction, f"{name} is free. {active_text(fleet)}")

    @release.autocomplete("name")
    async def names(self, interaction: discord.Interaction[Any], typed: str) -> list[app_commands.Choice[str]]:
        """Return the user's pets that begin with the typed text; `peek` waits for no lock, as typing must not."""
        fleet = await self.companions.store.peek(str(interaction.user.id))
        found = [pet.pet_name for pet in fleet.pets if pet.pet_name.casefold().startswith(typed.casefold())]
        return [app_commands.Choice(name=name, value=name) for name in found if len(name) <= 100][:25]

    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        """Let the active pet answer a direct message."""
        if message.author.bot or message.is_system() or not isinstance(message.channel, discord.DMChannel):
            return
        before = self._turns.begin(message.author.id)
        if before is not None:
            await asyncio.wait([before])
        try:
            if not message.content:
                raise RefusedError("Pets understand text only.")
            # Discord may deliver a message again after a reconnection; it is remembered once.
            answer = await self.companions.answer(str(message.author.id), message.content, message=str(message.id))
        except Exception as error:  # noqa: BLE001 - for a listener, discord.py has no handler but the log
            answer = error_text(error)
        await message.channel.send(cut(answer), allowed_mentions=SILENT)

    async def cog_app_command_error(
        self, interaction: discord.Interaction[Any], error: app_commands.AppCommandError
    ) -> None:
        """Tell the user about an error."""
        await tell(interaction, error)

    async def _answer(self, interaction: discord.Interaction[Any], text: str) -> None:
        await interaction.followup.send(cut(text), ephemeral=True, allowed_mentions=SILENT)


async def setup(bot: commands.Bot) -> None:
    """Add the pets to a bot; `load_extension` calls this."""
    await bot.add_cog(Pets(os.environ.get("PETFLEET_DATA", "data")))
    bot.add_dynamic_items(Choose)


async def teardown(bot: commands.Bot) -> None:
    """Remove the buttons; `unload_extension` removes the cog."""
    bot.remove_dynamic_items(Choose)


class Bot(commands.Bot):
    """A bot with pets only."""

    def __init__(self) -> None:
        # Direct messages contain their text even without a privileged intent.
        # No prefix, no help: all messages are for the pets.
        super().__init__((), help_command=None, intents=discord.Intents(guilds=True, dm_messages=True))

    async def setup_hook(self) -> None:
        """Load the pets, and register the commands with Discord."""
        await setup(self)
        await self.tree.sync()


async def main(token: str) -> None:
    """Answer until SIGTERM or SIGINT."""
    async with Bot() as bot:
        serving = asyncio.create_task(bot.start(token))
        # Windows has no such handlers; there Ctrl-C ends asyncio.run.
        for number in () if sys.platform == "win32" else (signal.SIGTERM, signal.SIGINT):
            # Not bot.close(): it does not end a wait for the next attempt to connect.
            asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await serving


if __name__ == "__main__":
    discord.utils.setup_logging()
    asyncio.run(main(os.environ.get("DISCORD_TOKEN") or sys.exit("DISCORD_TOKEN has to be your bot's token")))

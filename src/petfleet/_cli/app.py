"""The commands and their options. Each command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from petfleet import __version__
from petfleet._cli.settings import Misuse, find_root, read_settings, report_format


# typer's own type for ``ctx`` below is private.
class _Group(TyperGroup):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return _parse(self, ctx, args, super().parse_args)


class _Command(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return _parse(self, ctx, args, super().parse_args)


def _parse(
    command: TyperGroup | TyperCommand,
    ctx: typer.Context,
    args: list[str],
    parse: Callable[[typer.Context, list[str]], list[str]],
) -> list[str]:
    """Parse a command's arguments, and note whether they ask for JSON, even if something else in them is wrong.

    Looking for the word ``--json`` instead would be wrong: after ``--`` it may be a user.
    """
    copy = list(args)  # parsing empties the list
    try:
        left = parse(ctx, args)
    except typer.TyperException:
        ctx.resilient_parsing = True
        parser = command.make_parser(ctx)
        parser.ignore_unknown_options = True
        options, _, _ = parser.parse_args(copy)
        report_format(ctx).json |= bool(options.get("json"))
        raise
    report_format(ctx).json |= bool(ctx.params.get("json"))
    return left


app = typer.Typer(
    cls=_Group,
    rich_markup_mode=None,  # help texts with markup import all of rich, which takes twice as long
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Look after fleets of pet personas: one fleet.toml for each user, under one root directory or in a bucket.",
    epilog="Exit codes: 0 all is well, 1 something is wrong, 2 misuse.",
)


# In a bucket nothing is completed: each press of a key would send requests and wait for the answers.
def _complete_user(ctx: typer.Context, incomplete: str) -> list[str]:
    root = find_root(ctx, ctx.params.get("root"))
    try:
        names = [name for name in os.listdir(root or "") if name.startswith(incomplete)]
    except OSError:
        return []  # an error message would disturb the line that is being typed
    return sorted(name for name in names if os.path.exists(os.path.join(root or "", name, "fleet.toml")))


def _complete_pet(ctx: typer.Context, incomplete: str) -> list[str]:
    from petfleet import loads

    try:
        root = find_root(ctx, ctx.params.get("root"))
        with open(os.path.join(root or "", ctx.params["user"], "fleet.toml"), "rb") as file:
            fleet = loads(file.read())
    except (OSError, ValueError, KeyError, TypeError):
        return []  # as above
    return [pet.pet_name for pet in fleet.pets if pet.pet_name.startswith(incomplete)]


Root = Annotated[
    str | None,
    typer.Option(
        "--root",
        metavar="DIRECTORY|URL",
        help="The directory of all fleets, or a bucket like s3://bucket/prefix (gs://, az://); if left out, "
        "PETFLEET_ROOT. A bucket's options come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
        "AWS_REGION, AWS_ENDPOINT_URL, AWS_ALLOW_HTTP=true, AWS_SKIP_SIGNATURE=true, and more that obstore documents; "
        "for other stores GOOGLE_... and AZURE_....",
    ),
]
# Each command has a parameter for it, and none reads it: the parser has noted it by then.
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one value a line.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
User = Annotated[str, typer.Argument(metavar="USER", help="Whose fleet.", autocompletion=_complete_user)]
SomeUser = Annotated[
    str | None, typer.Argument(metavar="[USER]", help="Whose fleet; all if left out.", autocompletion=_complete_user)
]
Pet = Annotated[str, typer.Argument(metavar="PET", help="The pet's name.", autocompletion=_complete_pet)]
SomePet = Annotated[
    str | None,
    typer.Argument(metavar="[PET]", help="The pet's name; the active one if left out.", autocompletion=_complete_pet),
]
Seconds = Annotated[
    int | None, typer.Option("--at", metavar="SECONDS", help="Unix time when the pet was last active; else now.")
]


_command = partial(app.command, cls=_Command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"petfleet {__version__}")
        raise typer.Exit


@app.callback()
def petfleet(
    root: Root = None,
    json: Json = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass  # options before the command; each command takes them too


@_command("list")
def list_(ctx: typer.Context, root: Root = None, json: Json = False) -> None:
    """List the users, in no order: the number of pets, the active pet, the last change."""
    from petfleet._cli.commands import list

    list.list_users(read_settings(ctx, root))


@_command()
def show(ctx: typer.Context, user: User, root: Root = None, json: Json = False) -> None:
    """Show a user's fleet."""
    from petfleet._cli.commands import show

    show.show(read_settings(ctx, root), user)


@_command()
def add(
    ctx: typer.Context,
    user: User,
    pet: Annotated[str, typer.Argument(metavar="PET", help="The new pet's name.")],
    role: Annotated[str, typer.Option(help="The pet's role for its user.")] = "",
    manifest: Annotated[str, typer.Option(metavar="PATH", help="The pet's manifest; it is not opened.")] = "",
    at: Seconds = None,
    root: Root = None,
    json: Json = False,
) -> None:
    """Add a pet; if none is active, it becomes active. Creates the fleet, and the root, if there is none yet."""
    from petfleet._cli.commands import change

    change.add(read_settings(ctx, root, may_be_missing=True), user, pet, role, manifest, at)


@_command()
def switch(ctx: typer.Context, user: User, pet: Pet, root: Root = None, json: Json = False) -> None:
    """Make a pet the active one."""
    from petfleet._cli.commands import change

    change.switch(read_settings(ctx, root), user, pet)


@_command()
def remove(ctx: typer.Context, user: User, pet: Pet, root: Root = None, json: Json = False) -> None:
    """Take a pet out of the fleet. Its manifest stays."""
    from petfleet._cli.commands import change

    change.remove(read_settings(ctx, root), user, pet)


@_command()
def touch(
    ctx: typer.Context, user: User, pet: SomePet = None, at: Seconds = None, root: Root = None, json: Json = False
) -> None:
    """Set when a pet was last active."""
    from petfleet._cli.commands import change

    change.touch(read_settings(ctx, root), user, pet, at)


@_command()
def delete(ctx: typer.Context, user: User, yes: Yes = False, root: Root = None, json: Json = False) -> None:
    """Delete a user's fleet, after asking."""
    from petfleet._cli.commands import delete

    delete.delete(read_settings(ctx, root), user, yes=yes)


@_command()
def edit(ctx: typer.Context, user: User, yes: Yes = False, root: Root = None, json: Json = False) -> None:
    """Edit a user's fleet as TOML, in VISUAL or EDITOR: a copy, saved only if the fleet has not changed meanwhile.

    Comments and layout are petfleet's own, as after every change.
    """
    from petfleet._cli.commands import edit

    edit.edit(read_settings(ctx, root), user, yes=yes)


@_command()
def check(
    ctx: typer.Context,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Recover what dead writers left, and set aside files that are not fleets. Deletes no content.",
        ),
    ] = False,
    root: Root = None,
    json: Json = False,
) -> None:
    """Check all fleets under the root, and its file system; in a bucket, only the fleets."""
    from petfleet._cli.commands import check

    check.check(read_settings(ctx, root), repair=repair)


@_command()
def watch(
    ctx: typer.Context,
    user: SomeUser = None,
    interval: Annotated[
        float | None,
        typer.Option(
            min=0.01, metavar="SECONDS", help="Time between two polls of a bucket, which cost requests; 1 if left out."
        ),
    ] = None,
    root: Root = None,
    json: Json = False,
) -> None:
    """Follow changes as they happen, until Ctrl-C."""
    from petfleet._cli.commands import watch

    settings = read_settings(ctx, root)
    if interval is not None and not settings.in_bucket:
        raise Misuse("--interval is for buckets: of a directory, the system tells what changes")
    watch.watch(settings, user, interval)


@_command()
def export(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where to write JSON Lines; - for standard output.")],
    root: Root = None,
    json: Json = False,
) -> None:
    """Write the whole store as JSON Lines: each user's id and TOML text. Writers may go on meanwhile."""
    from petfleet._cli.commands import export

    export.export(read_settings(ctx, root), file)


@_command("import")
def import_(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `export` wrote; - for standard input.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace fleets that differ.")] = False,
    root: Root = None,
    json: Json = False,
) -> None:
    """Save the fleets of an export. Without --overwrite, users keep another fleet. It may be run again."""
    from petfleet._cli.commands import import_

    import_.import_(read_settings(ctx, root, may_be_missing=True), file, overwrite=overwrite)


@_command()
def demo(
    ctx: typer.Context,
    seconds: Annotated[float, typer.Option(help="How long.", min=0.1)] = 5,
    users: Annotated[int, typer.Option(help="How many, besides the hot one.", min=1)] = 200,
    tasks: Annotated[int, typer.Option(help="How many in each worker.", min=1)] = 32,
    workers: Annotated[int, typer.Option(help="How many processes.", min=1)] = 4,
    json: Json = False,
) -> None:
    """Kill one of four busy processes, and lose nothing: in a temporary directory."""
    from petfleet._cli.commands import demo

    options = demo.Options(seconds, users, tasks, workers, report_format(ctx).json)
    raise typer.Exit(demo.demo(options))

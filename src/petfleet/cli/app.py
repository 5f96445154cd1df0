"""The commands and their options. Only what a command needs is imported, by the command itself: `--help` is quick."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from petfleet import __version__
from petfleet.cli.settings import Misuse, find_root, read_settings

app = typer.Typer(
    rich_markup_mode=None,  # its help would import all of rich, and take twice as long
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Look after fleets of pet personas: one fleet.toml for each user, under one root directory or in a bucket.",
    epilog="Exit codes: 0 all is well, 1 something is wrong, 2 misuse.",
)


# In a bucket nothing is completed: each press of a key would cost requests, and wait for them.
def _complete_user(ctx: typer.Context, incomplete: str) -> list[str]:
    root = find_root(ctx, ctx.params.get("root"))
    try:
        names = [name for name in os.listdir(root or "") if name.startswith(incomplete)]
    except OSError:
        return []  # there is no one to tell
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
        help="The directory of all fleets, or a bucket like s3://bucket/prefix (gs://, az://); else PETFLEET_ROOT "
        "names it. A bucket's options come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, "
        "AWS_ENDPOINT_URL, AWS_ALLOW_HTTP=true, AWS_SKIP_SIGNATURE=true, and what else obstore names; GOOGLE_..., "
        "AZURE_... likewise.",
    ),
]
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
    pass  # the options before a command; each command takes them too


@app.command("list")
def list_(ctx: typer.Context, root: Root = None, json: Json = False) -> None:
    """List the users: how many pets, which is active, the last change. In no order: sort it if you like."""
    from petfleet.cli.commands import show

    show.list_users(read_settings(ctx, root, json))


@app.command()
def show(ctx: typer.Context, user: User, root: Root = None, json: Json = False) -> None:
    """Show a user's fleet."""
    from petfleet.cli.commands import show

    show.show(read_settings(ctx, root, json), user)


@app.command()
def add(
    ctx: typer.Context,
    user: User,
    pet: Annotated[str, typer.Argument(metavar="PET", help="The new pet's name.")],
    role: Annotated[str, typer.Option(help="What the pet is to its user.")] = "",
    manifest: Annotated[str, typer.Option(metavar="PATH", help="The pet's manifest; it is not opened.")] = "",
    at: Seconds = None,
    root: Root = None,
    json: Json = False,
) -> None:
    """Add a pet; if none is active, it becomes active. Makes the fleet, and the root, if there is none yet."""
    from petfleet.cli.commands import change

    change.add(read_settings(ctx, root, json, may_be_missing=True), user, pet, role, manifest, at)


@app.command()
def switch(ctx: typer.Context, user: User, pet: Pet, root: Root = None, json: Json = False) -> None:
    """Make a pet the active one."""
    from petfleet.cli.commands import change

    change.switch(read_settings(ctx, root, json), user, pet)


@app.command()
def remove(ctx: typer.Context, user: User, pet: Pet, root: Root = None, json: Json = False) -> None:
    """Take a pet out of the fleet. Its manifest stays."""
    from petfleet.cli.commands import change

    change.remove(read_settings(ctx, root, json), user, pet)


@app.command()
def touch(
    ctx: typer.Context, user: User, pet: SomePet = None, at: Seconds = None, root: Root = None, json: Json = False
) -> None:
    """Set when a pet was last active."""
    from petfleet.cli.commands import change

    change.touch(read_settings(ctx, root, json), user, pet, at)


@app.command()
def delete(ctx: typer.Context, user: User, yes: Yes = False, root: Root = None, json: Json = False) -> None:
    """Delete a user's fleet, after asking."""
    from petfleet.cli.commands import change

    change.delete(read_settings(ctx, root, json), user, yes=yes)


@app.command()
def edit(ctx: typer.Context, user: User, yes: Yes = False, root: Root = None, json: Json = False) -> None:
    """Edit a user's fleet as TOML, in VISUAL or EDITOR: a copy, saved only if the fleet has not changed meanwhile.

    Comments and layout are petfleet's own, as after every change.
    """
    from petfleet.cli.commands import edit

    edit.edit(read_settings(ctx, root, json), user, yes=yes)


@app.command()
def check(
    ctx: typer.Context,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Recover what dead writers left, and set aside what is no fleet. Deletes no content.",
        ),
    ] = False,
    root: Root = None,
    json: Json = False,
) -> None:
    """Look for what is wrong under the root, and at the file system that it is on; in a bucket, at the fleets alone."""
    from petfleet.cli.commands import check

    check.check_root(read_settings(ctx, root, json), repair=repair)


@app.command()
def watch(
    ctx: typer.Context,
    user: SomeUser = None,
    interval: Annotated[
        float | None,
        typer.Option(
            min=0.01, metavar="SECONDS", help="From one look into a bucket to the next, each by requests; else 1."
        ),
    ] = None,
    root: Root = None,
    json: Json = False,
) -> None:
    """Follow changes as they happen, until Ctrl-C."""
    from petfleet.cli.commands import watch

    settings = read_settings(ctx, root, json)
    if interval is not None and not settings.in_bucket:
        raise Misuse("--interval is for buckets: of a directory, the system tells what changes")
    watch.follow(settings, user, interval)


@app.command("export")
def export(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where to write JSON Lines; - for standard output.")],
    root: Root = None,
    json: Json = False,
) -> None:
    """Write the whole store as JSON Lines: each user's id and TOML text. Writers may go on meanwhile."""
    from petfleet.cli.commands import transfer

    transfer.export(read_settings(ctx, root, json), file)


@app.command("import")
def import_(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `export` wrote; - for standard input.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace fleets that differ.")] = False,
    root: Root = None,
    json: Json = False,
) -> None:
    """Save the fleets of an export. A user who has another fleet keeps it, unless told; run it again at will."""
    from petfleet.cli.commands import transfer

    transfer.import_(read_settings(ctx, root, json, may_be_missing=True), file, overwrite=overwrite)


@app.command()
def demo(
    ctx: typer.Context,
    seconds: Annotated[float, typer.Option(help="How long.", min=0.1)] = 5,
    users: Annotated[int, typer.Option(help="How many, beside the hot one.", min=1)] = 200,
    tasks: Annotated[int, typer.Option(help="How many in each worker.", min=1)] = 32,
    workers: Annotated[int, typer.Option(help="How many processes.", min=1)] = 4,
    json: Json = False,
) -> None:
    """Kill one of four busy processes, and lose nothing: in a temporary directory."""
    from petfleet.cli.commands import demo

    json = json or bool(ctx.find_root().params.get("json"))
    raise typer.Exit(demo.run_demo(demo.Options(seconds, users, tasks, workers, json)))

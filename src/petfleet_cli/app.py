"""The commands and their options. Only what a command needs is imported, by the command itself: `--help` is quick."""

from __future__ import annotations

import os
import stat
from typing import Annotated, NamedTuple

import typer


class Misuse(typer.TyperException):
    """The command cannot be carried out as it was given."""

    exit_code = 2


class Settings(NamedTuple):
    """What each command is told.

    Attributes:
        root: the directory of all fleets, absolute; or the URL of a bucket.
        json: whether to print JSON, one value a line.
    """

    root: str
    json: bool

    @property
    def in_bucket(self) -> bool:
        """Whether the root is a URL, and no directory."""
        return "://" in self.root


app = typer.Typer(
    rich_markup_mode=None,  # its help would import all of rich, and take twice as long
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Look after fleets of pet personas: one fleet.toml for each user, under one root directory or in a bucket.",
    epilog="Exit codes: 0 all is well, 1 something is wrong, 2 misuse.",
)


# In a bucket nothing is completed: each press of a key would cost requests, and wait for them.
def _complete_user(ctx: typer.Context, incomplete: str) -> list[str]:
    root = _find_root(ctx, ctx.params.get("root"))
    try:
        names = [name for name in os.listdir(root or "") if name.startswith(incomplete)]
    except OSError:
        return []  # there is no one to tell
    return sorted(name for name in names if os.path.exists(os.path.join(root or "", name, "fleet.toml")))


def _complete_pet(ctx: typer.Context, incomplete: str) -> list[str]:
    from petfleet import loads

    try:
        root = _find_root(ctx, ctx.params.get("root"))
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


def _find_root(ctx: typer.Context, root: str | None) -> str | None:
    above = ctx.find_root().params.get("root")
    return root or above or os.environ.get("PETFLEET_ROOT")


def _settings(ctx: typer.Context, root: str | None, json: bool, *, may_be_missing: bool = False) -> Settings:
    found = _find_root(ctx, root)
    if not found:
        raise Misuse("which fleets? pass --root DIRECTORY, or set PETFLEET_ROOT")
    settings = Settings(found, json or bool(ctx.find_root().params.get("json")))
    if not settings.in_bucket:
        _check_directory(found, may_be_missing=may_be_missing)
    import logging

    # A command says itself what there is to say, in its own form.
    logging.getLogger("petfleet").setLevel(logging.ERROR)
    return settings._replace(root=found if settings.in_bucket else os.path.abspath(found))


def _check_directory(root: str, *, may_be_missing: bool) -> None:
    try:
        there = stat.S_ISDIR(os.stat(root).st_mode)
        missing = False
    except (FileNotFoundError, NotADirectoryError):
        there, missing = False, True
    if not there and not (may_be_missing and missing):
        raise Misuse(f"{root} is no directory: pass the root of all fleets as --root, or in PETFLEET_ROOT")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"petfleet {version('petfleet')}")
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
    from petfleet_cli import listing

    listing.list_users(_settings(ctx, root, json))


@app.command()
def show(ctx: typer.Context, user: User, root: Root = None, json: Json = False) -> None:
    """Show a user's fleet."""
    from petfleet_cli import listing

    listing.show(_settings(ctx, root, json), user)


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
    from petfleet_cli import changing

    changing.add(_settings(ctx, root, json, may_be_missing=True), user, pet, role, manifest, at)


@app.command()
def switch(ctx: typer.Context, user: User, pet: Pet, root: Root = None, json: Json = False) -> None:
    """Make a pet the active one."""
    from petfleet_cli import changing

    changing.switch(_settings(ctx, root, json), user, pet)


@app.command()
def remove(ctx: typer.Context, user: User, pet: Pet, root: Root = None, json: Json = False) -> None:
    """Take a pet out of the fleet. Its manifest stays."""
    from petfleet_cli import changing

    changing.remove(_settings(ctx, root, json), user, pet)


@app.command()
def touch(
    ctx: typer.Context, user: User, pet: SomePet = None, at: Seconds = None, root: Root = None, json: Json = False
) -> None:
    """Set when a pet was last active."""
    from petfleet_cli import changing

    changing.touch(_settings(ctx, root, json), user, pet, at)


@app.command()
def delete(ctx: typer.Context, user: User, yes: Yes = False, root: Root = None, json: Json = False) -> None:
    """Delete a user's fleet, after asking."""
    from petfleet_cli import changing

    changing.delete(_settings(ctx, root, json), user, yes=yes)


@app.command()
def edit(ctx: typer.Context, user: User, yes: Yes = False, root: Root = None, json: Json = False) -> None:
    """Edit a user's fleet as TOML, in VISUAL or EDITOR: a copy, saved only if the fleet has not changed meanwhile.

    Comments and layout are petfleet's own, as after every change.
    """
    from petfleet_cli import editing

    editing.edit(_settings(ctx, root, json), user, yes=yes)


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
    from petfleet_cli import check

    check.check_root(_settings(ctx, root, json), repair=repair)


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
    from petfleet_cli import following

    settings = _settings(ctx, root, json)
    if interval is not None and not settings.in_bucket:
        raise Misuse("--interval is for buckets: of a directory, the system tells what changes")
    following.follow(settings, user, interval)


@app.command("export")
def export(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where to write JSON Lines; - for standard output.")],
    root: Root = None,
    json: Json = False,
) -> None:
    """Write the whole store as JSON Lines: each user's id and TOML text. Writers may go on meanwhile."""
    from petfleet_cli import transfer

    transfer.export(_settings(ctx, root, json), file)


@app.command("import")
def import_(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `export` wrote; - for standard input.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace fleets that differ.")] = False,
    root: Root = None,
    json: Json = False,
) -> None:
    """Save the fleets of an export. A user who has another fleet keeps it, unless told; run it again at will."""
    from petfleet_cli import transfer

    transfer.import_(_settings(ctx, root, json, may_be_missing=True), file, overwrite=overwrite)


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
    from petfleet_cli import demo

    json = json or bool(ctx.find_root().params.get("json"))
    raise typer.Exit(demo.run_demo(demo.Options(seconds, users, tasks, workers, json)))

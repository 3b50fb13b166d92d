"""`anamnesis keys …`: the API keys of the gateway on this machine. They work on the key file, not over the API."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.command_line import examples

if TYPE_CHECKING:
    from gateway.auth.keys import KeyStore

keys = typer.Typer(
    help="API keys of the gateway. The key file is found by the gateway's own settings (ANAMNESIS_GATEWAY_…).",
    no_args_is_help=True,
    epilog=examples("anamnesis keys create ward-7", "anamnesis keys list", "anamnesis keys revoke 1f0c9a3e"),
)


@keys.command(
    epilog=examples(
        "anamnesis keys create ward-7", "ANAMNESIS_API_KEY=$(anamnesis keys create ward-7) anamnesis train list"
    )
)
def create(name: Annotated[str, typer.Argument(help="Whose key it is; for people.")]) -> None:
    """Make a key and show it, this once. Only its hash is kept."""
    key, text = _store().create(name)
    print(f"Key {key.key_id} for {name!r}. It is shown this once; only its hash is kept:", file=sys.stderr)
    typer.echo(text)


@keys.command("list", epilog=examples("anamnesis keys list"))
def list_command() -> None:
    """Every key by its id, without the key."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for heading in ("id", "name", "created", "revoked"):
        table.add_column(heading)
    for key in _store().all():
        revoked = key.revoked_at.isoformat(timespec="seconds") if key.revoked_at else "-"
        table.add_row(key.key_id, key.name, key.created_at.isoformat(timespec="seconds"), revoked)
    Console().print(table if table.row_count else "No keys yet. Make one: anamnesis keys create NAME")


@keys.command(epilog=examples("anamnesis keys revoke 1f0c9a3e"))
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, not the key.")]) -> None:
    """Close a key; a gateway that is running refuses it from then on."""
    if not _store().revoke(key_id):
        print(f"error: there is no key {key_id!r}; `anamnesis keys list` shows them", file=sys.stderr)
        raise typer.Exit(1)
    typer.echo(f"{key_id} is revoked")


def _store() -> KeyStore:
    from gateway.auth.keys import KeyStore
    from gateway.settings import GatewaySettings
    from service_kit.settings import load_settings

    return KeyStore(load_settings(GatewaySettings, "gateway").key_file)

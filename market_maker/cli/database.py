"""`db`: the schema, and a way out when a workflow cannot go on."""

import asyncio
from typing import Annotated, Any

import typer

from market_maker.cli.operating import confirm
from market_maker.cli.options import ConfigOption, JsonOption, YesOption
from market_maker.cli.output import write_json, write_note, write_rows, write_text

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="""
    Look after the database.

    For example:

      market-maker db current --config configs/paper.yaml

      market-maker db upgrade --config configs/paper.yaml
    """,
)


@app.command()
def upgrade(config: ConfigOption, json: JsonOption = False) -> None:
    """
    Bring the schema to what this program needs; makes a database that is missing.

    Stop the bot and make a backup first.

    For example:

      market-maker db upgrade --config configs/paper.yaml
    """
    from market_maker import bootstrap
    from market_maker.config.loader import load_settings

    settings = load_settings(config)
    revision = bootstrap.upgrade_database(settings)
    if json:
        write_json({"database": settings.database.display_url, "revision": revision})
    else:
        write_text(f"{settings.database.display_url} has schema {revision}")


@app.command()
def current(config: ConfigOption, json: JsonOption = False) -> None:
    """
    Show the schema of the database and the one that this program needs.

    For example:

      market-maker db current --config configs/paper.yaml --json
    """
    from market_maker import bootstrap
    from market_maker.config.loader import load_settings

    settings = load_settings(config)
    found, needed = bootstrap.current_schema(settings)
    if json:
        write_json(
            {
                "database": settings.database.display_url,
                "revision": found,
                "needed": needed,
                "is_current": found == needed,
            }
        )
        return
    verdict = "is current" if found == needed else f"this program needs {needed}"
    write_text(f"{settings.database.display_url} has schema {found or 'none'}; {verdict}")


@app.command()
def rescue(
    workflow_id: Annotated[str, typer.Argument(metavar="WORKFLOW_ID", help="BOT/LANE/SEQUENCE.")],
    config: ConfigOption,
    resume: Annotated[
        bool, typer.Option("--resume", help="Set it back to pending; the next start completes it.")
    ] = False,
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """
    Show a workflow that stands at the head of a lane and cannot go on; with --resume, free it.

    A start that says "workflow … must not be skipped" names the id. Skipping it would lose the
    updates in it, so it is completed instead: --resume sets it to PENDING and forgets the outcome
    of those of its steps that failed. The next start runs these again, which is safe: what was
    decided stays decided, a place that runs again asks the venue and sends nothing, and what was
    recorded is not recorded twice. Remove the cause of the error first. Refused while a bot runs.

    For example:

      market-maker db rescue paper/0/000000042 --config configs/paper.yaml

      market-maker db rescue paper/0/000000042 --config configs/paper.yaml --resume --yes
    """
    from market_maker import bootstrap
    from market_maker.config.loader import load_settings

    settings = load_settings(config)
    found = dict(bootstrap.find_workflow(settings, workflow_id))
    if resume:
        confirm(f"Set workflow {workflow_id}, now {found['status']}, to PENDING?", yes=yes)
        found = dict(asyncio.run(bootstrap.resume_workflow(settings, workflow_id)))
    if json:
        write_json(found)
    else:
        _write(found)
    if resume:
        write_note("the next start completes it")


def _write(found: dict[str, Any]) -> None:
    for name, value in found.items():
        if name != "steps":
            write_text(f"{name.replace('_', ' ')}: {'–' if value is None else value}")
    write_rows(found["steps"], ("number", "name", "has_output", "error"), empty="no step has ended")

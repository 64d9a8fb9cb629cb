"""`config`: what is wrong with the settings and where; what they amount to; examples."""

from typing import Annotated, Any

import typer

from market_maker.cli.options import ConfigOption, JsonOption
from market_maker.cli.output import write_json, write_text
from market_maker.config.settings import Settings
from market_maker.domain.errors import ConfigError

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="""
    Check and show settings; nothing is started.

    For example:

      market-maker config check --config configs/paper.yaml

      market-maker config show --config configs/paper.yaml
    """,
)


@app.command()
def check(config: ConfigOption, json: JsonOption = False) -> None:
    """
    Say OK, or everything that is wrong: file, key, what was expected, nearest known key.

    For example:

      market-maker config check --config configs/paper.yaml

      market-maker config check --config configs/paper.yaml --config secrets.yaml --json
    """
    from market_maker.config.loader import load_settings

    try:
        settings = load_settings(config)
        _check_strategies(settings)
    except ConfigError as error:
        if not json:
            raise
        lines = str(error).splitlines()
        problems = [line.strip() for line in (lines[1:] if len(lines) > 1 else lines)]
        write_json({"ok": False, "bot": None, "problems": problems})
        raise typer.Exit(2) from error
    if json:
        write_json({"ok": True, "bot": settings.bot, "problems": []})
    else:
        symbols = ", ".join(entry.symbol for entry in settings.symbols)
        venue = f"{settings.venue.name} ({settings.venue.adapter})"
        write_text(
            f"OK: bot {settings.bot} trades {symbols} at {venue}, "
            f"remembers in {settings.database.display_url}"
        )


@app.command()
def show(config: ConfigOption, json: JsonOption = False) -> None:
    """
    Print the effective settings: files, environment and defaults together, secrets hidden.

    For example:

      market-maker config show --config configs/paper.yaml

      market-maker config show --config configs/paper.yaml --json
    """
    from market_maker.config.loader import load_settings
    from market_maker.config.settings import effective_settings

    found = effective_settings(load_settings(config))
    if json:
        write_json(found)
    else:
        write_text(_to_yaml(found))


@app.command()
def example(
    name: Annotated[str, typer.Argument(help="Which one; none lists them.")] = "",
    json: JsonOption = False,
) -> None:
    """
    Print a complete, commented settings file to start from.

    For example:

      market-maker config example

      market-maker config example paper > bot.yaml
    """
    from market_maker.config.examples import example_names, load_example

    text = load_example(name) if name else ""
    if json:
        write_json({"name": name, "text": text} if name else list(example_names()))
    else:
        write_text(text or "\n".join(example_names()))


def _check_strategies(settings: Settings) -> None:
    """What only the strategy itself knows to be wrong."""
    from market_maker.bootstrap import risk_limits, strategy_settings

    for number, entry in enumerate(settings.symbols):
        try:
            strategy_settings(entry)
            risk_limits(entry)
        except ConfigError as error:
            raise ConfigError(f"symbols.{number}.strategy ({entry.symbol}): {error}") from error


def _to_yaml(values: dict[str, Any]) -> str:
    import yaml

    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
    return text

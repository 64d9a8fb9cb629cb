"""No secret reaches a log, an error or the journal."""

from typing import Final
from urllib.parse import quote

import pytest
from sqlalchemy import create_engine, inspect, text

from market_maker.adapters.store.engines import parse_url
from tests.e2e.conftest import MakeBot
from tests.e2e.harness import KILLED, Bot, check

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(240),
    pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True),
]

# Throw-away, and with characters that are written differently inside a URL.
PASSWORD: Final = "s3cr3t/with space+and@sign"  # pragma: allowlist secret
TRACES: Final = (PASSWORD, quote(PASSWORD, safe=""), PASSWORD.split("/")[0])


def everything_written(bot: Bot) -> dict[str, str]:
    """Every file of the bot's folder except its settings."""
    return {
        path.name: path.read_bytes().decode(errors="replace")
        for path in bot.folder.iterdir()
        if path.is_file() and path.suffix != ".json" and path.name != "password"
    }


def everything_stored(bot: Bot) -> dict[str, str]:
    """Every row of every table, DBOS's included."""
    engine = create_engine(parse_url(bot.database_url))
    found = {}
    with engine.connect() as connection:
        names = inspect(connection)
        for schema in names.get_schema_names():
            if schema in {"information_schema", "pg_catalog"}:
                continue
            for table in names.get_table_names(schema):
                rows = connection.execute(text(f'SELECT * FROM "{schema}"."{table}"')).all()
                found[f"{schema}.{table}"] = repr(rows)
    engine.dispose()
    return found


def assert_no_trace(bot: Bot) -> None:
    for place, content in (everything_written(bot) | everything_stored(bot)).items():
        for trace in TRACES:
            assert trace not in content, f"{place} contains the password"


def with_password(bot: Bot, *, how: str) -> dict[str, object]:
    """The database settings with a password that the server does not ask for, or would refuse."""
    url = bot.database_url
    if how == "url":
        user, _, rest = url.removeprefix("postgresql://").partition("@")
        return {"url": f"postgresql://{user.rstrip(':')}:{quote(PASSWORD, safe='')}@{rest}"}
    if how == "file":
        bot.folder.mkdir(parents=True, exist_ok=True)
        (bot.folder / "password").write_text(PASSWORD + "\n")
        return {"url": url, "password_file": str(bot.folder / "password")}
    return {"url": url, "password": "${THE_PASSWORD}"}


@pytest.mark.parametrize("how", ["url", "file", "variable"])
def test_the_password_of_the_database_is_in_no_log_and_no_row(make_bot: MakeBot, how: str) -> None:
    bot = make_bot()
    database = with_password(bot, how=how)
    environment = {"THE_PASSWORD": PASSWORD}
    settings = bot.settings | {"database": database}
    bot.settings["logging"]["level"] = "DEBUG"

    for failpoint in ("place.among_sends:kill:2", "record.inside:error:6"):
        process = bot.start(settings=settings, failpoint=failpoint, environment=environment)
        process.expect(KILLED, 70)
    shown = bot.run(command="config show", settings=settings, environment=environment)
    bot.settle()

    assert "starting" in bot.events()
    assert "postgresql" in shown.out()
    assert_no_trace(bot)
    check(bot, label=f"password in {how}")


def test_an_error_that_names_the_database_hides_the_password(make_bot: MakeBot) -> None:
    bot = make_bot()
    refused = "postgresql://nobody:" + quote(PASSWORD, safe="") + "@127.0.0.1:1/nowhere"
    settings = bot.settings | {"database": {"url": refused}}

    for command, arguments in (("run", ()), ("status", ("--json",)), ("pause", ())):
        process = bot.start(*arguments, command=command, settings=settings)
        assert process.wait() not in (0, 70), process.tail()
        assert "127.0.0.1" in process.err(), process.tail()
    wrong = bot.settings | {"database": {"url": refused, "passwort": PASSWORD}}
    assert bot.start(settings=wrong).wait() == 2

    for place, content in everything_written(bot).items():
        assert not [trace for trace in TRACES if trace in content], place

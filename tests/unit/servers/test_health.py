"""The health server, asked over a real loopback socket."""

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import AsyncIterator, Mapping

from structlog.testing import capture_logs

from market_maker.servers.health import serve_health


class Bot:
    """What the server is told by a bot."""

    def __init__(self) -> None:
        self.stuck: str | None = None
        self.error: Exception | None = None

    def liveness(self) -> str | None:
        return self.stuck

    async def status(self) -> Mapping[str, object]:
        if self.error is not None:
            raise self.error
        return {"bot": "paper", "position": "0.1"}

    def metrics(self) -> bytes:
        return b"market_maker_updates_total 3.0\n"


@contextlib.asynccontextmanager
async def serving(bot: Bot) -> AsyncIterator[int]:
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve_health(
            "127.0.0.1",
            0,
            liveness=bot.liveness,
            status=bot.status,
            metrics=bot.metrics,
            on_listening=listening.set_result,
        )
    )
    try:
        async with asyncio.timeout(5):
            yield await listening
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def ask(port: int, path: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def test_a_live_bot_answers_ok() -> None:
    async with serving(Bot()) as port:
        code, body = await ask(port, "/health")

    assert (code, json.loads(body)) == (200, {"status": "ok"})


async def test_a_stuck_lane_answers_503_with_the_reason() -> None:
    bot = Bot()
    bot.stuck = "lane 1 has not moved for 30 s"

    async with serving(bot) as port:
        code, body = await ask(port, "/health")

    assert code == 503
    assert json.loads(body)["reason"] == "lane 1 has not moved for 30 s"


async def test_status_and_metrics_are_what_the_bot_says() -> None:
    async with serving(Bot()) as port:
        status = await ask(port, "/status")
        metrics = await ask(port, "/metrics")

    assert (status[0], json.loads(status[1])) == (200, {"bot": "paper", "position": "0.1"})
    assert metrics == (200, b"market_maker_updates_total 3.0\n")


async def test_an_error_in_the_status_is_not_told_to_strangers() -> None:
    bot = Bot()
    bot.error = RuntimeError("password is hunter2")

    async with serving(bot) as port:
        code, body = await ask(port, "/status")

    assert code == 503
    assert b"hunter2" not in body


async def test_a_taken_port_is_a_warning_and_not_an_error() -> None:
    bot = Bot()
    with socket.create_server(("127.0.0.1", 0)) as other, capture_logs() as events:
        port = other.getsockname()[1]
        async with asyncio.timeout(5):
            await serve_health(
                "127.0.0.1", port, liveness=bot.liveness, status=bot.status, metrics=bot.metrics
            )

    assert [event["event"] for event in events] == ["health_server_unavailable"]
    assert events[0]["log_level"] == "warning"


async def test_signals_of_the_process_are_left_alone() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    async with serving(Bot()):
        during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    assert during == before


async def test_canceling_frees_the_port_at_once() -> None:
    async with serving(Bot()) as port:
        await ask(port, "/health")

    with socket.create_server(("127.0.0.1", port)):
        pass

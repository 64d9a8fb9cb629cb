# The first stage has the tools to build; the second has only what runs.
FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/market-maker \
    && /opt/market-maker/bin/pip install --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE alembic.ini ./
COPY configs ./configs
COPY market_maker ./market_maker
# hatchling comes from the lock, so that nothing unpinned is fetched here; it does not stay.
RUN /opt/market-maker/bin/pip install --no-deps --no-build-isolation . \
    && /opt/market-maker/bin/pip uninstall --yes hatchling pip

FROM python:3.11-slim
RUN useradd --system --uid 10001 --create-home --home-dir /srv/market-maker market-maker
COPY --from=build /opt/market-maker /opt/market-maker
COPY --chown=market-maker configs /srv/market-maker/configs
RUN install -d -o market-maker -g market-maker /srv/market-maker/var
ENV PATH=/opt/market-maker/bin:$PATH PYTHONUNBUFFERED=1
USER market-maker
WORKDIR /srv/market-maker
VOLUME /srv/market-maker/var
EXPOSE 8710
# Liveness says whether a lane is stuck; a bot that waits for its venue is alive.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('MARKET_MAKER__HEALTH__PORT', '8710') + '/health', timeout=4)"]
# A stop is graceful: the running workflow ends, orders keep resting unless the settings say not.
STOPSIGNAL SIGTERM
ENTRYPOINT ["market-maker"]
CMD ["run", "--config", "configs/paper.yaml"]

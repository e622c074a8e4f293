# streamd beside a site's database. Everything it keeps is below /data: the configuration, the state database, and
# (mounted there, or reached over the network) the site's database.
#
#   docker build -t streamd .
#   docker run --init -v "$PWD/site:/data" -p 8100:8100 streamd

FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY migrations migrations
RUN pip wheel --no-cache-dir --wheel-dir /wheels .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --user-group --home-dir /data --create-home --shell /usr/sbin/nologin streamd
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels streamd

USER streamd
WORKDIR /data
VOLUME /data
ENV PYTHONUNBUFFERED=1 \
    STREAMD_CONFIG=/data/streamd.toml
# For peers to reach it from outside the container, the configuration needs [server] host = "0.0.0.0".
EXPOSE 8100
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s \
    CMD streamd status --json | grep -q '"running": true'
STOPSIGNAL SIGTERM
ENTRYPOINT ["streamd"]
CMD ["run"]

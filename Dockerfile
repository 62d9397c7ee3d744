# One image for every process: `zq web`, `zq worker`, `zq scheduler`, `zq migrate`, Flower.
# Postgres and Redis are not inside; compose.yaml runs them beside it.

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv /opt/zq
# The dependencies first: their layer changes only when these files do.
COPY setup.cfg pyproject.toml constraints.txt README.md LICENSE ./
COPY orchestrator/__init__.py orchestrator/__init__.py
RUN /opt/zq/bin/pip install -c constraints.txt '.[demo,flower,s3]'
COPY orchestrator orchestrator
COPY workers workers
COPY web web
COPY migrations migrations
RUN /opt/zq/bin/pip install --no-deps --force-reinstall .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /data zq \
    && install -d -o zq -g zq -m 0700 /data /data/artifacts
COPY --from=build /opt/zq /opt/zq
ENV PATH=/opt/zq/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ZQ_HOME=/data \
    ZQ_ARTIFACTS__DIR=/data/artifacts \
    ZQ_WEB__HOST=0.0.0.0
USER zq
WORKDIR /data
VOLUME /data
EXPOSE 8080
CMD ["zq", "web"]

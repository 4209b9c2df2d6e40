# Scheduler, workers and command line in one image.

FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY broker_queue broker_queue
COPY scheduler scheduler
RUN python -m venv /opt/broker-queue \
    && /opt/broker-queue/bin/pip install --no-cache-dir '.[uvloop]'

FROM python:3.13-slim
LABEL org.opencontainers.image.title="broker-queue" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --create-home --uid 10001 broker-queue \
    && install -d -o broker-queue -g broker-queue /var/lib/broker-queue /report
COPY --from=build /opt/broker-queue /opt/broker-queue
COPY examples /srv/examples
ENV PATH=/opt/broker-queue/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    BROKER_QUEUE_DATABASE=/var/lib/broker-queue/scheduler.sqlite3
WORKDIR /srv
USER 10001
VOLUME ["/var/lib/broker-queue"]
HEALTHCHECK --interval=15s --timeout=10s --start-period=20s --retries=4 \
    CMD ["broker-queue", "--timeout", "5", "workers", "--quiet"]
CMD ["broker-queue", "scheduler"]

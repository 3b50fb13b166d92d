# syntax=docker/dockerfile:1.7.1
# Rubrics, verdicts and scores
# docker build -f k8s/docker/rubric.Dockerfile --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" -t …/rubric:0.1.0 .
FROM python:3.11.14-slim-bookworm AS contracts
WORKDIR /contracts
COPY k8s/docker/requirements/contracts.txt ./requirements.txt
RUN pip install --no-cache-dir --no-deps -r requirements.txt
COPY protos ./protos
RUN python protos/generate.py

FROM python:3.11.14-slim-bookworm AS build
# Files bear this time: what is built twice from one commit is the same.
ARG SOURCE_DATE_EPOCH=0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv --without-pip /opt/venv
COPY k8s/docker/requirements/rubric.txt /requirements.txt
RUN pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --no-deps -r /requirements.txt
WORKDIR /app
COPY service_kit ./service_kit
COPY rubric_svc ./rubric_svc
COPY k8s/docker/anamnesis /opt/venv/bin/anamnesis
COPY --from=contracts /contracts/protos/gen ./
RUN python -m compileall -q --invalidation-mode unchecked-hash /app /opt/venv/lib \
  && find /app /opt/venv -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +

FROM python:3.11.14-slim-bookworm
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="anamnesis-rubric" \
      org.opencontainers.image.description="Rubrics, verdicts and scores" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11.14-slim-bookworm"
RUN groupadd --gid 10001 anamnesis && useradd --uid 10001 --gid anamnesis --home-dir /tmp --no-create-home anamnesis \
  && install -d -o anamnesis -g anamnesis /var/lib/anamnesis
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    ANAMNESIS_RUBRIC_HEALTH_PORT=7190
# The default state directory, .anamnesis, lies here.
WORKDIR /var/lib/anamnesis
USER 10001:10001
EXPOSE 7102 7190
# For a container that runs alone; Kubernetes has probes of its own.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "-m", "service_kit.healthcheck", "7190", "anamnesis.rubric.v1.RubricService"]
ENTRYPOINT ["python"]
CMD ["-m", "rubric_svc"]

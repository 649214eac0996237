# One image for every role: `docker run local-mesh sidecar --help`, likewise services, registry, loadgen, mesh.
# Nothing is compiled: every dependency has a wheel for linux/amd64 and linux/arm64.

# `make images` puts its digest here (mesh/export/images.lock)
ARG PYTHON=python:3.13-slim
FROM ${PYTHON} AS base

# The dependencies are a layer of their own: an edit of our code downloads nothing.
FROM base AS dependencies
COPY requirements.lock /tmp/
# pip has done its work after this: the image runs nothing that installs
RUN python -m venv --without-pip /venv \
 && python -m pip --disable-pip-version-check --python /venv/bin/python install \
      --no-cache-dir --only-binary :all: --require-hashes -r /tmp/requirements.lock \
 && find /venv -depth -type d \( -name tests -o -name test \) -exec rm -rf {} + \
 && /venv/bin/python -m compileall -q /venv/lib

FROM base
LABEL org.opencontainers.image.title="local-mesh" org.opencontainers.image.licenses="MIT"
# a number, so that a cluster's runAsNonRoot can check it
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin mesh
COPY --from=dependencies /venv /venv
WORKDIR /mesh
COPY LICENSE ./
COPY guard guard
COPY registry registry
COPY loadgen loadgen
COPY services services
COPY sidecar sidecar
COPY mesh mesh
# bytecode is written here once, not by every container at its start
RUN /venv/bin/python -m compileall -q guard registry loadgen services sidecar mesh \
 && ln -s /mesh/mesh/docker/mesh.sh /usr/local/bin/mesh
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
# every role drains and exits 0 on it
STOPSIGNAL SIGTERM
# asks MESH_HEALTH (PORT/PATH); no interpreter is started for it, because a mesh asks dozens of times
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s --retries=3 CMD ["bash", "/mesh/mesh/docker/healthy.sh"]
ENTRYPOINT ["python", "-m"]
CMD ["mesh", "--help"]

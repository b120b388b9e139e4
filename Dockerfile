# The sample application as a container image, for k3d and every other real cluster.
# The embedded platform builds the same content without Docker: platform_lib/image.py.
#
#   docker buildx build --build-arg VERSION=1.0.0 -t ghcr.io/apqx/sample-app:1.0.0 .
#
# Name the base by digest for a build that must be the same tomorrow:
#   --build-arg PYTHON_IMAGE=docker.io/library/python:3.11-slim@sha256:...
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim

# --- build: needs pip, a shell and a writable disk; nothing of it is in the result -----------------
FROM ${PYTHON_IMAGE} AS build
ARG VERSION=1.0.0
WORKDIR /build
COPY app/requirements.lock ./
# Exactly the versions, and the hashes, that the tests ran with.
# Libraries go to a folder of their own, so that the next stage copies just that.
RUN python -m pip install --no-cache-dir --no-compile --disable-pip-version-check \
        --only-binary :all: --no-deps --require-hashes --target /app/lib --requirement requirements.lock \
    && rm -rf /app/lib/bin
COPY app/sample_app /app/sample_app
# Byte code is compiled here, because the root file system is read-only at run time.
# `unchecked-hash` stores no time stamps: the same source gives the same files.
RUN printf '%s\n' "${VERSION}" > /app/sample_app/VERSION \
    && python -m compileall -q --invalidation-mode unchecked-hash /app

# --- run -------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE}
ARG VERSION=1.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sample-app" \
      org.opencontainers.image.description="Sample application of the APQX workbench" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PYTHONPATH=/app/lib:/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
# Owned by root and not writable by the user below: a read-only root changes nothing for the program.
COPY --from=build /app /app
# A number, so that Kubernetes can see that it is not root; the group too, or it would be group 0.
USER 1000:1000
EXPOSE 8080
STOPSIGNAL SIGTERM
# For `docker run`; Kubernetes uses its own probes. Exec form: no shell is needed at run time.
HEALTHCHECK --interval=5s --timeout=2s --start-period=5s --retries=3 \
    CMD ["python", "-S", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health', timeout=2)"]
# -S: only the libraries in /app/lib; -P: nothing is imported from the working folder.
ENTRYPOINT ["python", "-S", "-P", "-m", "sample_app"]

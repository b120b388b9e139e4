# Two images for k3d and every other real cluster: the sample application (the default) and the workbench itself.
# The embedded platform builds the application without Docker: platform_lib/image.py.
#
#   make image                                      both, with whichever engine answers
#   docker buildx build --build-arg VERSION=1.0.0 -t ghcr.io/apqx/sample-app:1.0.0 .
#   docker buildx build --target workbench -t ghcr.io/apqx/workbench:0.1.0 .
#
# The base is named by the digest of its multi-architecture index, so a build is the same tomorrow. It was looked up in
# docker-library/repo-info, repos/python/remote/3.11-slim.md: Python 3.11.16 on Debian trixie, 1 September 2026.
# A newer one: docker buildx imagetools inspect docker.io/library/python:3.11-slim
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim@sha256:9534e5a8e315485d4061ed659af0fd78a284c015f9b73661b41d6bab25604534

# checkov:skip=CKV_DOCKER_7:the argument names tag and digest; Checkov does not see a default
# --- wheels: what a build without network brings along in .wheels/; usually empty -------------------
FROM ${PYTHON_IMAGE} AS wheels
RUN --mount=type=bind,target=/context \
    mkdir /wheels && if [ -d /context/.wheels ]; then cp /context/.wheels/*.whl /wheels/; fi

# --- build: needs pip, a shell and a writable disk; nothing of it is in a result --------------------
FROM ${PYTHON_IMAGE} AS build
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONHASHSEED=0
WORKDIR /build

# --- build of the application -----------------------------------------------------------------------
FROM build AS build-app
ARG VERSION=1.0.0
COPY app/requirements.lock ./
# Exactly the versions, and the hashes, that the tests ran with.
# What the image gets is put together below /out: copied with its parent, a folder keeps its time.
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    if [ -n "$(ls -A /wheels)" ]; then set -- --no-index --find-links /wheels; fi \
    && python -m pip install --no-cache-dir --no-compile --disable-pip-version-check --root-user-action ignore "$@" \
        --only-binary :all: --no-deps --require-hashes --target /out/app/lib --requirement requirements.lock \
    && rm -rf /out/app/lib/bin && find /out/app/lib -type d -name tests -prune -exec rm -rf {} +
COPY app/sample_app /out/app/sample_app
# Byte code is compiled here, because the root file system is read-only at run time.
# `unchecked-hash` stores no time stamps; with modes and times set too, the same source gives the same layer.
RUN printf '%s\n' "${VERSION}" > /out/app/sample_app/VERSION \
    && python -m compileall -q --invalidation-mode unchecked-hash -s /out -p / /out/app \
    && chmod -R u=rwX,go=rX /out \
    && find /out -exec touch --no-dereference --date=@0 {} +

# --- build of the workbench -------------------------------------------------------------------------
FROM build AS build-workbench
COPY scripts/setup.lock requirements-workbench.lock ./
# uv installs in seconds what takes pip a minute; it comes out of a lock with hashes like everything else.
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    if [ -n "$(ls -A /wheels)" ]; then set -- --no-index --find-links /wheels; fi \
    && python -m pip install --no-cache-dir --no-compile --disable-pip-version-check --root-user-action ignore "$@" \
        --only-binary :all: --no-deps --require-hashes --target /build/tools --requirement setup.lock \
    && python -m venv --without-pip /opt/apqx/venv \
    && /build/tools/bin/uv pip install --quiet --no-cache --link-mode copy --python /opt/apqx/venv/bin/python "$@" \
        --only-binary :all: --no-deps --require-hashes --requirement requirements-workbench.lock \
    && find /opt/apqx/venv -type d -name tests -prune -exec rm -rf {} +
COPY LICENSE README.md pyproject.toml /opt/apqx/
COPY app /opt/apqx/app
COPY gitops /opt/apqx/gitops
COPY runbooks /opt/apqx/runbooks
COPY notebooks /opt/apqx/notebooks
COPY platform_lib /opt/apqx/platform_lib
# Editable: runbooks/, gitops/ and app/ are looked for beside the library.
RUN PYTHONPATH=/build/tools /build/tools/bin/uv pip install --quiet --no-cache --offline --no-deps \
        --no-build-isolation --python /opt/apqx/venv/bin/python --editable /opt/apqx \
    && rm -rf /opt/apqx/apqx.egg-info \
    && find /opt/apqx/venv -name uv_cache.json -delete \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/apqx \
    && chmod -R u=rwX,go=rX /opt/apqx \
    && find /opt/apqx -exec touch --no-dereference --date=@0 {} +

# --- run the workbench: jobs of `apqx run --on cluster`, and the git server of a cluster without one --
FROM ${PYTHON_IMAGE} AS workbench
# git, and a name for the user: some programs refuse one without. Lists, logs and back-ups hold times and go; what
# this step wrote gets time 0, so that the layer depends on the packages alone.
# The digest of the base names the Debian release; a git pinned besides would be the one with yesterday's holes.
# hadolint ignore=DL3008
RUN touch /tmp/before \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends git \
    && echo 'apqx:x:1000:1000::/tmp:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'apqx:x:1000:' >> /etc/group \
    && install -d -o 1000 -g 1000 /state \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /etc/*- /root/.cache \
    && find / -xdev -newer /tmp/before ! -path '/proc*' ! -path '/sys*' \
        -exec touch --no-dereference --date=@0 {} + \
    && rm /tmp/before && touch --date=@0 /tmp
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="apqx-workbench" \
      org.opencontainers.image.description="SRE workbench: runbooks that drive a GitOps platform and leave evidence" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The root may be read-only; what has to be written goes to /state (results) and /tmp (caches, sockets).
ENV PATH=/opt/apqx/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    APQX_HOME=/state \
    APQX_RUNS_DIR=/state/runs
COPY --from=build-workbench /opt/ /opt/
WORKDIR /opt/apqx
USER 1000:1000
STOPSIGNAL SIGTERM
# A job ends by itself, and the git server is probed by the cluster.
HEALTHCHECK NONE
ENTRYPOINT ["apqx"]
CMD ["--help"]

# --- run the application: the last stage, so it is what a build makes unless told otherwise ----------
FROM ${PYTHON_IMAGE} AS app
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
# Owned by root and not writable by the user below: a read-only root changes nothing for the program.
COPY --from=build-app /out/ /
WORKDIR /app
# A number, so that Kubernetes can see that it is not root; the group too, or it would be group 0.
USER 1000:1000
EXPOSE 8080
STOPSIGNAL SIGTERM
# For `docker run`; Kubernetes uses its own probes. Exec form: no shell is needed at run time.
HEALTHCHECK --interval=5s --timeout=2s --start-period=5s --retries=3 \
    CMD ["python", "-S", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:%s/health' % (os.environ.get('PORT') or 8080), timeout=2)"]
# -S: only the libraries in /app/lib; -P: nothing is imported from the working folder.
ENTRYPOINT ["python", "-S", "-P", "-m", "sample_app"]

# One image for each kind of process: gateway, inference, curation, training, and for NVIDIA GPUs
# inference and training once more.
#
#   docker build --target gateway -t braintumor-gateway .
#
# Every image runs as user 10001, needs to write to /var/lib/braintumor and /tmp only, and leaves
# signals to its one process, which ends cleanly on SIGTERM.

ARG PYTHON_VERSION=3.11

# --- the code, as one wheel that every image installs -------------------------------------------

FROM python:${PYTHON_VERSION}-slim AS wheel
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml README.md ./
COPY core/ core/
COPY db/ db/
COPY protos/braintumor/ protos/braintumor/
COPY services/ services/
COPY workers/ workers/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel --no-deps --wheel-dir /wheels .

# --- the dependencies, a virtual environment for each image -------------------------------------

FROM python:${PYTHON_VERSION}-slim AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
# More packages for the images, such as "s3fs" for artefacts in S3.
ARG EXTRA_PACKAGES=""
WORKDIR /src
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
# Without the code, so that a change of the code does not install all of them again.
COPY pyproject.toml constraints.txt README.md ./
RUN mkdir protos

FROM dependencies AS gateway-venv
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt . ${EXTRA_PACKAGES}
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-deps --force-reinstall /wheels/*.whl

FROM dependencies AS inference-venv
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt '.[inference,curation]' ${EXTRA_PACKAGES}
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-deps --force-reinstall /wheels/*.whl

FROM dependencies AS curation-venv
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt '.[curation]' ${EXTRA_PACKAGES}
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-deps --force-reinstall /wheels/*.whl

FROM dependencies AS training-venv
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt '.[training,curation]' ${EXTRA_PACKAGES}
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-deps --force-reinstall /wheels/*.whl

# CUDA comes with the packages; the host needs the driver and the NVIDIA container toolkit.
FROM dependencies AS inference-gpu-venv
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt '.[inference-gpu,curation]' ${EXTRA_PACKAGES}
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-deps --force-reinstall /wheels/*.whl

FROM dependencies AS training-gpu-venv
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt '.[training-gpu,curation]' ${EXTRA_PACKAGES}
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-deps --force-reinstall /wheels/*.whl

# --- what runs ----------------------------------------------------------------------------------

FROM python:${PYTHON_VERSION}-slim AS runtime
RUN groupadd --gid 10001 braintumor \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/braintumor \
        --shell /usr/sbin/nologin braintumor \
    # New volumes take over the owner of the folder that they are mounted on.
    && install -d -o 10001 -g 10001 -m 0750 /var/lib/braintumor \
        /var/lib/braintumor/artefacts /var/lib/braintumor/weights /var/lib/braintumor/scratch \
    # Nothing is in it, and nobody can put anything there: Python looks for modules in it first.
    && install -d -m 0755 /opt/braintumor
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    BRAINTUMOR_DATA_DIR=/var/lib/braintumor
WORKDIR /opt/braintumor
USER 10001:10001
STOPSIGNAL SIGTERM

FROM runtime AS gateway
COPY --from=gateway-venv /opt/venv /opt/venv
ENV BRAINTUMOR_ADDRESS=0.0.0.0:50051
EXPOSE 50051
CMD ["python", "-m", "services.server"]

FROM runtime AS inference
COPY --from=inference-venv /opt/venv /opt/venv
CMD ["celery", "-A", "workers.celery_app", "worker", "-Q", "inference", "-P", "threads", "-c", "4", "-n", "inference@%h", "--without-gossip", "--without-mingle"]

FROM runtime AS inference-gpu
COPY --from=inference-gpu-venv /opt/venv /opt/venv
ENV BRAINTUMOR_INFERENCE_DEVICE=cuda
CMD ["celery", "-A", "workers.celery_app", "worker", "-Q", "inference", "-P", "threads", "-c", "4", "-n", "inference@%h", "--without-gossip", "--without-mingle"]

FROM runtime AS curation
COPY --from=curation-venv /opt/venv /opt/venv
CMD ["celery", "-A", "workers.celery_app", "worker", "-Q", "curation", "-P", "threads", "-c", "2", "-n", "curation@%h", "--without-gossip", "--without-mingle"]

FROM runtime AS training
COPY --from=training-venv /opt/venv /opt/venv
# ImageNet weights that were downloaded once stay in the volume.
ENV KERAS_HOME=/var/lib/braintumor/weights/keras
CMD ["celery", "-A", "workers.celery_app", "worker", "-Q", "training", "-P", "prefork", "-c", "1", "--max-tasks-per-child=1", "-n", "training@%h", "--without-gossip", "--without-mingle"]

FROM runtime AS training-gpu
COPY --from=training-gpu-venv /opt/venv /opt/venv
ENV KERAS_HOME=/var/lib/braintumor/weights/keras \
    CUDA_VISIBLE_DEVICES=0
CMD ["celery", "-A", "workers.celery_app", "worker", "-Q", "training", "-P", "prefork", "-c", "1", "--max-tasks-per-child=1", "-n", "training@%h", "--without-gossip", "--without-mingle"]

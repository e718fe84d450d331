# rabench in an image, with mmdetection and mmpretrain inside.
#
#   docker build -t rabench .                                    networks on the CPU
#   docker build -t rabench:cuda --build-arg DEVICE=cuda .       on a GPU of NVIDIA's
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" rabench --tasks det,cls
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" --gpus all rabench:cuda --device cuda
#
# Build arguments:
#   EXTRAS                  extras of pyproject.toml. mmcv is built from source if mmlab is among them:
#                           a quarter of an hour, for CUDA longer.
#   PIP_EXTRA_INDEX_URL     torch for x86-64 brings CUDA's libraries even where none is used, some
#                           gigabytes. With the address of PyTorch's index of CPU builds it does not.
#
# Whoever passes an image on passes on x264 and x265 (GPL) inside PyAV's wheel.
ARG DEVICE=cpu
ARG PYTHON=3.11

FROM python:${PYTHON}-bookworm AS build-cpu

# CUDA's compiler, of the version that torch is built for; only DEVICE=cuda fetches it.
FROM nvidia/cuda:13.0.0-devel-ubuntu22.04 AS toolkit

FROM python:${PYTHON}-bookworm AS build-cuda
COPY --from=toolkit /usr/local/cuda-13.0 /usr/local/cuda-13.0
ENV CUDA_HOME=/usr/local/cuda-13.0 \
    FORCE_CUDA=1 \
    TORCH_CUDA_ARCH_LIST="7.5 8.0 8.6 8.9 9.0 10.0 12.0+PTX"

# hadolint ignore=DL3006
FROM build-${DEVICE} AS build
ARG EXTRAS=codecs,deploy,dask,mmlab
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_NO_CACHE_DIR=1
RUN pip install ninja==1.13.0 && python -m venv /opt/rabench
ENV PATH=/opt/rabench/bin:$PATH
WORKDIR /src
COPY constraints.txt pyproject.toml setup.py MANIFEST.in README.md LICENSE NOTICE ./
COPY configs configs
COPY bench bench
RUN pip install -c constraints.txt ".[$EXTRAS]" 'setuptools>=77,<80'
RUN case ",$EXTRAS," in *,mmlab,*) \
      pip install --no-deps --no-build-isolation mmengine==0.10.7 mmcv==2.1.0 ;; esac

FROM python:${PYTHON}-slim-bookworm
COPY --from=build /opt/rabench /opt/rabench
ENV PATH=/opt/rabench/bin:$PATH \
    HOME=/tmp \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN install -d -o 1000 -g 1000 /work
WORKDIR /work
USER 1000:1000
ENTRYPOINT ["rabench"]

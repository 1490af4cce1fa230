# Models behind HTTP; how to build and run it, with a GPU too: docs/serve.md
ARG BASE=ubuntu:24.04

FROM ${BASE} AS python
ARG PACKAGES=""
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv ${PACKAGES} \
    && rm -rf /var/lib/apt/lists/*

FROM python AS build
ARG TORCH=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY constraints.txt LICENSE pyproject.toml README.md ./
COPY conf conf
COPY xmc xmc
RUN python3 -m venv /opt/xmc \
    && /opt/xmc/bin/pip install --no-cache-dir --extra-index-url "${TORCH}" --constraint constraints.txt ".[serve,explain]"

FROM python
RUN useradd --create-home --uid 10001 xmc
COPY --from=build /opt/xmc /opt/xmc
ENV PATH=/opt/xmc/bin:$PATH
USER 10001
WORKDIR /home/xmc
EXPOSE 8000
HEALTHCHECK --start-period=2m \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/ready', timeout=5)"]
ENTRYPOINT ["xmc"]
CMD ["serve", "run=/models", "host=0.0.0.0"]

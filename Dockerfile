# docker build -t podium . && docker run -p 127.0.0.1:7070:7070 -v podium-data:/data podium
# There is no access control yet: inside the container Podium listens on all addresses, so publish the port on loopback only.
# tests/test_packaging.py runs these steps without an engine: keep to COPY, RUN without state between lines, and absolute paths.

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY clients/python/podium clients/python/podium
COPY server/podium_server server/podium_server
RUN python -m pip wheel --quiet --no-cache-dir --no-deps --wheel-dir /dist .
RUN python -m venv /opt/podium \
 && /opt/podium/bin/python -m pip install --quiet --no-cache-dir "$(echo /dist/podium-*.whl)[server,otel]"

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 podium \
 && useradd --uid 10001 --gid podium --no-create-home --home-dir /data --shell /usr/sbin/nologin podium \
 && install --directory --owner podium --group podium /data
COPY --from=build /opt/podium /opt/podium
ENV PATH=/opt/podium/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /data
USER 10001:10001
VOLUME /data
EXPOSE 7070
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s CMD ["podium", "status"]
CMD ["podium", "serve", "--data", "/data", "--insecure", "--listen", "0.0.0.0:7070"]

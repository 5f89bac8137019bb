# Tapline with its shipped modules and pipeline. docs/guides/operate.md tells how to run it.
#   docker build --tag tapline .

FROM rust:1.95-bookworm AS build
RUN rustup target add wasm32-unknown-unknown
WORKDIR /src
COPY . .
# Modules first: the program embeds what lies in target/modules.
RUN cargo xtask modules \
 && cargo build --release --locked --package tapline --bin tapline

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin tapline \
 && install --directory --owner=tapline --group=tapline --mode=0700 /data
COPY --from=build /src/target/release/tapline /usr/local/bin/tapline
USER 10001
ENV TAPLINE_DATA=/data
VOLUME /data
EXPOSE 8080
# 200 as long as a restart would not help, so a broker or an Odoo that is away is no reason.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 \
    CMD ["tapline", "health", "--quiet"]
ENTRYPOINT ["tapline"]
CMD ["run"]

# Built on Debian, run on distroless: no shell, no package manager, not root. It has the platform's CA certificates.
FROM rust:1-slim-bookworm AS build
WORKDIR /build
# The allocator is built with make.
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
# The dependencies first, with nothing of ours around them: this layer is built anew when they change, not when the source
# does.
COPY Cargo.toml Cargo.lock build.rs ./
RUN mkdir src benches \
    && touch src/lib.rs benches/stack.rs benches/token.rs benches/end_to_end.rs benches/load.rs benches/storm.rs \
        benches/instructions.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --locked --release --bin gbg-proxy
COPY proxy.toml ./
COPY src src
# What --version says of where it comes from: --build-arg GBG_PROXY_COMMIT=$(git rev-parse --short=12 HEAD)
ARG GBG_PROXY_COMMIT=
# Copied files may be older than those of the layer above, and cargo goes by that.
RUN touch src/lib.rs src/main.rs && cargo build --locked --release --bin gbg-proxy

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/gbg-proxy /usr/local/bin/gbg-proxy
# A proxy.toml that is mounted here is found, by `run` and by `wait`.
WORKDIR /etc/gbg-proxy
# By number, so that Kubernetes can tell that it is not root. Nothing is written: the root may be read-only.
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["/usr/local/bin/gbg-proxy", "wait", "--timeout", "2s"]
ENTRYPOINT ["/usr/local/bin/gbg-proxy"]
CMD ["run"]

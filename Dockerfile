# Built on Debian, run on distroless: no shell, no package manager, not root. It has the platform's CA certificates.
FROM rust:1-slim-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock proxy.toml ./
COPY src src
COPY benches benches
RUN cargo build --locked --release --bin gbg-proxy

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/gbg-proxy /usr/local/bin/gbg-proxy
ENTRYPOINT ["gbg-proxy"]
CMD ["run"]

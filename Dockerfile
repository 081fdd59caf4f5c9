# Sluice with DPDK 22.11 linked in. Build: docker build -t sluice .
# Try it on a TAP, in the host's network (`run` instead of `demo`: without the sample backends):
#   docker run --rm --network host --cap-add NET_ADMIN --device /dev/net/tun \
#       -v $PWD/examples:/etc/sluice:ro sluice demo -c /etc/sluice/demo.toml

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        clang g++ libclang-dev libdpdk-dev libpcap-dev libxdp-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --features dpdk \
    && cp target/release/sluice /sluice \
    && strip /sluice

# libpcap is the one library that stays dynamic; libxdp1 carries the BPF objects that af_xdp loads.
FROM debian:12-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends libpcap0.8 libxdp1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /sluice /usr/local/bin/sluice
COPY LICENSE /usr/share/doc/sluice/LICENSE
STOPSIGNAL SIGTERM
ENTRYPOINT ["sluice"]
CMD ["--help"]

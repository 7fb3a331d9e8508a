# syntax=docker/dockerfile:1
# The images that `cargo run -p e2e --bin images` makes without an engine, for those who have one:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --target nimfleet-hub   --tag nimfleet/nimfleet-hub:0.1.0   .
#   docker buildx build --platform linux/amd64,linux/arm64 --target nimfleet-spoke --tag nimfleet/nimfleet-spoke:0.1.0 .
#
# Same programs, user, paths and labels. Digests differ: layers of an engine bear times, and CA certificates are Debian's.
ARG RUST=1.95.0

FROM --platform=$BUILDPLATFORM rust:${RUST}-slim-bookworm AS build
ARG BUILDARCH
ARG TARGETARCH
# musl-gcc compiles what is C in the programs for this machine's architecture, a cross compiler for the other one.
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates musl-tools \
    && if [ "$BUILDARCH" = amd64 ] && [ "$TARGETARCH" = arm64 ]; then \
         apt-get install --yes --no-install-recommends gcc-aarch64-linux-gnu libc6-dev-arm64-cross; \
       elif [ "$BUILDARCH" = arm64 ] && [ "$TARGETARCH" = amd64 ]; then \
         apt-get install --yes --no-install-recommends gcc-x86-64-linux-gnu libc6-dev-amd64-cross; \
       fi && rm -rf /var/lib/apt/lists/*
WORKDIR /nimfleet
COPY . .
RUN case "$TARGETARCH" in amd64) arch=x86_64 ;; arm64) arch=aarch64 ;; *) echo "no image for $TARGETARCH" >&2; exit 1 ;; esac \
    && target="$arch-unknown-linux-musl" && rustup target add "$target" \
    && if [ "$BUILDARCH" = "$TARGETARCH" ]; then cc=musl-gcc; else \
         cc="$arch-linux-gnu-gcc"; \
         export "CARGO_TARGET_$(echo "$target" | tr 'a-z-' 'A-Z_')_LINKER=rust-lld"; \
       fi \
    && export "CC_$(echo "$target" | tr - _)=$cc" \
    && export RUSTFLAGS="-Cstrip=symbols --remap-path-prefix=${CARGO_HOME}=/cargo" \
    && cargo build --locked --release --bins --target "$target" --package hub --package spoke \
    && mkdir -p /image/usr/local/bin /image/etc/ssl/certs /image/tmp && chmod 1777 /image/tmp \
    && cp "target/$target/release/nimfleet-hub" "target/$target/release/nimfleet-spoke" /image/usr/local/bin/ \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
    && printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n' > /image/etc/passwd \
    && printf 'root:x:0:\nnonroot:x:65532:\n' > /image/etc/group \
    && printf 'hosts: files dns\n' > /image/etc/nsswitch.conf

FROM scratch AS base
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="nimfleet" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image/etc /etc
COPY --from=build /image/tmp /tmp
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532

FROM base AS nimfleet-hub
LABEL org.opencontainers.image.title="nimfleet-hub" \
      org.opencontainers.image.description="The hub of a nimfleet, which chooses clusters for NVIDIA NIM manifests and keeps the whole fleet's status"
COPY --from=build /image/usr/local/bin/nimfleet-hub /usr/local/bin/nimfleet-hub
ENTRYPOINT ["/usr/local/bin/nimfleet-hub"]

FROM base AS nimfleet-spoke
LABEL org.opencontainers.image.title="nimfleet-spoke" \
      org.opencontainers.image.description="The agent of a nimfleet in one cluster, which is a NIM operator of its own"
COPY --from=build /image/usr/local/bin/nimfleet-spoke /usr/local/bin/nimfleet-spoke
ENTRYPOINT ["/usr/local/bin/nimfleet-spoke"]

# A static binary, a CA bundle, and nothing else; runs as a user without a name or a home.
#
#   docker build --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" -t vkc .
#
# The base image is pinned by version; pin it by digest where you need the same bits from the same source.
FROM docker.io/library/rust:1.95-alpine AS build
# ring compiles C; musl's target links statically by default.
RUN apk add --no-cache musl-dev gcc ca-certificates
ARG SOURCE_DATE_EPOCH=0
# No path of the build machine in the binary.
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} \
    CARGO_INCREMENTAL=0 \
    RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=/src=vkc --remap-path-prefix=/usr/local/cargo=cargo"
WORKDIR /src
COPY . .
RUN cargo build --locked --release --bin vkc && cp target/release/vkc /vkc

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /vkc /vkc
USER 65532:65532
ENTRYPOINT ["/vkc"]
CMD ["run"]

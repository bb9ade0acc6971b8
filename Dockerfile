# One static binary, a CA bundle, licences, and nothing else; runs as a user without a name or a home. `--target shim` is the image
# of the shim, which is put into container groups.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" .
#   cargo xtask image                # the same with buildah; with --stand-in where no image registry can be reached
#
# Debian and glibc, not Alpine and musl: the tests and benchmarks run on glibc, and what ships is what was tested, with the
# same allocator and the same resolver (in glibc since 2.34 files and DNS need no library of their own, so a static
# binary has them). The base is an argument: pin it by digest, or put another one with Rust and a C compiler in its place.
ARG RUST_IMAGE

# On the machine's own platform: arm64 is cross-compiled, since an emulated build takes hours.
FROM --platform=$BUILDPLATFORM ${RUST_IMAGE:-docker.io/library/rust:1.95-bookworm} AS source
ARG SOURCE_DATE_EPOCH=0
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} CARGO_INCREMENTAL=0
WORKDIR /src
COPY . .

# Not every builder hands the arguments of a stage on to those that start from it.
FROM source AS build-shim
ARG TARGETARCH
RUN packaging/build.sh "linux/${TARGETARCH}" shim /out/vkc-shim vkc-shim \
 && packaging/licences.sh "linux/${TARGETARCH}" vkc-shim > /out/THIRD-PARTY

# It copies itself into a volume that ACI has made for root.
FROM scratch AS shim
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="vkc-shim" \
      org.opencontainers.image.description="What a kubelet does inside a pod, for pods on Azure Container Instances" \
      org.opencontainers.image.source="https://github.com/virtual-kubelet-connector/virtual-kubelet-connector" \
      org.opencontainers.image.documentation="https://github.com/virtual-kubelet-connector/virtual-kubelet-connector/blob/main/docs/shim.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build-shim /src/LICENSE /out/THIRD-PARTY /licenses/
COPY --from=build-shim /out/vkc-shim /vkc-shim
ENTRYPOINT ["/vkc-shim"]
CMD ["install"]

FROM source AS build
ARG TARGETARCH
ARG PROFILE=release
RUN packaging/build.sh "linux/${TARGETARCH}" "${PROFILE}" /out/vkc \
 && packaging/licences.sh "linux/${TARGETARCH}" > /out/THIRD-PARTY

FROM scratch
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="virtual-kubelet-connector" \
      org.opencontainers.image.description="Run Kubernetes pods on Azure Container Instances" \
      org.opencontainers.image.source="https://github.com/virtual-kubelet-connector/virtual-kubelet-connector" \
      org.opencontainers.image.documentation="https://github.com/virtual-kubelet-connector/virtual-kubelet-connector/tree/main/docs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/LICENSE /out/THIRD-PARTY /licenses/
COPY --from=build /out/vkc /vkc
# Nor is there a program that could ask: Kubernetes probes /livez and /readyz.
HEALTHCHECK NONE
USER 65532:65532
ENTRYPOINT ["/vkc"]
CMD ["run"]

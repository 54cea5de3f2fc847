# Three images of one build: safestate, the sample model of docker-compose.yaml, and
# the WASM filter.
# Static binaries on nothing: no shell, no package manager, no root.
FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/ \
    ./cmd/safestate ./cmd/samplemodel ./internal/deploytest/probe
RUN CGO_ENABLED=0 GOOS=wasip1 GOARCH=wasm go build -trimpath -buildvcs=false -buildmode=c-shared \
    -ldflags="-s -w -buildid=" -o /out/plugin.wasm ./wasm && sha256sum /out/plugin.wasm
RUN mkdir /data

# What both images hold besides their binary. /probe is their health check.
FROM scratch AS base
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/probe /probe
USER 65532:65532

# The WASM filter as OCI registries hold one, and as Istio's WasmPlugin fetches it:
# docker build --target wasm .
FROM scratch AS wasm
COPY --from=build /out/plugin.wasm /plugin.wasm

FROM base AS samplemodel
COPY --from=build /out/samplemodel /samplemodel
EXPOSE 9101
HEALTHCHECK --interval=10s --timeout=3s --retries=3 CMD ["/probe", "http://127.0.0.1:9101/v2/health/ready"]
ENTRYPOINT ["/samplemodel"]

# The last stage is what `docker build .` gives.
FROM base AS safestate
COPY --from=build /out/safestate /safestate
# Releases and their history. A volume that is new gets its owner from here; one
# that is mounted from elsewhere has to be writable for 65532.
COPY --from=build --chown=65532:65532 /data /data
VOLUME /data
EXPOSE 8686 18000 18001
HEALTHCHECK --interval=10s --timeout=3s --retries=3 CMD ["/probe", "http://127.0.0.1:8686/readyz"]
ENTRYPOINT ["/safestate"]
# Other machines may read /v1/ by this, and change nothing: give --access-file and
# --http-tls instead to have it otherwise.
CMD ["serve", "--config=/etc/safestate", "--data-dir=/data", "--http=0.0.0.0:8686", "--http-unprotected"]

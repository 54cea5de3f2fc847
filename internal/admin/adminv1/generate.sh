#!/bin/sh
# Writes the Go of admin.proto. It needs protoc 35, protoc-gen-go v1.36.12 and
# protoc-gen-go-grpc v1.6.2 on the PATH.
set -eu
cd "$(dirname "$0")"
protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative admin.proto

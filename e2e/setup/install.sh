#!/usr/bin/env bash
# install.sh NAME PYTHON PIP-ARGUMENTS… makes the environment .cache/NAME once
# and writes .cache/NAME.ready. An environment variable that names a binary
# (ENVOY, REDIS_SERVER), or Debian's redis-server, makes it needless.
set -euo pipefail
cd "$(dirname "$0")/../.."
name=$1 python=$2
shift 2
mkdir -p .cache

case $name in
envoy) if [[ -n ${ENVOY:-} ]]; then
	echo "envoy: $ENVOY"
	exit 0
fi ;;
redis) if [[ -n ${REDIS_SERVER:-} ]] || command -v redis-server >/dev/null; then
	touch .cache/redis.ready
	exit 0
fi ;;
esac

echo "== set-up: $name (once, into .cache/$name)"
rm -rf ".cache/$name"
"$python" -m venv ".cache/$name"
for attempt in 1 2 3; do
	if ".cache/$name/bin/pip" install --quiet --disable-pip-version-check "$@"; then
		break
	fi
	if [[ $attempt == 3 ]]; then
		echo "set-up of $name failed" >&2
		exit 1
	fi
	echo "   attempt $attempt failed, again" >&2
done
if [[ $name == mlserver ]]; then
	".cache/$name/bin/python" e2e/foreign/train.py .cache/mlserver-models
fi
touch ".cache/$name.ready"

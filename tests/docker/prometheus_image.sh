#!/usr/bin/env bash
# Supplies prom/prometheus:TAG from Prometheus' own Go module, where no image registry is reachable.
#
#   tests/docker/prometheus_image.sh prom/prometheus:v3.7.3
#
# Debian's Prometheus, which ../shared/ci/docker-engine would put there, is built without consul_sd_configs.
# Two to four minutes on two cores, once. The web page is a placeholder: the module carries no built one.
set -euo pipefail

image=$1
docker image inspect "$image" >/dev/null 2>&1 && exit 0
docker pull --quiet "$image" 2>/dev/null && exit 0
tag=${image##*:v}                                  # 3.7.3 is the module's v0.307.3
IFS=. read -r major minor patch <<<"$tag"
module=$(printf 'v0.%d%02d.%d' "$major" "$minor" "$patch")
base=offline/debian13-python:1                     # made by docker-engine
work=${DOCKER_ENGINE_WORK:-/var/tmp/docker-engine}/prometheus-$module
if [ ! -x "$work/promtool" ]; then
  echo "prometheus_image: building Prometheus $tag from its Go module" >&2
  source=$(cd /tmp && go mod download -json "github.com/prometheus/prometheus@$module" | sed -n 's/.*"Dir": "\(.*\)",.*/\1/p')
  mkdir -p "$work"
  cp -r "$source" "$work/src" && chmod -R u+w "$work/src"
  info=github.com/prometheus/common/version
  # the ways of discovery are plugins, chosen at the build; the two that prometheus.yml uses are enough
  printf 'package plugins\n\nimport (\n\t_ "%s/consul"\n\t_ "%s/dns"\n)\n' \
    github.com/prometheus/prometheus/discovery github.com/prometheus/prometheus/discovery >"$work/src/plugins/plugins.go"
  (cd "$work/src" && GOFLAGS=-buildvcs=false go build -trimpath \
    -ldflags="-s -w -X $info.Version=$tag" -o "$work" ./cmd/prometheus ./cmd/promtool)
  rm -rf "$work/src"
fi
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "$work/prometheus" "$work/promtool" "$context/"
cat >"$context/Dockerfile" <<DOCKERFILE
FROM $base
COPY prometheus promtool /bin/
RUN mkdir -p /prometheus && chown 65534:65534 /prometheus
USER 65534
EXPOSE 9090
WORKDIR /prometheus
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
DOCKERFILE
DOCKER_BUILDKIT=0 docker build -q -t "$image" "$context" >/dev/null

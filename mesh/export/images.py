"""The images of other projects, each pinned by its tag, and where they listen inside their containers."""

CONSUL = "hashicorp/consul:1.22"
PROMETHEUS = "prom/prometheus:v3.7.3"
# the version that grafana-foundation-sdk's types are of (pyproject.toml)
GRAFANA = "grafana/grafana:11.6.0"
JAEGER = "jaegertracing/jaeger:2.13.0"

# ours, built by `docker compose up` from the Dockerfile beside compose.yaml
OURS = "local-mesh"

#!/bin/sh
# `docker compose exec control mesh status`
exec python -m mesh "$@"

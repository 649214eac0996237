#!/bin/bash
# Exits 0 when http://127.0.0.1:$MESH_HEALTH (PORT/PATH) answers 2xx, or 429: "warning" still serves.
port=${MESH_HEALTH%%/*} path=/${MESH_HEALTH#*/}
[ -n "$MESH_HEALTH" ] || exit 0 # nothing to ask: a command that was run once
exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 1
printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n' "$path" "$port" >&3
read -r -t 2 _ status _ <&3
case $status in 2* | 429) exit 0 ;; *) echo "$port$path answers ${status:-nothing}"; exit 1 ;; esac

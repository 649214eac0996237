#!/bin/sh
# Starts Consul so that everybody may read and only who has the mesh's secret may write: an app has not, so it
# can register no instance in another's name, and end none. Consul keeps everything in its memory.
set -eu
umask 027

# Made once; the volume keeps it as long as any container of the mesh runs. Sidecars and control read it there.
secret=/run/mesh-secret/token
if [ ! -s "$secret" ]; then
  cat /proc/sys/kernel/random/uuid >"$secret.new"
  mv "$secret.new" "$secret"
fi

# In a file, because everybody may read arguments. `master` is the name that Consul 1.8 and 1.22 both take.
token=$(cat "$secret")
echo "acl { tokens { master = \"$token\" agent = \"$token\" } }" >/tmp/tokens.hcl

# What anybody may do has to be said at each start, as soon as there is a leader to say it to.
anybody() {
  export CONSUL_HTTP_TOKEN_FILE="$secret"
  until consul acl policy create -name anybody -rules @/etc/consul/anybody.hcl >/dev/null 2>&1; do sleep 0.2; done
  consul acl token update -id 00000000-0000-0000-0000-000000000002 -policy-name anybody >/dev/null 2>&1
}
anybody &

exec consul agent -dev -client=0.0.0.0 -config-file=/etc/consul/agent.hcl -config-file=/tmp/tokens.hcl

# What needs no token: the people at Consul's page, Prometheus, curl.
agent_prefix "" { policy = "read" }
node_prefix "" { policy = "read" }
service_prefix "" { policy = "read" }
key_prefix "mesh/policy/" { policy = "read" }

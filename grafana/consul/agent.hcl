acl {
  enabled        = true
  default_policy = "deny"
}

telemetry {
  prometheus_retention_time = "1m"
  disable_hostname          = true
}

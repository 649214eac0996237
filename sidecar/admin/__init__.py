"""The admin listener: Envoy's paths, for people, scrapers and the `mesh` command. Loopback by default."""

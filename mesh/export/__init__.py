"""`mesh export`: a topology as files that other programs run; nothing is started here.

compose    a topology as a Docker Compose file: per replica two containers like a pod, the sidecar with the
           network namespace and the app that joins it, and beside them Consul, Prometheus, Grafana,
           Jaeger, the load generator and control

images     the images of other projects, each with the digest that images.lock has for its tag
renew      `make images`: writes images.lock anew

Pure but for renew: text in, text out. The same topology gives the same text, so that a test can hold a
committed file equal to it and a review sees only what was changed.
"""

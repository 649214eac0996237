"""The dashboards as code, typed to Grafana's schema; `python -m grafana.boards` writes grafana/dashboards/.

panels     what every panel has: a data source, a unit, a description, words for when there is nothing
overview, service, loadgen, registry    one board each, from top to bottom
"""

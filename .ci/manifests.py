"""Checks the Kubernetes manifests against the schemas of its versions, and writes the dashboard's queries as rules.

usage: manifests.py RULES: promtool checks the file RULES afterwards.
"""

import glob
import json
import sys

import kubernetes_validate
import yaml

# The oldest that has all that is used, and the newest that is known.
VERSIONS = ["1.29", kubernetes_validate.latest_version()]
# Resources of others: their schemas are not Kubernetes' own.
FOREIGN = {"ServiceMonitor"}

checked = 0
for path in sorted(glob.glob("deploy/kubernetes/*.yaml")):
    with open(path, encoding="utf-8") as file:
        for manifest in yaml.safe_load_all(file):
            if manifest["kind"] in FOREIGN:
                continue
            for version in VERSIONS:
                kubernetes_validate.validate(manifest, version, strict=True)
            checked += 1
if checked < 10:
    sys.exit(f"only {checked} manifests were found")
print(f"{checked} manifests are valid for Kubernetes {' and '.join(VERSIONS)}")


def queries(part):
    """Every query of the dashboard."""
    if isinstance(part, dict):
        if isinstance(part.get("expr"), str):
            yield part["expr"]
        part = part.values()
    if isinstance(part, (list, type({}.values()))):
        for inner in part:
            yield from queries(inner)


with open("deploy/grafana/gbg-proxy.json", encoding="utf-8") as file:
    found = list(queries(json.load(file)))
rules = []
for number, query in enumerate(found):
    # Grafana puts times in their place.
    query = query.replace("$__rate_interval", "5m").replace("$__interval", "5m")
    rules.append({"record": f"query:{number}", "expr": query})
with open(sys.argv[1], "w", encoding="utf-8") as file:
    yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)

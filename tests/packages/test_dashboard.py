"""The Grafana dashboard asks for what a proxy serves."""

import json
import re
import subprocess
import time

import pytest

from programs import BUILD, ROOT

DASHBOARD = ROOT / "packaging/grafana/fairlead-proxy.json"
# What Prometheus adds to what it scrapes.
ADDED_LABELS = {"instance", "job"}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Each metric that a proxy serves, with the names of its labels."""
    path = tmp_path_factory.mktemp("metrics") / "metrics.sock"
    proxy = subprocess.Popen([BUILD / "proxy/fairlead-proxy", "-p", "127.0.0.1:18080:127.0.0.1:9",
                              "-p", "127.0.0.1:18080:127.0.0.1:9/udp", "--metrics", f"unix:{path}",
                              "--log-level", "warn"])
    try:
        end = time.monotonic() + 10
        while not path.exists():
            assert proxy.poll() is None and time.monotonic() < end
            time.sleep(0.01)
        text = subprocess.run(["curl", "-sS", "--unix-socket", path, "http://localhost/metrics"],
                              check=True, stdout=subprocess.PIPE, text=True, timeout=20).stdout
    finally:
        proxy.terminate()
        proxy.wait(10)
    metrics = {}
    for name, labels in re.findall(r"^([a-z_]+)(?:\{(.*)\})? ", text, re.MULTILINE):
        metrics.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return metrics


def expressions():
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"], ""


def test_every_metric_and_label_is_served(served):
    asked = set()
    for expression, legend in expressions():
        names = re.findall(r"(?:fairlead|process)_\w+", expression)
        asked.update(names)
        for name in names:
            assert name in served, expression
        labels = set(re.findall(r'(\w+)=~?"', expression)) | set(re.findall(r"{{(\w+)}}", legend))
        for label in labels - ADDED_LABELS:
            assert any(label in served[name] for name in names), (expression, label)
    assert asked >= {name for name in served if name.startswith("fairlead_")} - {
        "fairlead_connections_limit", "fairlead_udp_sessions_limit"}


def test_panels_do_not_overlap():
    taken = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells

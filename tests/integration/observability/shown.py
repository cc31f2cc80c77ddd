"""What a process shows at /metrics, read as Prometheus reads it."""

import httpx
from prometheus_client.parser import text_string_to_metric_families


class Shown:
    """One look at a process's metrics."""

    def __init__(self, url: str) -> None:
        answer = httpx.get(f"{url}/metrics", headers={"Accept": "text/plain"}, timeout=10)
        assert answer.status_code == 200, answer.text
        self.text = answer.text
        self._samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """Sum the series of a name that have these labels; 0 where there is none."""
        return sum(s.value for s in self._samples if s.name == name and labels.items() <= s.labels.items())

    def labels(self, name: str) -> list[dict[str, str]]:
        """Return the labels of each series of a name."""
        return [s.labels for s in self._samples if s.name == name]

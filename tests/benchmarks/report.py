"""What a benchmark gives, as a table for a person and as JSON for a program."""

import statistics
from collections.abc import Mapping

import msgspec
from rich.console import Console
from rich.table import Table


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One thing measured in `unit`, a value a round, and beside it what `floor` names, measured in the same run."""

    name: str
    unit: str
    rounds: list[float]
    floor: str | None = None
    floor_rounds: list[float] = []

    @property
    def value(self) -> float:
        return statistics.median(self.rounds)

    @property
    def floor_value(self) -> float | None:
        return statistics.median(self.floor_rounds) if self.floor_rounds else None

    @property
    def ratio(self) -> float | None:
        return self.value / self.floor_value if self.floor_value else None


CPU = "cpu "
"""What the name of a process's seconds begins with in Got."""


class Got(dict[str, list[float]]):
    """Values by name, one a round."""

    def add(self, **values: float) -> None:
        for name, value in values.items():
            self.setdefault(name, []).append(value)

    def add_cpu(self, seconds: Mapping[str, float], number: int) -> None:
        """Add each process's milliseconds for one of `number` things done."""
        self.add(**{CPU + name: taken / number * 1000 for name, taken in seconds.items()})


def cpu_figures(got: Got, of: str) -> list[Figure]:
    """Return the processor time that each process spent on one thing."""
    return [
        Figure(name=f"CPU of one {of}: {name.removeprefix(CPU)}", unit="ms", rounds=rounds)
        for name, rounds in got.items()
        if name.startswith(CPU)
    ]


class Result(msgspec.Struct, kw_only=True):
    """One benchmark's figures. `calibration_ns` is what a turn of a fixed loop took, before and after."""

    name: str
    about: str
    settings: dict[str, str]
    figures: list[Figure]
    calibration_ns: list[float] = []
    load: list[float] = []
    seconds: float = 0


class Report(msgspec.Struct, kw_only=True):
    """A whole run."""

    machine: dict[str, str]
    versions: dict[str, str]
    servers: dict[str, str]
    results: list[Result]


def as_json(report: Report) -> bytes:
    """Return the report as JSON; each figure with its medians and its ratio written out."""
    content = msgspec.to_builtins(report)
    for result, built in zip(report.results, content["results"], strict=True):
        for figure, fields in zip(result.figures, built["figures"], strict=True):
            fields.update(value=figure.value, floor_value=figure.floor_value, ratio=figure.ratio)
    return msgspec.json.format(msgspec.json.encode(content), indent=2)


def print_heading(report: Report, console: Console) -> None:
    for part, content in (("machine", report.machine), ("versions", report.versions), ("servers", report.servers)):
        console.print(f"[bold]{part}[/]  " + "  ".join(f"{k} [cyan]{v}[/]" for k, v in content.items()), soft_wrap=True)


def print_result(result: Result, console: Console) -> None:
    calibration = " → ".join(f"{ns:.1f}" for ns in result.calibration_ns)
    load = " → ".join(f"{load:.1f}" for load in result.load)
    table = Table(
        title=f"{result.name}: {result.about}",
        title_justify="left",
        title_style="bold",
        caption=f"{'; '.join(f'{k}: {v}' for k, v in result.settings.items())}\n"
        f"calibration loop {calibration} ns a turn; load average {load}; took {result.seconds:.0f} s",
        caption_justify="left",
    )
    table.add_column("what")
    for name in ("median", "unit", "lowest-highest", "floor", "ratio"):
        table.add_column(name, justify="left" if name == "unit" else "right")
    table.add_column("floor is")
    for figure in result.figures:
        table.add_row(
            figure.name,
            _number(figure.value),
            figure.unit,
            f"{_number(min(figure.rounds))}-{_number(max(figure.rounds))}" if len(figure.rounds) > 1 else "",
            "" if figure.floor_value is None else _number(figure.floor_value),
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            figure.floor or "",
        )
    console.print()
    console.print(table)


def _number(value: float) -> str:
    """Three digits that mean something, and all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"

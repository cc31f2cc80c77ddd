"""Dispatcher: what a crash left in the outbox and what falls due in; messages, takeovers and time-outs out."""

from shared.bootstrap import Runtime


def attach(runtime: Runtime) -> None:
    """Sweep the outbox in this process."""
    runtime.attach_dispatcher()

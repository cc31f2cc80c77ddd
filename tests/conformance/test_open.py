"""OBJECT_STORE_URL opens the store it names, or says which setting is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from shared.settings import Objects
from shared.storage.local import LocalObjectStore
from shared.storage.open import open_configured_store, open_object_store
from shared.storage.s3 import S3Access, S3ObjectStore

GATEWAY = "http://localhost:8000"
R2 = {"s3_endpoint_url": "https://account.r2.example", "s3_access_key_id": "id", "s3_secret_access_key": "hush"}


def test_a_file_url_opens_a_directory(tmp_path: Path) -> None:
    assert isinstance(open_object_store(tmp_path.as_uri(), public_base_url=GATEWAY), LocalObjectStore)


def test_an_s3_url_opens_a_bucket() -> None:
    assert isinstance(open_object_store("s3://darkroom", public_base_url=GATEWAY, **R2), S3ObjectStore)
    assert isinstance(open_object_store("s3://darkroom", public_base_url=GATEWAY, s3_region="eu-west-1"), S3ObjectStore)


def test_nobody_loads_boto_for_a_directory(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys; from shared.storage.open import open_object_store;"
        "asyncio.run(open_object_store(sys.argv[1], public_base_url='http://localhost').ping());"
        "print([name for name in sys.modules if 'boto' in name or 'aiohttp' in name])"
    )
    command = [sys.executable, "-c", code, tmp_path.as_uri()]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("url", "options", "wrong"),
    [
        ("", {}, "OBJECT_STORE_URL must be s3://bucket or file:///directory"),
        ("gs://bucket", {}, "OBJECT_STORE_URL must be s3://bucket or file:///directory"),
        ("http://[", {}, "OBJECT_STORE_URL is not a URL"),
        ("file://relative/dir", {}, "OBJECT_STORE_URL must name a directory"),
        ("file:///", {}, "OBJECT_STORE_URL must name a directory"),
        ("s3://", R2, "OBJECT_STORE_URL must name a bucket"),
        ("s3://darkroom/folder", R2, "OBJECT_STORE_URL must name a bucket"),
        ("s3://Bad_Bucket", R2, "OBJECT_STORE_URL must name a bucket"),
        ("s3://id:hush@darkroom", R2, "OBJECT_STORE_URL must hold no user, password"),
        ("s3://darkroom", {}, "S3_REGION is missing"),
        ("s3://darkroom", R2 | {"s3_secret_access_key": ""}, "S3_SECRET_ACCESS_KEY go together"),
        ("s3://darkroom", R2 | {"s3_endpoint_url": "account.r2.example"}, "S3_ENDPOINT_URL must be an http"),
        ("s3://darkroom", R2 | {"s3_endpoint_url": "https://id:hush@r2.example"}, "S3_ENDPOINT_URL must hold no user"),
        ("s3://darkroom", R2 | {"s3_public_endpoint_url": "ftp://x"}, "S3_PUBLIC_ENDPOINT_URL must be an http"),
        ("file:///tmp/x", {"public_base_url": "localhost"}, "the public base URL must be an http"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_with_it(url: str, options: dict[str, str], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong) as caught:
        open_object_store(url, **{"public_base_url": GATEWAY, **options})

    assert "hush" not in str(caught.value)


def test_a_store_opened_from_settings_has_all_that_they_say() -> None:
    settings = Objects(
        object_store_url="s3://darkroom",
        s3_endpoint_url="http://store:8333",
        s3_public_endpoint_url="https://pictures.example.com",
        s3_region="eu-west-1",
        s3_access_key_id="id",
        s3_secret_access_key="hush",
    )
    store = open_configured_store(settings, public_base_url=GATEWAY)

    assert isinstance(store, S3ObjectStore)
    assert store._access == S3Access(
        endpoint_url="http://store:8333",
        public_endpoint_url="https://pictures.example.com",
        region="eu-west-1",
        access_key_id="id",
        secret_access_key="hush",
    )


def test_no_process_opens_the_store_with_arguments_of_its_own() -> None:
    root = Path(__file__).parents[2]
    sources = [*root.glob("services/**/*.py"), *root.glob("shared/**/*.py")]

    assert [path.name for path in sources if "open_object_store(" in path.read_text()] == ["open.py"]

#!/usr/bin/env python3
"""Make the bucket of OBJECT_STORE_URL, and let browsers write to it. For the development stacks; safe to run again.

A bucket that somebody pays for is made by whoever pays for it.
"""

import os
import sys
import time
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

PATIENCE = 60.0
"""Seconds that the object store has to come up."""


def main() -> None:
    """Try until the store answers; end with status 1 where it does not."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            create(urlsplit(os.environ["OBJECT_STORE_URL"]).netloc)
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > until:
                sys.exit(f"the object store does not answer: {error}")
            time.sleep(0.5)
        else:
            return


def create(bucket: str) -> None:
    """Make the bucket where it is missing, and open to the upload page, which writes to it from another site."""
    s3 = boto3.client(
        "s3",
        endpoint_url=os.environ["S3_ENDPOINT_URL"],
        region_name=os.environ["S3_REGION"],
        aws_access_key_id=os.environ["S3_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["S3_SECRET_ACCESS_KEY"],
    )
    if bucket not in [found["Name"] for found in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=bucket)
    rule = {"AllowedOrigins": ["*"], "AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["*"]}
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})


if __name__ == "__main__":
    main()

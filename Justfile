# What a developer does, with the same words as CI. `just` alone lists it.

set shell := ["bash", "-euo", "pipefail", "-c"]
set positional-arguments

export PATH := justfile_directory() / ".venv/bin:" + justfile_directory() / ".tools/bin:" + env("PATH")

lock := "uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --exclude-newer '1 week'"

# List the recipes
[private]
default:
    @{{ quote(just_executable()) }} --list --unsorted

# Make .venv as deploy/requirements-dev.txt wants it (at once where it is already so)
[group('run')]
setup:
    #!/usr/bin/env bash
    set -euo pipefail
    # What was installed belongs to these files, in this place: an environment does not survive a move.
    want="$(cat deploy/requirements-dev.txt pyproject.toml | cksum) $PWD"
    if [[ "$(cat .venv/set-up-for 2>/dev/null)" == "$want" ]] && .venv/bin/python -c '' 2>/dev/null; then exit; fi
    command -v uv >/dev/null || { echo "uv is missing: python3 -m pip install --target .tools uv" >&2; exit 1; }
    unset VIRTUAL_ENV CONDA_PREFIX
    uv venv --quiet --clear --python '>=3.11' .venv
    uv pip sync --quiet --python .venv/bin/python --require-hashes deploy/requirements-dev.txt
    uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
    # A dependency that pyproject.toml names and the lock lacks shows here and not at run time.
    uv pip check --quiet --python .venv/bin/python || { echo "the lock is behind pyproject.toml: just lock" >&2; exit 1; }
    echo "$want" > .venv/set-up-for

# Process a photo end to end and save its preview here (a sample photo where none is named)
[group('run')]
[no-cd]
demo *PHOTO: setup
    #!/usr/bin/env bash
    set -euo pipefail
    if (( $# == 0 )); then
        set -- "$(python -c 'from importlib.util import find_spec; print(find_spec("skimage").submodule_search_locations[0])')/data/astronaut.png"
    fi
    exec darkroom process "$@"

# Run the whole product in one process, with nothing installed or configured
[group('run')]
dev *ARGS: setup
    darkroom dev "$@"

# Start the broker stack in containers and wait until all is well; `just up --scale generator=3` for three of a stage
[group('run')]
up *ARGS:
    REVISION="$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" deploy/compose up --build --detach "$@"
    deploy/wait-until-well

# Stop it and remove its containers; with --volumes also its data, so that nothing is left
[group('run')]
down *ARGS:
    COMPOSE_PROFILES=observability deploy/compose down --remove-orphans "$@"

# Follow the logs of all services, or of those that are named
[group('run')]
logs *SERVICES:
    deploy/compose logs --follow --tail 200 "$@"

# Bring the schema of DATABASE_URL up to date
[group('run')]
migrate: setup
    darkroom migrate

# Format the code
[group('check')]
fmt: setup
    ruff check --quiet --fix-only .
    ruff format .

# See whether it is formatted
[group('check')]
fmt-check: setup
    ruff format --check .

# Lint it
[group('check')]
lint: setup
    ruff check .

# Check its types
[group('check')]
types: setup
    mypy

# Check who imports whom
[group('check')]
arch: setup
    lint-imports

# Run all tests, on servers of their own; on Debian as root, install what they need and is missing
[group('check')]
test *ARGS: setup _test-needs
    python -m pytest "$@"

# Run the tests that need no server
[group('check')]
test-fast *ARGS: setup
    python -m pytest tests/unit "$@"

# Run the tests of the stack in containers; fails where Docker does not answer
[group('check')]
test-containers *ARGS: setup
    deploy/compose version
    TESTCONTAINERS_RYUK_DISABLED=true python -m pytest -m containers "${@:-tests/containers}"

# What a pull request needs, quickly; CI runs `just test` besides
[group('check')]
check: fmt-check lint types arch test-fast

# Measure: `just bench --help` names what
[group('measure')]
bench *ARGS: setup _test-needs
    python -m tests.benchmarks "$@"

# Kill and freeze parts under load and see that no run is lost
[group('measure')]
chaos *ARGS: setup _test-needs
    python -m tests.chaos "$@"

# Run a service (all) for so many minutes (5) under good and refused work, and see that what it holds does not grow
[group('measure')]
soak *ARGS: setup _test-needs
    python -m tests.soak "$@"

# Choose the newest versions that are at least a week old: long enough for a bad release to be noticed and withdrawn
[group('release')]
lock *ARGS:
    {{ lock }} --output-file deploy/requirements.txt "$@"
    {{ lock }} --extra embedded --group dev --output-file deploy/requirements-dev.txt "$@"

# Take the documents' pictures from the running product, on a phone and a desktop, and put them into docs/images
[group('release')]
screenshots *ARGS: setup _test-needs
    python -m tests.screenshots "$@"

# Build the image that all services run from; say how large it is and how soon it starts
[group('release')]
image TAG="darkroom:dev":
    #!/usr/bin/env bash
    set -euo pipefail
    revision="$(git rev-parse HEAD 2>/dev/null || echo unknown)"
    docker build --network host --file deploy/Dockerfile --build-arg "REVISION=$revision" --tag "$1" .
    docker image inspect --format '{{{{.Size}}' "$1" | awk -v tag="$1" '{printf "%s: %.0f MB\n", tag, $1 / 1e6}'
    TIMEFORMAT='starts within %R s'
    time docker run --rm --read-only --tmpfs /tmp "$1" --version

[private]
_test-needs:
    #!/usr/bin/env bash
    set -euo pipefail
    there() { PATH="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin" command -v "$@" >/dev/null; }
    missing=()
    [[ -n "${AMQP_URL:-}" ]] || there rabbitmq-server || docker info >/dev/null 2>&1 || missing+=(rabbitmq-server)
    there chromium || there chromium-browser || there google-chrome || missing+=(chromium)
    # Playwright drives the browser with a Node of its own, which wants a library that a bare Debian lacks.
    node="$(python -c 'import playwright; print(playwright.__path__[0])')/driver/node"
    "$node" --version >/dev/null 2>&1 || missing+=(libatomic1)
    (( ${#missing[@]} )) || exit 0
    if (( EUID != 0 )) || ! there apt-get; then
        echo "The tests want these, please install them: ${missing[*]}" >&2
        exit 0
    fi
    # Only the programs are wanted. Debian would start the server, too, if nothing told it not to.
    if [[ ! -e /usr/sbin/policy-rc.d ]]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
    fi
    export DEBIAN_FRONTEND=noninteractive
    echo "installing ${missing[*]}" >&2
    apt-get update --quiet=2
    apt-get install --yes --quiet=2 --no-install-recommends "${missing[@]}" >/dev/null

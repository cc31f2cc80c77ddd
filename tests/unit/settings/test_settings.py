"""What a service says to its environment: everything that is wrong at once, and what took over for what is missing."""

import pytest

from shared.settings import SettingsError, load

PRODUCTION = {
    "ENVIRONMENT": "production",
    "DATABASE_URL": "postgresql://u:p@db/darkroom?sslmode=require",
    "AMQP_URL": "amqps://u:p@mq/v",
    "MESSAGE_SIGNING_KEY": "0123456789abcdef" * 2,
    "OBJECT_STORE_URL": "s3://bucket",
    "S3_ACCESS_KEY_ID": "id",
    "S3_SECRET_ACCESS_KEY": "secret",
    "GEMINI_API_KEY": "key",
    "OPERATOR_TOKEN": "fedcba9876543210" * 2,
}


def refusal(environ):
    with pytest.raises(SettingsError) as refused:
        load(environ)
    return refused.value.problems


def test_an_empty_environment_is_enough_to_develop(tmp_path):
    settings = load({}, data_dir=tmp_path)

    assert settings.generator.generator == "local"
    assert settings.objects.object_store_url == (tmp_path / "objects").as_uri()
    assert settings.process.host == "127.0.0.1"


def test_in_development_every_missing_credential_is_a_warning():
    warnings = "\n".join(load({}).warnings)

    for name in (
        "DATABASE_URL",
        "AMQP_URL",
        "MESSAGE_SIGNING_KEY",
        "OBJECT_STORE_URL",
        "GEMINI_API_KEY",
        "OPERATOR_TOKEN",
    ):
        assert name in warnings


def test_production_with_everything_set_is_accepted_without_a_word():
    assert load(PRODUCTION).warnings == ()


def test_production_with_nothing_set_names_everything_in_one_message():
    said = "\n".join(refusal({"ENVIRONMENT": "production"}))

    for name in ("DATABASE_URL", "AMQP_URL", "MESSAGE_SIGNING_KEY", "OBJECT_STORE_URL", "GENERATOR", "OPERATOR_TOKEN"):
        assert name in said


@pytest.mark.parametrize("name", sorted(set(PRODUCTION) - {"ENVIRONMENT"}))
@pytest.mark.parametrize("value", [None, "", "  "])
def test_production_does_not_start_without_one_of_its_settings(name, value):
    environ = {key: given for key, given in PRODUCTION.items() if key != name}
    if value is not None:
        environ[name] = value

    assert [problem for problem in refusal(environ) if name in problem]


WRONG = [
    ("DATABASE_URL", "mysql://db"),
    ("DATABASE_URL", "darkroom"),
    ("DATABASE_URL", "postgresql://[half"),
    ("AMQP_URL", "http://mq"),
    ("MESSAGE_SIGNING_KEY", "k" * 31),
    ("AMQP_URL", "amqp://[half"),
    ("OBJECT_STORE_URL", "ftp://bucket"),
    ("OBJECT_STORE_URL", "s3://"),
    ("S3_ENDPOINT_URL", "localhost:9000"),
    ("PUBLIC_URL", "example.com"),
    ("GEMINI_BASE_URL", "gemini"),
    ("POSTHOG_HOST", "eu.i.posthog.com"),
    ("ENVIRONMENT", "staging"),
    ("PORT", "http"),
    ("PORT", "-1"),
    ("PORT", "65536"),
    ("LOG_LEVEL", "LOUD"),
    ("LOG_FORMAT", "xml"),
    ("GENERATOR", "dall-e"),
    ("GRACE_PERIOD", "0"),
    ("GRACE_PERIOD", "-3"),
    ("GRACE_PERIOD", "nan"),
    ("GRACE_PERIOD", "inf"),
    ("GENERATOR_TIMEOUT", "soon"),
    ("GENERATOR_MAX_UNKNOWN", "-1"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
@pytest.mark.parametrize("environment", ["development", "production"])
def test_a_value_that_cannot_work_is_refused_by_its_name_everywhere(name, value, environment):
    problems = refusal({**PRODUCTION, "ENVIRONMENT": environment, name: value})

    assert [problem for problem in problems if name in problem]
    assert len(problems) == 1


def test_all_wrong_values_are_named_at_once():
    problems = refusal({"PORT": "http", "LOG_LEVEL": "LOUD", "AMQP_URL": "mq"})

    assert len(problems) == 3


def test_what_is_wrong_with_a_url_is_said_without_its_password():
    problems = refusal({"DATABASE_URL": "mysql://ann:hunter2@db", "AMQP_URL": "amqp://ann:hunter2@[half"})

    assert "hunter2" not in "\n".join(problems)


@pytest.mark.parametrize(
    ("environ", "generator"),
    [({}, "local"), ({"GEMINI_API_KEY": "k"}, "gemini"), ({"GEMINI_API_KEY": "k", "GENERATOR": "local"}, "local")],
)
def test_the_key_decides_who_draws_unless_something_else_was_said(environ, generator):
    assert load(environ).generator.generator == generator


def test_gemini_is_not_chosen_without_its_key():
    assert refusal({"GENERATOR": "gemini"}) == ["GENERATOR=gemini needs GEMINI_API_KEY"]


def test_a_refusal_is_one_message_with_a_line_for_each_problem():
    with pytest.raises(SettingsError) as refused:
        load({"PORT": "http", "LOG_LEVEL": "LOUD"})

    assert len(str(refused.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("service", "without"),
    [
        (
            "dispatcher",
            {"OBJECT_STORE_URL", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "GEMINI_API_KEY", "OPERATOR_TOKEN"},
        ),
        (
            "analytics",
            {"OBJECT_STORE_URL", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "GEMINI_API_KEY", "OPERATOR_TOKEN"},
        ),
        ("storer", {"GEMINI_API_KEY", "OPERATOR_TOKEN"}),
        ("generator", {"OPERATOR_TOKEN"}),
        ("gateway", {"GEMINI_API_KEY"}),
        ("command", set(PRODUCTION) - {"ENVIRONMENT", "DATABASE_URL"}),
    ],
)
def test_a_service_starts_in_production_without_what_it_does_not_use(service, without):
    load({name: value for name, value in PRODUCTION.items() if name not in without}, service=service)


@pytest.mark.parametrize("weak", ["?", "let-me-in", "a" * 64])
@pytest.mark.parametrize("name", ["OPERATOR_TOKEN", "MESSAGE_SIGNING_KEY"])
def test_production_refuses_a_secret_that_can_be_guessed(name, weak):
    assert any(name in problem and weak not in problem for problem in refusal(PRODUCTION | {name: weak}))


def test_production_refuses_to_be_called_by_every_page_of_the_web():
    assert any("CORS_ORIGINS" in problem for problem in refusal(PRODUCTION | {"CORS_ORIGINS": "*"}))
    assert load({"CORS_ORIGINS": "*"}).gateway.origins == ["*"]


@pytest.mark.parametrize("name", ["DATABASE_URL", "AMQP_URL"])
@pytest.mark.parametrize("password", ["hunter 2", "hunter%2", "hunter%", "hunter%zz", "hunter\t2"])
def test_a_url_that_is_none_is_refused_and_its_password_is_not_quoted(name, password):
    scheme = PRODUCTION[name].partition(":")[0]
    for environ in ({}, PRODUCTION):
        problems = refusal({**environ, name: f"{scheme}://ann:{password}@host/name"})
        assert [problem for problem in problems if name in problem]
        assert "hunter" not in str(problems)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    "name", ["GENERATOR_TIMEOUT", "GRACE_PERIOD", "RETENTION_UNSTARTED_DAYS", "PROVIDER_CALL_COST"]
)
def test_what_is_no_number_is_refused(name, value):
    assert [problem for problem in refusal({name: value}) if name in problem]


def test_production_says_which_engines_are_asked_without_encryption():
    plain = {
        "DATABASE_URL": "postgresql://u:p@db/d",
        "AMQP_URL": "amqp://u:p@mq/v",
        "S3_ENDPOINT_URL": "http://s3:8333",
    }
    warnings = load(PRODUCTION | plain).warnings

    assert [warning.split()[0] for warning in warnings] == list(plain)
    assert "u:p" not in str(warnings)

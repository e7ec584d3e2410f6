"""What leaves a finding before anybody sees it, and what stays readable."""

import time

import pytest

from bulkhead.secrets import WITHHELD, is_secret, redacted, without_secrets

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:hunter2@proxy:3128/x", "http://(withheld)@proxy:3128/x"),
        ("https://hunter2@registry", "https://(withheld)@registry"),
        ('"auth_token": "hunter2", "icc": false', '"auth_token": (withheld), "icc": false'),
        ("--api-key=hunter2 --debug=true", "--api-key=(withheld) --debug=true"),
        ("DB_PASSWORD=hunter2\nUSER=me", "DB_PASSWORD=(withheld)\nUSER=me"),
        ("x: Bearer hunter2.hunter2", "x: Bearer (withheld)"),
        ("authorization: Bearer hunter2.hunter2", "authorization: (withheld)"),
        ("Authorization: ApiKey hunter2 hunter2", "Authorization: (withheld)"),
        (
            "a\n-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----\nb",
            "a\n(withheld)\nb",
        ),
        ("-----BEGIN PRIVATE KEY-----\nhunter2", "(withheld)"),
        ("secret = 'hunter2'", "secret = (withheld)"),
        ("Proxy-AuTHorization: BASIC aHVudGVyMg==", "Proxy-AuTHorization: (withheld)"),
        ("HTTP_PROXY=user:hunter2@proxy:3128", "HTTP_PROXY=(withheld)@proxy:3128"),
        (
            "cache_peer 192.0.2.1 parent 3128 0 login=user:hunter2 x",
            "cache_peer 192.0.2.1 parent 3128 0 login=(withheld) x",
        ),
        ("DB_PASS=hunter2 A=b\nMYSQL_PWD=hunter2", "DB_PASS=(withheld) A=b\nMYSQL_PWD=(withheld)"),
        ("psk: hunter2", "psk: (withheld)"),
        ("--password hunter2 --debug", "--password (withheld) --debug"),
        ('["--token","hunter2","-x"]', '["--token","(withheld)","-x"]'),
        ("password = abc;hunter2\nb", "password = (withheld)\nb"),
        ("TOKEN=a]hunter2}c d", "TOKEN=(withheld) d"),
        ("password: abc hunter2 ghi\nb", "password: (withheld)\nb"),
        ('{"token": 12345, "icc": false}', '{"token": (withheld), "icc": false}'),
        ("password:\n  a: hunter2".replace("a: ", "secret: "), "password:\n  secret: (withheld)"),
        ('{"password": {"a": "hunter2"}}\nb', '{"password": (withheld)\nb'),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nhunter2\n-----END PGP PRIVATE KEY BLOCK-----\nb", "(withheld)\nb"),
        ("access-key: hunter2\nPRIVATEKEY=hunter2", "access-key: (withheld)\nPRIVATEKEY=(withheld)"),
        ("https_proxy=http://svc:hunter2/4d@r@proxy:3128/x", "https_proxy=http://(withheld)@proxy:3128/x"),
        ('Environment="TOKEN=abc hunter2" "A=b"', 'Environment="TOKEN=(withheld)" "A=b"'),
        ("Environment='TOKEN=abc hunter2' A=b", "Environment='TOKEN=(withheld)' A=b"),
        ('Environment="TOKEN=a\\"hunter2" A=b', 'Environment="TOKEN=(withheld)" A=b'),
        ("password=abc,hunter2 x", "password=(withheld) x"),
        ('{"token": "a\\"hunter2", "icc": false}', '{"token": (withheld), "icc": false}'),
        ('{"auths": {"a": {"auth": "hunter2"}}}', '{"auths": {"a": {"auth": (withheld)}}}'),
        # To an expression that ignores case the long s is an s, and the sign of kelvins a k.
        ("\u017fecret = hunter2", "\u017fecret = (withheld)"),
        ("to\u212aen = hunter2", "to\u212aen = (withheld)"),
    ],
)
def test_secrets_go(text: str, shown: str) -> None:
    assert redacted(text) == redacted(shown) == shown
    assert SECRET not in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "PasswordAuthentication no\nPermitEmptyPasswords no",
        "http://proxy:3128/ and user@host",
        "sha512 of /opt/gvisor/20260817.0/runsc",
        '{"path": "/usr/local/bin/runsc", "runtimeArgs": ["--network=sandbox"]}',
        "ip daddr @metadata4 goto deny_metadata",
        "registry:5000/image:1@sha256:4f1d",
        '{"authorization-plugins": ["x"], "runtimes": {}}',
        "PASSWORD=\nExecStart=/bin/x now",
        "permitrootlogin no\nbypass: on, pass through",
        "git@example.net:/srv/git and root@192.0.2.1:22",
    ],
)
def test_the_rest_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    "name", ["password", "REGISTRY_TOKEN", "tls.private_key", "apiKey", "client-secret", "registry.auth"]
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name", ["path", "runtimeArgs", "log-driver", "SystemdCgroup", "ConfigPath", "MaxAuthTries", "auths", "auth-method"]
)
def test_names_of_other_things(name: str) -> None:
    assert not is_secret(name)


def test_a_value_is_kept_but_for_what_lies_under_a_secret_name() -> None:
    value = {"a": [{"token": {"deep": SECRET}, "b": 1}], "url": f"http://x:{SECRET}@y"}
    assert without_secrets(value) == {"a": [{"token": WITHHELD, "b": 1}], "url": f"http://{WITHHELD}@y"}


@pytest.mark.parametrize(
    "part",
    [
        "a",
        "secret",
        "api.key-",
        "password ",
        "token=",
        "bearer ",
        "basic a",
        "x://a",
        "a:b",
        "a:",
        "--token ",
        "login:",
        "pass",
        "-----BEGIN A PRIVATE KEY-----",
        "'",
    ],
)
def test_no_text_takes_long(part: str) -> None:
    """What a host says may be made to keep the controller busy."""
    started = time.process_time()
    redacted("://" + part * (200_000 // len(part)))
    assert time.process_time() - started < 2

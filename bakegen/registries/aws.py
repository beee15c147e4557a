"""The password of an Amazon ECR registry, which AWS gives for twelve hours.

In: a `Destination` and an `Environment`. Out: the password. AWS's own library asks, by credentials from its standard chain.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from bakegen.errors import BakegenError, fail
from bakegen.registries.destinations import Destination
from bakegen.registries.env_file import Environment
from bakegen.registries.login_outcome import LoginOutcome, is_passing, patiently, problem_of

_TIMEOUT = 5  # seconds
_PUBLIC = "public.ecr.aws"
_PUBLIC_REGION = "us-east-1"  # the only one that gives passwords for the public registry
_REGION = re.compile(r"\.dkr[.-]ecr(?:-fips)?\.([^.]+)\.")
_OWN = {  # what the library takes from the environment, by its own names
    "AWS_ACCESS_KEY_ID": "aws_access_key_id",
    "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key",
    "AWS_SESSION_TOKEN": "aws_session_token",
    "AWS_PROFILE": "profile_name",
}


def password(registry: Destination, environment: Environment) -> str:
    """Return the password of a registry; raises `BakegenError` if AWS, or its library, does not give one."""
    try:
        import boto3  # noqa: F401 - whether it is there
    except ImportError:
        raise fail(
            "missing-helper",
            f"a login to {registry.host} needs boto3, which is not installed",
            hint="install it beside bakegen: pip install 'bakegen[aws]'",
        ) from None
    got = patiently(lambda: _ask(registry, environment))
    if isinstance(got, LoginOutcome):
        problem = problem_of(registry, registry.kind.user, got)
        raise BakegenError([problem] if problem else [])
    return got


def _ask(registry: Destination, environment: Environment) -> str | LoginOutcome:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectionError,  # noqa: A004 - the library's own
        HTTPClientError,
        NoCredentialsError,
        PartialCredentialsError,
        ProfileNotFound,
    )

    # The credentials of the process go before those of the file, as a whole: halves of two would not fit together.
    own = {} if environment.process.keys() & _OWN.keys() else environment.file
    public = registry.host == _PUBLIC
    region = _REGION.search(registry.host)
    try:
        session = boto3.Session(**{name: own[variable] for variable, name in _OWN.items() if variable in own})
        client = session.client(
            "ecr-public" if public else "ecr",
            region_name=region[1] if region else _PUBLIC_REGION,
            config=Config(connect_timeout=_TIMEOUT, read_timeout=_TIMEOUT, retries={"total_max_attempts": 1}),
        )
        return _password_in(client.get_authorization_token()["authorizationData"])
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise BakegenError(
            [
                registry.problem(
                    "no-credentials",
                    f"no credentials for {registry.host}: {error}",
                    hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
                )
            ]
        ) from None
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        passing = is_passing(status) or "Throttl" in error.response["Error"]["Code"]
        return LoginOutcome("failing" if passing else "refused", str(error), passing)
    except (ConnectionError, HTTPClientError) as error:
        return LoginOutcome("unreachable", str(error), passing=True)
    except BotoCoreError as error:  # such as single sign-on that has run out
        return LoginOutcome("refused", str(error))


def _password_in(data: Any) -> str:
    """Return the password in what AWS answers: `USER:PASSWORD` in base64, the public registry's not in a list."""
    token = (data[0] if isinstance(data, list) else data)["authorizationToken"]
    return base64.b64decode(token).decode().partition(":")[2]

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
from bakegen.registries.login_outcome import LoginOutcome, is_passing, problem_of

_TIMEOUT = 5  # seconds
_RETRIES = {"total_max_attempts": 4, "mode": "standard"}  # the library tries again what may pass, with pauses
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
        import boto3
    except ImportError:
        raise fail(
            "missing-helper",
            f"logging in to {registry.host} requires boto3, which is not installed",
            hint="install it: pip install 'bakegen[aws]'",
        ) from None
    from botocore import exceptions
    from botocore.config import Config

    # The credentials of the process go before those of the file, as a whole: halves of two would not fit together.
    own = {} if environment.process.keys() & _OWN.keys() else environment.file
    public = registry.host == _PUBLIC
    region = _REGION.search(registry.host)
    try:
        session = boto3.Session(**{name: own[variable] for variable, name in _OWN.items() if variable in own})
        client = session.client(
            "ecr-public" if public else "ecr",
            region_name=region[1] if region else _PUBLIC_REGION,
            config=Config(connect_timeout=_TIMEOUT, read_timeout=_TIMEOUT, retries=_RETRIES),
        )
        return _password_in(client.get_authorization_token()["authorizationData"])
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound) as error:
        message = f"no credentials for {registry.host}: {error}"
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        raise BakegenError([registry.problem("no-credentials", message, hint=hint)]) from None
    except exceptions.ClientError as error:
        status, code = error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
        passing = is_passing(status) or "Throttl" in code
        outcome = LoginOutcome("failing" if passing else "refused", str(error), passing)
    except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        outcome = LoginOutcome("unreachable", str(error))
    except exceptions.BotoCoreError as error:  # such as single sign-on that has run out
        outcome = LoginOutcome("refused", str(error))
    problem = problem_of(registry, registry.kind.user, outcome)
    raise BakegenError([problem] if problem else [])


def _password_in(data: Any) -> str:
    """Return the password in what AWS answers: `USER:PASSWORD` in base64, the public registry's not in a list."""
    token = (data[0] if isinstance(data, list) else data)["authorizationToken"]
    return base64.b64decode(token).decode().partition(":")[2]

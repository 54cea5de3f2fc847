"""What schemathesis is told beside the document."""

import itertools
import re

import schemathesis

numbers = itertools.count()
NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._@\\+-]{0,63})?$")


@schemathesis.hook
def before_call(context, case, kwargs):
    """Asks as another person each time, but where a name was made up that is none:
    one person may ask only so often, and what is refused for that is not tested."""
    name = case.headers.get("X-Safestate-User", "")
    if isinstance(name, str) and NAME.match(name):
        case.headers["X-Safestate-User"] = f"person-{next(numbers)}"


def whole(value):
    """Writes 7.0 as 7, which the API wants: to JSON Schema both are integers."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: whole(v) for name, v in value.items()}
    if isinstance(value, list):
        return [whole(v) for v in value]
    return value


@schemathesis.hook
def map_body(context, body):
    return whole(body)


@schemathesis.hook
def map_query(context, query):
    return whole(query)

"""Puts a stored file's id where schemathesis thought of any text as ref_audio, half the time."""
import os

import schemathesis


def settle(value, fill):
    if isinstance(value, dict):
        value = {name: settle(member, fill) for name, member in value.items()}
        if fill and isinstance(value.get("ref_audio"), str):
            value["ref_audio"] = os.environ["TIMBRE_FILE"]
            value.pop("voice", None)
    elif isinstance(value, list):
        value = [settle(member, fill) for member in value]
    return value


@schemathesis.hook
def map_body(context, body):
    return settle(body, len(str(body)) % 2 == 0)

#!/usr/bin/env python3
"""Asks a timbre server for speech in the voice of a recording, and writes it while it is made.

    clone.py URL REF TEXT OUT

URL is the server's, as http://127.0.0.1:8077; a key, if it wants one, is in TIMBRE_KEY. OUT is a WAV file. Python's own
library is enough.
"""
import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request


def speak(url, reference, text, out):
    """Returns the bytes, and the seconds until the first of them."""
    with open(reference, "rb") as file:
        audio = "data:audio/wav;base64," + base64.b64encode(file.read()).decode()
    body = {"text": text, "ref_audio": audio, "stream": True}
    headers = {"Content-Type": "application/json", "Accept": "audio/wav"}
    if "TIMBRE_KEY" in os.environ:
        headers["x-api-key"] = os.environ["TIMBRE_KEY"]
    request = urllib.request.Request(f"{url}/api/v1/voice-clone-enhanced", json.dumps(body).encode(), headers)
    start = time.monotonic()
    with urllib.request.urlopen(request) as answer, open(out, "wb") as file:
        first, count = None, 0
        # A connection that breaks raises http.client.IncompleteRead: half an answer is no result.
        while piece := answer.read1(65536):
            first = first or time.monotonic() - start
            count += file.write(piece)
        return count, first


def main(arguments):
    if len(arguments) != 4:
        print("usage: clone.py URL REF TEXT OUT", file=sys.stderr)
        return 2
    try:
        count, first = speak(*arguments)
    except urllib.error.HTTPError as error:
        print(f"clone.py: {json.load(error).get('detail', error)}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"clone.py: {error}", file=sys.stderr)
        return 1
    print(f"{count} bytes, the first after {first:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

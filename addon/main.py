"""sseguard for mitmproxy: `mitmdump -s addon/main.py`."""

from sseguard.mitm import build

addons = build()

"""The edge half. Runs on a board with numpy, opencv, urllib3, zstandard, msgpack and one runtime, on Python 3.8."""

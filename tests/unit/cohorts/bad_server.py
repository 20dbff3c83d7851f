"""A local web server that behaves as badly as real ones do."""

import contextlib
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

CONTENT = b"PK" + np.random.default_rng(0).bytes(99_998)
MD5, SHA256 = hashlib.md5(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()
SIZE, CUT = 100_000, 40_000  # 40 %
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


class Server:
    """Answers each request with the next behaviour of a list, the last one for ever."""

    def __init__(self):
        self.behaviours, self.requests, self.etag = [self.send], [], '"v1"'
        self.content, self.texts = CONTENT, {}
        self.released = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append((self.path, dict(self.headers)))
                self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                text = server.texts.get(self.path)
                if text is not None:
                    text(self) if callable(text) else server.answer(self, 200, text)
                    return
                behave = server.behaviours[0]
                if len(server.behaviours) > 1:
                    server.behaviours.pop(0)
                behave(self)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request, status, body, length=None, **headers):
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        if length != "none":
            request.send_header("Content-Length", str(length or len(body)))
        request.end_headers()
        with contextlib.suppress(ConnectionError):  # a client may hang up before the end
            request.wfile.write(body)

    def send(self, request, ranges=True, until=None):
        """Send the file, or from where Range says if If-Range names the version at hand."""
        start, headers = 0, {"ETag": self.etag} if self.etag else {}
        if ranges and request.headers.get("If-Range") == self.etag is not None:
            start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            headers["Content_Range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        body = self.content[start:]
        status = 206 if "Content_Range" in headers else 200
        self.answer(request, status, body[: until and until - start], len(body), **headers)

    def cut(self, request):
        self.send(request, until=CUT)

    def stall(self, request):
        """Send some bytes and then none for longer than a client waits."""
        self.send(request, until=CUT)
        request.wfile.flush()
        self.released.wait(5)

    def redirect(self, to):
        return lambda request: self.answer(request, 307, b"", Location=to)

    def without_ranges(self, request):
        self.send(request, ranges=False)

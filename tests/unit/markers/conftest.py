"""A local web server with scripted answers, and a stand-in for Snakemake's job object."""

import contextlib
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pandas as pd
import pytest


class Server:
    """Answers of each path in turn; the last one is repeated. Requests are recorded."""

    def __init__(self):
        self.answers = {}
        self.requests = defaultdict(list)
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                owner.requests[self.path].append(self.headers)
                answers = owner.answers.get(self.path, [(404, {}, b"not here")])
                status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                # A client may hang up before the end.
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(body)

            def log_message(self, *arguments):
                """Keep the test's output quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


@pytest.fixture
def channels(tmp_path):
    """Return a function that writes channels.parquet of a cohort from its accessions."""

    def write(cohort, accessions, qc_pass=True):
        path = tmp_path / "ingest" / cohort / "channels.parquet"
        path.parent.mkdir(parents=True)
        pd.DataFrame(
            {
                "channel_name": [f"c{i}" for i in range(len(accessions))],
                "uniprot_id": pd.Series(accessions, dtype=object),
                "qc_pass": qc_pass,
            }
        ).to_parquet(path)
        return str(path)

    return write


@pytest.fixture
def job():
    """Return a function that builds what a rule hands to its script."""

    def build(inputs, outputs, config=None, **params):
        return SimpleNamespace(
            config=config or {"offline": False},
            input=SimpleNamespace(**inputs),
            output=SimpleNamespace(**outputs),
            params=SimpleNamespace(**params),
            threads=1,
        )

    return build

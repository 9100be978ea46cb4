"""The provider under test, and the person at a browser, as plain HTTP."""

import html
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urljoin

import requests
from joserfc.jwk import RSAKey

HERE = Path(__file__).parent
SECRET = "q+7Rk/Zd93+LmX0v/Bw8sT2yNfA5eGhu1PcJ4oEiKQ=="
PERCENT_SECRET = "p+l/u=s%41&per%zz~cent"
CALLBACK = "https://rp.example/callback"


class Provider:
    """A process that serves ../provider.yaml on a free port until stop."""

    def __init__(self, *replace):
        self.dir = tempfile.mkdtemp()
        program = os.environ.get("QUICKSTART")
        if not program:
            program = self.dir + "/quickstart"
            subprocess.run(["go", "build", "-o", program, "./quickstart"], cwd=HERE.parent.parent, check=True)
        self.key = RSAKey.generate_key(2048, {"kid": "k", "alg": "RS256", "use": "sig"})
        text = (HERE.parent / "provider.yaml").read_text().replace("$JWKS", json.dumps({"keys": [self.key.as_dict(private=False)]}))
        for old, new in replace:
            text = text.replace(old, new)
        config = Path(self.dir, "provider.yaml")
        config.write_text(text)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.issuer = "http://127.0.0.1:%d" % s.getsockname()[1]
        self.process = subprocess.Popen([program, "-config", config, "-issuer", self.issuer])
        while True:
            if self.process.poll() is not None:
                raise RuntimeError("quickstart ended with %d" % self.process.returncode)
            try:
                if requests.get(self.issuer + "/readyz", timeout=30).ok:
                    break
            except requests.ConnectionError:
                time.sleep(0.02)
        self.metadata = requests.get(self.issuer + "/.well-known/openid-configuration", timeout=30).json()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        shutil.rmtree(self.dir)


class Browser:
    """Alice's. It keeps cookies and follows redirects within the provider."""

    def __init__(self, issuer):
        self.issuer, self.session = issuer, requests.Session()

    def open(self, url, method="GET", **options):
        while True:
            self.page = self.session.request(method, url, allow_redirects=False, timeout=60, **options)
            self.leaves = self.page.headers.get("Location")
            if not self.leaves or not urljoin(url, self.leaves).startswith(self.issuer + "/"):
                return self
            url, method, options = urljoin(url, self.leaves), "GET", {}

    def press(self, button, **fields):
        """Fill in the form that has the button and press it."""
        for action, inside in re.findall(r'(?s)<form method="post" action="([^"]*)">(.*?)</form>', self.page.text):
            if f'value="{button}"' not in inside:
                continue
            form = [("do", button), *fields.items()]
            for tag in re.findall(r"<input ([^>]*)/>", inside):
                a = {k: html.unescape(v) for k, v in re.findall(r'([a-z-]+)="([^"]*)"', tag)}
                if a.get("name") and a["name"] not in fields and (a.get("type") != "checkbox" or "checked" in a):
                    form.append((a["name"], a.get("value", "")))
            headers = {"Origin": self.issuer, "Sec-Fetch-Site": "same-origin"}
            return self.open(urljoin(self.page.url, html.unescape(action)), "POST", data=form, headers=headers)
        raise AssertionError(f"no button {button} at {self.page.url}: {self.page.status_code} {self.leaves} {self.page.text}")

    def answer(self, consent="allow"):
        """Go through login and consent."""
        if 'value="login"' in self.page.text:
            self.press("login", username="alice", password="wonderland")
        if f'value="{consent}"' in self.page.text:
            self.press(consent)
        return self.leaves

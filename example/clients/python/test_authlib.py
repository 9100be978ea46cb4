"""Authlib, used as its documentation shows."""

import json
import time
import unittest
from urllib.parse import parse_qs, urlencode, urlsplit

import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from provider import CALLBACK, PERCENT_SECRET, SECRET, Browser, Provider

DETAILS = [{"type": "account_access", "actions": ["read_balances"]}]
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


class Authlib(unittest.TestCase):
    replace = ()

    @classmethod
    def setUpClass(cls):
        cls.provider = Provider(*cls.replace)
        cls.addClassCleanup(cls.provider.stop)

    def client(self, client_id="web+app", secret=SECRET, method="client_secret_basic", scope="openid profile email offline_access", **options):
        return OAuth2Session(
            client_id, secret, token_endpoint_auth_method=method, revocation_endpoint_auth_method=method, scope=scope,
            redirect_uri=options.pop("redirect_uri", CALLBACK), code_challenge_method="S256",
            token_endpoint=self.provider.metadata["token_endpoint"], **options)

    def signing(self, client_id, audience, life=60, **options):
        """A client that authenticates with an assertion. The library has it live
        an hour, which the provider refuses."""
        client = self.client(client_id, self.provider.key, "private_key_jwt", **options)
        client.register_client_auth_method(Assertion(audience, life))
        return client

    def authorize(self, client, browser=None, **parameters):
        """Return the callback's URL and the verifier."""
        verifier = generate_token(48)
        browser = browser or Browser(self.provider.issuer)
        parameters = {"prompt": "consent", "nonce": "nonce", **parameters}
        url, client.state = client.create_authorization_url(self.provider.metadata["authorization_endpoint"], code_verifier=verifier, **parameters)
        return browser.open(url).answer(), verifier

    def tokens(self, client, **parameters):
        url, verifier = self.authorize(client, **parameters)
        return client.fetch_token(authorization_response=url, code_verifier=verifier)

    def refused(self, code, call, *args, **kwargs):
        with self.assertRaises(OAuthError) as e:
            call(*args, **kwargs)
        self.assertEqual(e.exception.error, code)

    def claims(self, token, client_id):
        keys = KeySet.import_key_set(requests.get(self.provider.metadata["jwks_uri"], timeout=30).json())
        t = jwt.decode(token["id_token"], keys, algorithms=self.provider.metadata["id_token_signing_alg_values_supported"])
        claims = CodeIDToken(t.claims, t.header, {"iss": {"value": self.provider.issuer}, "aud": {"value": client_id}, "nonce": {"value": "nonce"}},
                             {"client_id": client_id, "nonce": "nonce", "access_token": token["access_token"]})
        claims.validate()
        return claims

    def introspect(self, client, token):
        res = client.introspect_token(self.provider.metadata["introspection_endpoint"], token=token)
        self.assertEqual(res.status_code, 200, res.text)
        return res.json()

    def user_info(self, client):
        return client.get(self.provider.metadata["userinfo_endpoint"])


class Assertion(PrivateKeyJWT):
    def __init__(self, audience, life):
        super().__init__(audience)
        self.life = life

    def sign(self, auth, token_endpoint):
        self.claims = {"exp": int(time.time()) + self.life}
        return super().sign(auth, token_endpoint)


class Flows(Authlib):
    def test_whole(self):
        endpoint = self.provider.metadata["token_endpoint"]
        for name, client in {
            "basic": self.client(), "percent": self.client("percent", PERCENT_SECRET, scope="openid profile email"),
            "post": self.client("post", method="client_secret_post"),
            "public": self.client("native", None, "none", redirect_uri="http://127.0.0.1:4321/callback"),
            "assertion": self.signing("assertion-endpoint", endpoint), "assertion for the issuer": self.signing("assertion-endpoint", self.provider.issuer),
        }.items():
            with self.subTest(name):
                token = self.tokens(client)
                self.assertEqual(self.claims(token, client.client_id)["sub"], "alice")
                self.assertEqual(self.user_info(client).json()["email"], "alice@example.com")
                if name == "percent":
                    continue
                renewed = client.refresh_token(refresh_token=token["refresh_token"])
                self.assertNotEqual(renewed["refresh_token"], token["refresh_token"])
                self.assertEqual(self.user_info(client).status_code, 200)
                if name != "public":
                    self.assertTrue(self.introspect(client, renewed["access_token"])["active"])
                    self.assertFalse(self.introspect(client, renewed["access_token"] + "x")["active"])
                res = client.revoke_token(self.provider.metadata["revocation_endpoint"], token=renewed["refresh_token"], token_type_hint="refresh_token")
                self.assertEqual(res.status_code, 200)
                res = self.user_info(client)
                self.assertEqual(res.status_code, 401)
                self.assertIn('error="invalid_token"', res.headers["WWW-Authenticate"])
                self.refused("invalid_grant", client.refresh_token, refresh_token=renewed["refresh_token"])

    # The library has no function for PAR: its session sends what it would have
    # put into the URL.
    def test_par_and_details(self):
        client, verifier, browser = self.client(), generate_token(48), Browser(self.provider.issuer)

        def push(details, who=client):
            url, state = client.create_authorization_url("", code_verifier=verifier, nonce="nonce", prompt="consent", authorization_details=json.dumps(details))
            client.state = state
            return client.post(self.provider.metadata["pushed_authorization_request_endpoint"], data=dict(p for p in form(url)), withhold_token=True,
                               auth=who.client_auth(who.token_endpoint_auth_method))

        def form(url):
            return [(k, v[0]) for k, v in parse_qs(urlsplit(url).query).items()]

        res = push(DETAILS)
        self.assertEqual(res.status_code, 201, res.text)
        url = self.provider.metadata["authorization_endpoint"] + "?" + urlencode({"client_id": client.client_id, "request_uri": res.json()["request_uri"]})
        callback = browser.open(url).answer()
        token = client.fetch_token(authorization_response=callback, code_verifier=verifier)
        self.assertEqual(token["authorization_details"], DETAILS)
        self.assertEqual(self.introspect(client, token["access_token"])["authorization_details"], DETAILS)

        self.assertIn("invalid_request_uri", browser.open(url).page.text + (browser.leaves or ""), "a request_uri used again")
        res = push([{"type": "unknown"}])
        self.assertEqual((res.status_code, res.json()["error"]), (400, "invalid_authorization_details"))
        res = push(DETAILS, self.client("post", method="client_secret_post"))
        self.assertEqual(res.status_code, 400, "pushed for another client")
        res = push(DETAILS, self.client(secret="x" * 43))
        self.assertEqual((res.status_code, res.json()["error"]), (401, "invalid_client"))

    def test_verifier_and_replay(self):
        client = self.client()
        url, verifier = self.authorize(client)
        self.refused("invalid_grant", client.fetch_token, authorization_response=url, code_verifier=generate_token(48))
        token = client.fetch_token(authorization_response=url, code_verifier=verifier)
        self.refused("invalid_grant", client.fetch_token, authorization_response=url, code_verifier=verifier)
        client.token = token
        self.assertEqual(self.user_info(client).status_code, 401)

    def test_foreign_client_and_wrong_secret(self):
        client, foreign = self.client(), self.client("post", method="client_secret_post")
        url, verifier = self.authorize(client)
        foreign.state = client.state
        self.refused("invalid_grant", foreign.fetch_token, authorization_response=url, code_verifier=verifier)
        wrong = self.client(secret=SECRET.replace("+", " "), state=client.state)
        self.refused("invalid_client", wrong.fetch_token, authorization_response=url, code_verifier=verifier)
        token = client.fetch_token(authorization_response=url, code_verifier=verifier)
        self.refused("invalid_grant", foreign.refresh_token, refresh_token=token["refresh_token"])
        self.assertFalse(self.introspect(foreign, token["access_token"])["active"])
        client.refresh_token(refresh_token=token["refresh_token"])

    def test_denied(self):
        client, browser = self.client(), Browser(self.provider.issuer)
        url, state = client.create_authorization_url(self.provider.metadata["authorization_endpoint"], code_verifier=generate_token(48), prompt="consent")
        answer = parse_qs(urlsplit(browser.open(url).answer("deny")).query)
        self.assertEqual((answer["error"], answer["state"]), (["access_denied"], [state]))

    def test_id_token_of_another(self):
        token = self.tokens(self.client())
        with self.assertRaises(JoseError):
            self.claims(token, "post")
        with self.assertRaises(JoseError):
            self.claims({**token, "access_token": "other"}, "web+app")

    def test_assertions(self):
        endpoint, issuer = self.provider.metadata["token_endpoint"], self.provider.issuer
        for client_id, audience, life, good in (
            ("assertion", issuer, 60, True), ("assertion", endpoint, 60, False), ("assertion-endpoint", endpoint, 60, True),
            ("assertion-endpoint", issuer, 60, True), ("assertion-endpoint", "https://other.example/token", 60, False),
            ("assertion", issuer, -60, False), ("assertion", issuer, 3600, False),
        ):
            with self.subTest(f"{client_id} for {audience}, {life} s"):
                client = self.signing(client_id, audience, life, scope="api")
                if good:
                    client.fetch_token(grant_type="client_credentials")
                else:
                    self.refused("invalid_client", client.fetch_token, grant_type="client_credentials")

    def test_client_credentials(self):
        machine, invoices = self.client("machine", scope="api"), self.client("invoices", scope="api")
        token = machine.fetch_token(grant_type="client_credentials", resource="https://api.example/")
        seen = self.introspect(invoices, token["access_token"])
        self.assertEqual((seen["active"], seen["client_id"], seen["scope"]), (True, "machine", "api"))
        self.assertFalse(self.introspect(self.client(), token["access_token"])["active"])
        self.refused("invalid_target", machine.fetch_token, grant_type="client_credentials", resource="https://unknown.example/")
        self.refused("unauthorized_client", self.client().fetch_token, grant_type="client_credentials")
        machine.revoke_token(self.provider.metadata["revocation_endpoint"], token=token["access_token"])
        self.assertFalse(self.introspect(invoices, token["access_token"])["active"])

    def test_device(self):
        tv = self.client("tv", None, "none", scope="openid profile")
        for consent, error in ("allow", None), ("deny", "access_denied"):
            device = tv.post(self.provider.metadata["device_authorization_endpoint"], data={"client_id": "tv", "scope": tv.scope}, withhold_token=True).json()
            Browser(self.provider.issuer).open(device["verification_uri_complete"]).press("code").answer(consent)
            if error:
                self.refused(error, tv.fetch_token, grant_type=DEVICE_CODE, device_code=device["device_code"])
                continue
            self.assertIn("access_token", tv.fetch_token(grant_type=DEVICE_CODE, device_code=device["device_code"]))
            self.refused("invalid_grant", tv.fetch_token, grant_type=DEVICE_CODE, device_code=device["device_code"])

    def test_logout(self):
        client, browser = self.client(), Browser(self.provider.issuer)
        token = self.tokens(client, browser=browser)
        end = self.provider.metadata["end_session_endpoint"] + "?"
        browser.open(end + urlencode({"id_token_hint": token["id_token"], "post_logout_redirect_uri": "https://rp.example/", "state": "bye"}))
        if 'value="logout"' in browser.page.text:
            browser.press("logout")
        self.assertEqual(browser.leaves, "https://rp.example/?state=bye")
        self.refused("invalid_grant", client.refresh_token, refresh_token=token["refresh_token"])
        browser.open(end + urlencode({"id_token_hint": token["id_token"], "post_logout_redirect_uri": "https://evil.example/"}))
        self.assertIsNone(browser.leaves)


class Expiry(Authlib):
    replace = (("code: 60s", "code: 1s"), ("access: 10m", "access: 1s"))

    def test_expired(self):
        client, browser = self.client(), Browser(self.provider.issuer)
        token = dict(self.tokens(client, browser=browser))
        url, verifier = self.authorize(client, browser=browser)
        time.sleep(1.1)  # the provider is another process: no clock to turn
        self.refused("invalid_grant", client.fetch_token, authorization_response=url, code_verifier=verifier)
        self.assertFalse(self.introspect(client, token["access_token"])["active"])
        res = requests.get(self.provider.metadata["userinfo_endpoint"], headers={"Authorization": "Bearer " + token["access_token"]}, timeout=30)
        self.assertEqual(res.status_code, 401)


if __name__ == "__main__":
    unittest.main()

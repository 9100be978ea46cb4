// oauth4webapi v3, used as its examples show.
import * as oauth from 'oauth4webapi'
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { callback, percentSecret, secret, start } from './provider.mjs'

let provider, as
const insecure = { [oauth.allowInsecureRequests]: true } // the provider is on loopback

before(async () => {
  provider = await start()
  const issuer = new URL(provider.issuer)
  as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, insecure))
  const plain = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { ...insecure, algorithm: 'oauth2' }))
  assert.deepEqual(plain, as)
})
after(() => provider?.stop())

const web = { client_id: 'web+app' }
const basic = oauth.ClientSecretBasic(secret)
const post = { client_id: 'post' }
const details = [{ type: 'account_access', actions: ['read_balances', 'list_accounts'] }]

// authorize returns what the callback was sent, and what belongs to it.
async function authorize(client, auth, { redirect = callback, ...extra } = {}, { push = true, browser = provider.browser() } = {}) {
  const verifier = oauth.generateRandomCodeVerifier()
  const state = oauth.generateRandomState()
  const nonce = oauth.generateRandomNonce()
  const parameters = new URLSearchParams({
    client_id: client.client_id, redirect_uri: redirect, response_type: 'code', scope: 'openid profile email offline_access', prompt: 'consent', state, nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', ...extra,
  })
  const to = new URL(as.authorization_endpoint)
  if (push) {
    const res = await oauth.pushedAuthorizationRequest(as, client, auth, parameters, insecure)
    const { request_uri } = await oauth.processPushedAuthorizationResponse(as, client, res)
    to.search = new URLSearchParams({ client_id: client.client_id, request_uri })
  } else {
    to.search = parameters
  }
  const url = await browser.signIn(to)
  return { answer: oauth.validateAuthResponse(as, client, url, state), verifier, nonce, redirect, browser, url, state }
}

async function exchange(client, auth, f, verifier = f.verifier) {
  const res = await oauth.authorizationCodeGrantRequest(as, client, auth, f.answer, f.redirect, verifier, insecure)
  const tokens = await oauth.processAuthorizationCodeResponse(as, client, res, { expectedNonce: f.nonce, requireIdToken: true })
  // The signature of an ID token that came over TLS may be left unchecked.
  await oauth.validateApplicationLevelSignature(as, res, insecure)
  return tokens
}

const renew = async (client, auth, token) =>
  oauth.processRefreshTokenResponse(as, client, await oauth.refreshTokenGrantRequest(as, client, auth, token, insecure))
const userInfo = async (client, token, subject = 'alice') =>
  oauth.processUserInfoResponse(as, client, subject, await oauth.userInfoRequest(as, client, token, insecure))
const introspect = async (client, auth, token) =>
  oauth.processIntrospectionResponse(as, client, await oauth.introspectionRequest(as, client, auth, token, insecure))
const revoke = async (client, auth, token) => oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, token, insecure))
const own = async (client, auth, parameters) =>
  oauth.processClientCredentialsResponse(as, client, await oauth.clientCredentialsGrantRequest(as, client, auth, parameters, insecure))

// refused takes an error body, and the challenge that stands for it in a 401.
const refused = (code, status = 400) => (e) => {
  assert.equal(e.status, status, e)
  if (e instanceof oauth.ResponseBodyError) assert.equal(e.error, code)
  else assert.ok(e instanceof oauth.WWWAuthenticateChallengeError, e)
  return true
}

for (const [name, client, auth, redirect] of [
  ['client_secret_basic', web, () => basic],
  ['client_secret_basic with percent signs', { client_id: 'percent' }, () => oauth.ClientSecretBasic(percentSecret)],
  ['client_secret_post', post, () => oauth.ClientSecretPost(secret)],
  ['private_key_jwt', { client_id: 'assertion' }, () => oauth.PrivateKeyJwt({ key: provider.privateKey, kid: 'k' })],
  ['no secret', { client_id: 'native' }, () => oauth.None(), 'http://127.0.0.1:4321/callback'],
]) {
  test(`a whole sign-in with ${name}`, async () => {
    const extra = client.client_id === 'percent' ? { scope: 'openid profile email' } : {}
    const f = await authorize(client, auth(), { ...(redirect && { redirect }), ...extra })
    const tokens = await exchange(client, auth(), f)
    assert.equal(oauth.getValidatedIdTokenClaims(tokens).sub, 'alice')
    assert.equal((await userInfo(client, tokens.access_token)).email, 'alice@example.com')
    await assert.rejects(userInfo(client, tokens.access_token, 'bob'), { code: oauth.JSON_ATTRIBUTE_COMPARISON })
    if (extra.scope) return
    const renewed = await renew(client, auth(), tokens.refresh_token)
    if (!redirect) assert.equal((await introspect(client, auth(), renewed.access_token)).active, true)
    await revoke(client, auth(), renewed.refresh_token)
    await assert.rejects(userInfo(client, renewed.access_token), refused('invalid_token', 401))
    await assert.rejects(renew(client, auth(), renewed.refresh_token), refused('invalid_grant'))
  })
}

test('authorization_details', async () => {
  const tokens = await exchange(web, basic, await authorize(web, basic, { authorization_details: JSON.stringify(details) }))
  assert.deepEqual(tokens.authorization_details, details)
  assert.deepEqual((await introspect(web, basic, tokens.access_token)).authorization_details, details)
  await assert.rejects(authorize(web, basic, { authorization_details: '{}' }), refused('invalid_authorization_details'))
  await assert.rejects(authorize(post, oauth.ClientSecretPost(secret), { authorization_details: JSON.stringify(details) }), refused('invalid_authorization_details'))
})

test('a request_uri that is used again, or by another client', async () => {
  const verifier = oauth.generateRandomCodeVerifier()
  const parameters = {
    redirect_uri: callback, response_type: 'code', scope: 'openid', code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
  }
  const push = async () => oauth.processPushedAuthorizationResponse(as, web, await oauth.pushedAuthorizationRequest(as, web, basic, parameters, insecure))
  const open = async (client_id, request_uri, browser = provider.browser()) =>
    browser.open(`${as.authorization_endpoint}?${new URLSearchParams({ client_id, request_uri })}`)

  const { request_uri } = await push()
  const foreign = await open('post', request_uri)
  assert.deepEqual([foreign.status, foreign.location], [400, undefined])
  const browser = provider.browser()
  assert.equal((await browser.signIn(`${as.authorization_endpoint}?${new URLSearchParams({ client_id: 'web+app', request_uri })}`)).searchParams.has('code'), true)
  const again = await open('web+app', request_uri, browser)
  assert.equal(again.location?.searchParams.has('code') ?? false, false)
  await assert.rejects(oauth.pushedAuthorizationRequest(as, web, oauth.ClientSecretBasic(secret.slice(1)), parameters, insecure)
    .then((res) => oauth.processPushedAuthorizationResponse(as, web, res)), refused('invalid_client', 401))
})

test('the strict client takes only pushed requests', async () => {
  const client = { client_id: 'assertion' }
  await assert.rejects(authorize(client, undefined, {}, { push: false }), (e) => {
    assert.equal(e.error ?? e.cause?.get?.('error'), 'invalid_request', e)
    return true
  })
})

test('a wrong verifier, a foreign client, a replay', async () => {
  const f = await authorize(web, basic)
  await assert.rejects(exchange(web, basic, f, oauth.generateRandomCodeVerifier()), refused('invalid_grant'))
  const foreign = oauth.validateAuthResponse(as, post, f.url, f.state)
  await assert.rejects(exchange(post, oauth.ClientSecretPost(secret), { ...f, answer: foreign }), refused('invalid_grant'))
  await assert.rejects(exchange(web, oauth.ClientSecretBasic(secret.slice(1)), f), refused('invalid_client', 401))
  const tokens = await exchange(web, basic, f)
  await assert.rejects(exchange(web, basic, f), refused('invalid_grant'))
  await assert.rejects(userInfo(web, tokens.access_token), refused('invalid_token', 401))
})

test('two refreshes at once get the same successor', async () => {
  const tokens = await exchange(web, basic, await authorize(web, basic))
  const [a, b] = await Promise.all([renew(web, basic, tokens.refresh_token), renew(web, basic, tokens.refresh_token)])
  assert.equal(a.refresh_token, b.refresh_token)
  await renew(web, basic, a.refresh_token)
  await assert.rejects(renew(web, basic, tokens.refresh_token), refused('invalid_grant'))
})

test('a JWT access token at the API it is for', async () => {
  const machine = { client_id: 'machine' }
  const { access_token } = await own(machine, basic, { scope: 'api', resource: 'https://jwt.example/' })
  const validate = (audience, token) =>
    oauth.validateJwtAccessToken(as, new Request(audience, { headers: { authorization: `Bearer ${token}` } }), audience, insecure)
  const claims = await validate('https://jwt.example/', access_token)
  assert.deepEqual([claims.sub, claims.client_id, claims.scope], ['machine', 'machine', 'api'])
  await assert.rejects(validate('https://api.example/', access_token), { name: 'OperationProcessingError' })
  const [head, , signature] = access_token.split('.')
  const forged = Buffer.from(JSON.stringify({ ...claims, scope: 'api admin' })).toString('base64url')
  await assert.rejects(validate('https://jwt.example/', [head, forged, signature].join('.')), { name: 'OperationProcessingError' })
})

test('a device', async () => {
  const tv = { client_id: 'tv' }
  const ask = async () => oauth.processDeviceAuthorizationResponse(as, tv,
    await oauth.deviceAuthorizationRequest(as, tv, oauth.None(), { scope: 'openid profile' }, insecure))
  const poll = async (code, client = tv) => oauth.processDeviceCodeResponse(as, client,
    await oauth.deviceCodeGrantRequest(as, client, oauth.None(), code, insecure))

  const { device_code, verification_uri_complete } = await ask()
  await assert.rejects(poll(device_code), refused('authorization_pending'))
  await assert.rejects(poll(device_code), refused('slow_down'))
  await provider.browser().connect(verification_uri_complete)
  assert.equal(oauth.getValidatedIdTokenClaims(await poll(device_code)).sub, 'alice')
  await assert.rejects(poll(device_code), refused('invalid_grant'))
  await assert.rejects(poll((await ask()).device_code, { client_id: 'native' }), (e) => ['unauthorized_client', 'invalid_grant'].includes(e.error))
})

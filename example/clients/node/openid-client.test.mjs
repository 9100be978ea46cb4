// openid-client v6, used as its documentation shows.
import * as client from 'openid-client'
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { callback, percentSecret, secret, start } from './provider.mjs'

let provider, web
const insecure = { execute: [client.allowInsecureRequests] } // the provider is on loopback

const discover = (id, auth, at = provider) => client.discovery(new URL(at.issuer), id, undefined, auth, insecure)

before(async () => {
  provider = await start()
  web = await discover('web+app', client.ClientSecretBasic(secret))
})
after(() => provider?.stop())

// authorize goes to where the callback is called, and returns what the
// application has to remember beside that.
async function authorize(config, parameters = {}, { push = false, browser = provider.browser() } = {}) {
  const checks = { pkceCodeVerifier: client.randomPKCECodeVerifier(), expectedState: client.randomState(), expectedNonce: client.randomNonce() }
  const request = {
    redirect_uri: callback, scope: 'openid profile email', state: checks.expectedState, nonce: checks.expectedNonce,
    code_challenge: await client.calculatePKCECodeChallenge(checks.pkceCodeVerifier), code_challenge_method: 'S256', ...parameters,
  }
  const to = push ? await client.buildAuthorizationUrlWithPAR(config, request) : client.buildAuthorizationUrl(config, request)
  if (push) assert.deepEqual([...to.searchParams.keys()].filter((k) => k !== 'response_type').sort(), ['client_id', 'request_uri'])
  return { url: await browser.signIn(to), checks, browser }
}

const refused = (code, status) => (err) => {
  assert.equal(err.error, code, err)
  if (status) assert.equal(err.status, status)
  return true
}
const details = [{ type: 'account_access', actions: ['list_accounts'] }]
const offline = { scope: 'openid profile email offline_access', prompt: 'consent' }

for (const [id, auth] of [
  ['web+app', () => client.ClientSecretBasic(secret)],
  ['post', () => client.ClientSecretPost(secret)],
  ['assertion', () => client.PrivateKeyJwt({ key: provider.privateKey, kid: 'k' })],
  ['assertion-endpoint', () => client.PrivateKeyJwt({ key: provider.privateKey, kid: 'k' })],
  ['native', () => client.None()],
]) {
  test(`a whole sign-in by ${id}`, async () => {
    const config = await discover(id, auth())
    const { url, checks } = await authorize(config, { ...offline, ...(id === 'native' && { redirect_uri: 'http://127.0.0.1:4321/callback' }) }, { push: true })
    const tokens = await client.authorizationCodeGrant(config, url, { ...checks, idTokenExpected: true })
    assert.equal(tokens.claims().sub, 'alice')
    const info = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)
    assert.deepEqual([info.name, info.email], ['Alice Liddell', 'alice@example.com'])

    const renewed = await client.refreshTokenGrant(config, tokens.refresh_token)
    assert.notEqual(renewed.refresh_token, tokens.refresh_token)
    await client.fetchUserInfo(config, renewed.access_token, 'alice')
    if (id !== 'native') {
      assert.equal((await client.tokenIntrospection(config, renewed.access_token)).active, true)
      assert.equal((await client.tokenIntrospection(config, renewed.refresh_token)).active, true)
      assert.equal((await client.tokenIntrospection(config, `${renewed.access_token}x`)).active, false)
    }
    await client.tokenRevocation(config, renewed.refresh_token)
    await assert.rejects(client.refreshTokenGrant(config, renewed.refresh_token), refused('invalid_grant', 400))
    await assert.rejects(client.fetchUserInfo(config, renewed.access_token, 'alice'), (e) => {
      assert.deepEqual([e.status, e.cause[0].scheme, e.cause[0].parameters.error], [401, 'bearer', 'invalid_token'])
      return true
    })
  })
}

test('an authorization request that is not pushed', async () => {
  const { url, checks } = await authorize(web)
  const tokens = await client.authorizationCodeGrant(web, url, checks)
  assert.equal(tokens.refresh_token, undefined)
  assert.equal(url.searchParams.get('iss'), provider.issuer)
})

test('authorization_details', async () => {
  const { url, checks } = await authorize(web, { authorization_details: JSON.stringify(details) }, { push: true })
  const tokens = await client.authorizationCodeGrant(web, url, checks)
  assert.deepEqual(tokens.authorization_details, details)
  assert.deepEqual((await client.tokenIntrospection(web, tokens.access_token)).authorization_details, details)

  await assert.rejects(authorize(web, { authorization_details: '[{"type":"unknown"}]' }, { push: true }), refused('invalid_authorization_details', 400))
  await assert.rejects(authorize(web, { authorization_details: '[{"type":"account_access"}]' }, { push: true }), refused('invalid_authorization_details', 400))
})

test('a wrong verifier, then a replay, which ends the tokens', async () => {
  const { url, checks } = await authorize(web)
  await assert.rejects(client.authorizationCodeGrant(web, url, { ...checks, pkceCodeVerifier: client.randomPKCECodeVerifier() }), refused('invalid_grant', 400))
  const tokens = await client.authorizationCodeGrant(web, url, checks)
  await assert.rejects(client.authorizationCodeGrant(web, url, checks), refused('invalid_grant', 400))
  await assert.rejects(client.fetchUserInfo(web, tokens.access_token, 'alice'), (e) => e.status === 401)
})

test('a foreign client burns no code and ends no token', async () => {
  const { url, checks } = await authorize(web, offline)
  const foreign = await discover('post', client.ClientSecretPost(secret))
  await assert.rejects(client.authorizationCodeGrant(foreign, url, checks), refused('invalid_grant', 400))
  const tokens = await client.authorizationCodeGrant(web, url, checks)
  await assert.rejects(client.refreshTokenGrant(foreign, tokens.refresh_token), refused('invalid_grant', 400))
  assert.equal((await client.tokenIntrospection(foreign, tokens.access_token)).active, false)
  await client.tokenRevocation(foreign, tokens.refresh_token).catch(refused('invalid_grant'))
  await client.refreshTokenGrant(web, tokens.refresh_token)
})

test('a wrong secret burns no code', async () => {
  const percent = await discover('percent', client.ClientSecretBasic(percentSecret))
  const { url, checks } = await authorize(percent)
  const wrong = await discover('percent', client.ClientSecretBasic(percentSecret.replace('%41', 'A')))
  await assert.rejects(client.authorizationCodeGrant(wrong, url, checks), (e) => {
    // The library shows a challenge before the body.
    assert.deepEqual([e.status, e.cause[0].scheme], [401, 'basic'])
    return true
  })
  await client.authorizationCodeGrant(percent, url, checks)
})

test('a refresh token used twice after its successor', async () => {
  const { url, checks } = await authorize(web, offline)
  const first = await client.authorizationCodeGrant(web, url, checks)
  const second = await client.refreshTokenGrant(web, first.refresh_token)
  const third = await client.refreshTokenGrant(web, second.refresh_token)
  await assert.rejects(client.refreshTokenGrant(web, first.refresh_token), refused('invalid_grant', 400))
  await assert.rejects(client.refreshTokenGrant(web, third.refresh_token), refused('invalid_grant', 400))
})

test('the answer of another issuer, state and nonce are refused by the library', async () => {
  const { url, checks } = await authorize(web)
  for (const [name, value] of [['iss', 'https://other.example'], ['state', 'x']]) {
    const changed = new URL(url)
    changed.searchParams.set(name, value)
    await assert.rejects(client.authorizationCodeGrant(web, changed, checks), { name: 'ClientError' })
  }
  await assert.rejects(client.authorizationCodeGrant(web, url, { ...checks, expectedNonce: 'x' }), { code: 'OAUTH_JWT_CLAIM_COMPARISON_FAILED' })
})

test('denied by the user', async () => {
  const browser = provider.browser()
  const checks = { pkceCodeVerifier: client.randomPKCECodeVerifier(), expectedState: client.randomState() }
  let page = await browser.open(client.buildAuthorizationUrl(web, {
    redirect_uri: callback, scope: 'openid', prompt: 'consent', state: checks.expectedState,
    code_challenge: await client.calculatePKCECodeChallenge(checks.pkceCodeVerifier), code_challenge_method: 'S256',
  }))
  page = await browser.press(page, 'login', { username: 'alice', password: 'wonderland' })
  page = await browser.press(page, 'deny')
  await assert.rejects(client.authorizationCodeGrant(web, page.location, checks), refused('access_denied'))
})

test('private_key_jwt for another audience, expired, and under another key', async () => {
  const bad = async (id, change, key = provider.privateKey) => {
    const config = await discover(id, client.PrivateKeyJwt({ key, kid: 'k' }, { [client.modifyAssertion]: (_, payload) => change(payload) }))
    return client.clientCredentialsGrant(config, { scope: 'api' })
  }
  const endpoint = web.serverMetadata().token_endpoint
  const invalid = refused('invalid_client', 401)
  await bad('assertion', () => {})
  await assert.rejects(bad('assertion', (p) => { p.aud = endpoint }), invalid)
  await bad('assertion-endpoint', (p) => { p.aud = endpoint })
  for (const id of ['assertion', 'assertion-endpoint']) {
    await assert.rejects(bad(id, (p) => { p.aud = 'https://other.example' }), invalid)
    await assert.rejects(bad(id, (p) => { p.iat = p.nbf -= 600; p.exp -= 600 }), invalid)
    await assert.rejects(bad(id, () => {}, (await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign'])).privateKey), invalid)
    const jti = crypto.randomUUID()
    await bad(id, (p) => { p.jti = jti })
    await assert.rejects(bad(id, (p) => { p.jti = jti }), invalid)
  }
})

test('client_credentials and introspection by the resource server', async () => {
  const machine = await discover('machine', client.ClientSecretBasic(secret))
  const invoices = await discover('invoices', client.ClientSecretBasic(secret))
  const tokens = await client.clientCredentialsGrant(machine, { scope: 'api', resource: 'https://api.example/' })
  const seen = await client.tokenIntrospection(invoices, tokens.access_token)
  assert.deepEqual([seen.active, seen.client_id, seen.sub, [seen.aud].flat()], [true, 'machine', 'machine', ['https://api.example/']])
  assert.equal((await client.tokenIntrospection(web, tokens.access_token)).active, false, 'another client')
  await client.tokenRevocation(machine, tokens.access_token)
  assert.equal((await client.tokenIntrospection(invoices, tokens.access_token)).active, false, 'revoked')

  const jwt = await client.clientCredentialsGrant(machine, { scope: 'api', resource: 'https://jwt.example/' })
  assert.equal((await client.tokenIntrospection(invoices, jwt.access_token)).active, false, 'of an API that is not its own')
  await assert.rejects(client.clientCredentialsGrant(machine, { resource: 'https://unknown.example/' }), refused('invalid_target', 400))
  await assert.rejects(client.clientCredentialsGrant(machine, { scope: 'profile' }), refused('invalid_scope', 400))
  await assert.rejects(client.clientCredentialsGrant(web), refused('unauthorized_client', 400))
})

test('a device', async () => {
  const tv = await discover('tv', client.None())
  const answer = await client.initiateDeviceAuthorization(tv, { scope: 'openid profile offline_access' })
  assert.match(answer.user_code, /^[A-Z]{4}-[A-Z]{4}$/)
  const page = await provider.browser().connect(answer.verification_uri_complete)
  assert.equal(page.status, 200)
  const tokens = await client.pollDeviceAuthorizationGrant(tv, { ...answer, interval: 0.1 })
  assert.equal(tokens.claims().sub, 'alice')
  await client.refreshTokenGrant(tv, tokens.refresh_token)
  await assert.rejects(client.pollDeviceAuthorizationGrant(tv, { ...answer, interval: 0.1 }), refused('invalid_grant', 400))
})

test('a device whose user declines', async () => {
  const tv = await discover('tv', client.None())
  const answer = await client.initiateDeviceAuthorization(tv, { scope: 'openid' })
  const browser = provider.browser()
  let page = await browser.press(await browser.open(answer.verification_uri_complete), 'code')
  page = await browser.press(page, 'login', { username: 'alice', password: 'wonderland' })
  await browser.press(page, 'deny')
  await assert.rejects(client.pollDeviceAuthorizationGrant(tv, { ...answer, interval: 0.1 }), refused('access_denied', 400))
})

test('logout at the application’s wish', async () => {
  const { url, checks, browser } = await authorize(web, offline)
  const tokens = await client.authorizationCodeGrant(web, url, checks)
  const to = client.buildEndSessionUrl(web, { post_logout_redirect_uri: 'https://rp.example/', id_token_hint: tokens.id_token, state: 'bye' })
  let page = await browser.open(to)
  if (page.body?.includes('value="logout"')) page = await browser.press(page, 'logout')
  assert.equal(page.location?.href, 'https://rp.example/?state=bye')
  await assert.rejects(client.refreshTokenGrant(web, tokens.refresh_token), refused('invalid_grant', 400))
  page = await browser.open(client.buildAuthorizationUrl(web, {
    redirect_uri: callback, scope: 'openid', prompt: 'none', code_challenge: await client.calculatePKCECodeChallenge('x'.repeat(43)), code_challenge_method: 'S256',
  }))
  assert.equal(page.location.searchParams.get('error'), 'login_required')

  page = await browser.open(client.buildEndSessionUrl(web, { post_logout_redirect_uri: 'https://evil.example/', id_token_hint: tokens.id_token }))
  assert.equal(page.location, undefined, 'sent to an address that is not registered')
})

test('what has expired', async () => {
  const short = await start((text) => text.replace('code: 60s', 'code: 1s').replace('access: 10m', 'access: 1s'))
  try {
    const config = await discover('web+app', client.ClientSecretBasic(secret), short)
    const browser = short.browser()
    const first = await authorize(config, {}, { browser })
    const tokens = await client.authorizationCodeGrant(config, first.url, first.checks)
    const late = await authorize(config, {}, { browser })
    // The end of the access token, issued before the code, is that of neither
    // clock here: wait for the provider's.
    while ((await client.tokenIntrospection(config, tokens.access_token)).active) await new Promise((r) => setTimeout(r, 100))
    await assert.rejects(client.fetchUserInfo(config, tokens.access_token, 'alice'), (e) => e.status === 401)
    await new Promise((r) => setTimeout(r, 1000))
    await assert.rejects(client.authorizationCodeGrant(config, late.url, late.checks), refused('invalid_grant', 400))
  } finally {
    await short.stop()
  }
})

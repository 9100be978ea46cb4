// node-oidc-provider under measurement, with a storage in memory and a sign-in
// page of ours: the adapter that comes with it forgets what is beyond a thousand.
import http from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const world = JSON.parse(process.env.BENCH_WORLD);
const [host, port] = world.listen.split(':');
const { user } = world;

const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
const code = {
  redirect_uris: [world.redirect_uri],
  response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token'],
  scope: 'openid profile email offline_access',
};
const own = { redirect_uris: [], response_types: [], grant_types: ['client_credentials'], scope: 'read' };
const secret = ({ id, secret }) => ({ client_id: id, client_secret: secret, token_endpoint_auth_method: 'client_secret_basic' });

const rows = new Map(); // of all models: name and id -> payload
const uids = new Map(); // of sessions
const byGrant = new Map(); // grant -> keys of what was issued under it

class Memory {
  constructor(name) {
    this.name = name;
  }

  key(id) {
    return `${this.name}:${id}`;
  }

  async upsert(id, payload) {
    const key = this.key(id);
    rows.set(key, payload);
    if (payload.uid) uids.set(payload.uid, key);
    if (payload.grantId) {
      const keys = byGrant.get(payload.grantId);
      if (keys) keys.push(key);
      else byGrant.set(payload.grantId, [key]);
    }
  }

  async find(id) {
    return rows.get(this.key(id));
  }

  async findByUid(uid) {
    return rows.get(uids.get(uid));
  }

  async consume(id) {
    rows.get(this.key(id)).consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    rows.delete(this.key(id));
  }

  async revokeByGrantId(grantId) {
    for (const key of byGrant.get(grantId) ?? []) rows.delete(key);
    byGrant.delete(grantId);
  }
}

const provider = new Provider(world.issuer, {
  adapter: Memory,
  clients: [
    { client_id: world.app.id, token_endpoint_auth_method: 'none', ...code },
    { ...secret(world.web), ...code },
    { ...secret(world.service), ...own },
    { ...secret(world.signed), ...own },
  ],
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  jwks: { keys: [{ ...key, use: 'sig', alg: 'ES256', kid: '1' }] },
  cookies: { keys: ['a key for the cookies of a benchmark'] },
  scopes: ['openid', 'offline_access', 'read'],
  claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'] },
  features: {
    devInteractions: { enabled: false },
    pushedAuthorizationRequests: { enabled: true },
    introspection: { enabled: true },
    clientCredentials: { enabled: true },
    userinfo: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => false,
      getResourceServerInfo: (_ctx, resource) => {
        if (resource !== world.resource) throw new Error('unknown resource');
        return { scope: 'read', accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'ES256' } } };
      },
    },
  },
  pkce: { required: () => true },
  ttl: { AccessToken: 600, ClientCredentials: 600, IdToken: 600, AuthorizationCode: 60, RefreshToken: 1209600, Session: 1209600, Grant: 1209600, Interaction: 1800 },
  rotateRefreshToken: true,
  expiresWithSession: () => false,
  // The scope offline_access would need prompt=consent at every request.
  issueRefreshToken: (_ctx, client, token) => client.grantTypeAllowed('refresh_token') && token.scopes.has('openid'),
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_ctx, sub) => ({
    accountId: sub,
    claims: () => ({ sub, name: user.name, email: user.email, email_verified: true }),
  }),
  // All clients are the provider's own: nobody is asked for consent.
  async loadExistingGrant(ctx) {
    const id = ctx.oidc.session.grantIdFor(ctx.oidc.client.clientId);
    if (id) return ctx.oidc.provider.Grant.find(id);
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope('openid profile email offline_access');
    await grant.save();
    return grant;
  },
});
provider.on('server_error', (_ctx, err) => console.error(err));

async function login(req, res) {
  if (req.method !== 'POST') {
    res.setHeader('Content-Type', 'text/html; charset=utf-8');
    res.end(`<form method="post" action="${req.url}"><input name="username"><input type="password" name="password"></form>`);
    return;
  }
  let body = '';
  for await (const chunk of req) body += chunk;
  const form = new URLSearchParams(body);
  if (form.get('username') !== user.username || form.get('password') !== user.password) {
    res.writeHead(403).end();
    return;
  }
  await provider.interactionFinished(req, res, { login: { accountId: user.sub } });
}

const callback = provider.callback();
http.createServer((req, res) => {
  if (req.url.startsWith('/interaction/')) {
    login(req, res).catch((err) => {
      console.error(err);
      res.writeHead(500).end();
    });
  } else {
    callback(req, res);
  }
}).listen(Number(port), host);
process.on('SIGINT', () => process.exit(0));

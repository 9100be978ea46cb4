// Serves the built application at https://localhost:4207, with Node.js alone.
//
//   node serve.mjs [--port 4207] [--authority http://localhost:3000]
//                  [--client-id client-par-required] [--ignore-nonce-after-refresh]
import { readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:https';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { build } from './build.mjs';
import { certificate } from './certificate.mjs';

const TYPES = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
};

/**
 * Serves dist with config.json made of its own and the given settings; resolves
 * once it listens. Port 0 takes a free one.
 */
export async function serve({ port = 4207, settings = {}, dist = build() } = {}) {
  const files = load(dist);
  const config = { ...JSON.parse(files.get('/config.json').body), ...settings };
  files.set('/config.json', { type: TYPES['.json'], body: Buffer.from(JSON.stringify(config)) });

  const headers = securityHeaders(new URL(config.authority).origin);
  const server = createServer(certificate(), (request, response) => {
    response.setHeaders(headers);
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { Allow: 'GET, HEAD' }).end();
      return;
    }
    const { pathname } = new URL(request.url, 'https://localhost');
    // A path that is no file is a place inside the application.
    const file = files.get(pathname) ?? (path.extname(pathname) ? null : files.get('/index.html'));
    if (!file) {
      response.writeHead(404, { 'Content-Type': TYPES['.txt'] }).end('Not found\n');
      return;
    }
    response.writeHead(200, {
      'Content-Type': file.type,
      'Content-Length': file.body.length,
      'Cache-Control': file.hashed ? 'public, max-age=31536000, immutable' : 'no-cache',
    });
    response.end(request.method === 'HEAD' ? undefined : file.body);
  });

  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, 'localhost', resolve);
  });
  return {
    origin: `https://localhost:${server.address().port}`,
    close: () => new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    }),
  };
}

/** The whole build, in memory: what is not in this map cannot be asked for. */
function load(dist) {
  const files = new Map();
  for (const name of readdirSync(dist)) {
    const type = TYPES[path.extname(name)];
    if (type) {
      files.set(`/${name}`, {
        type,
        body: readFileSync(path.join(dist, name)),
        hashed: /-[A-Z0-9]{8}\.(js|css)$/.test(name),
      });
    }
  }
  return files;
}

function securityHeaders(authority) {
  return new Map(Object.entries({
    'Content-Security-Policy': [
      `default-src 'none'`,
      `script-src 'self'`,
      `style-src 'self'`,
      `img-src 'self'`,
      `connect-src 'self' ${authority}`,
      `base-uri 'self'`,
      `form-action 'none'`,
      `frame-ancestors 'none'`,
      `trusted-types angular`,
      `require-trusted-types-for 'script'`,
    ].join('; '),
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
  }));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      'port': { type: 'string', default: '4207' },
      'authority': { type: 'string' },
      'client-id': { type: 'string' },
      'ignore-nonce-after-refresh': { type: 'boolean' },
    },
  });
  const settings = Object.fromEntries(Object.entries({
    authority: values.authority,
    clientId: values['client-id'],
    ignoreNonceAfterRefresh: values['ignore-nonce-after-refresh'],
  }).filter(([, value]) => value !== undefined));

  const app = await serve({ port: Number(values.port), settings });
  console.log(`Application at ${app.origin}`);
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => app.close().then(() => process.exit(0)));
  }
}

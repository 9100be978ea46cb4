// Makes a self-signed certificate for localhost, once, in the git-ignored folder ../.run.
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '.run');
const WEEK = 7 * 24 * 3600 * 1000;

/** Returns {cert, key} in PEM, valid for at least a week. */
export function certificate() {
  const files = { cert: path.join(folder, 'localhost.crt'), key: path.join(folder, 'localhost.key') };
  if (!existsSync(files.key) || !stillValid(files.cert)) {
    mkdirSync(folder, { recursive: true });
    make(files);
    chmodSync(files.key, 0o600);
  }
  return { cert: readFileSync(files.cert), key: readFileSync(files.key) };
}

function stillValid(file) {
  return existsSync(file) && Date.parse(new X509Certificate(readFileSync(file)).validTo) > Date.now() + WEEK;
}

function make({ cert, key }) {
  const names = 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1';
  const openssl = spawnSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '365',
    '-subj', '/CN=localhost', '-addext', names, '-keyout', key, '-out', cert,
  ]);
  if (openssl.status === 0) {
    return;
  }
  // Without OpenSSL: the program that comes with Go for this very purpose.
  const goroot = spawnSync('go', ['env', 'GOROOT'], { encoding: 'utf8' }).stdout?.trim();
  const go = spawnSync(
    'go',
    ['run', `${goroot}/src/crypto/tls/generate_cert.go`, '--host', 'localhost,127.0.0.1,::1', '--ecdsa-curve', 'P256'],
    { cwd: folder },
  );
  if (go.status !== 0) {
    throw new Error('a certificate for https://localhost needs openssl or go; neither could make one');
  }
  renameSync(path.join(folder, 'cert.pem'), cert);
  renameSync(path.join(folder, 'key.pem'), key);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  certificate();
}

// Builds the application into dist/, unless dist/ is already the build of these very sources.
// With --install also makes sure of node_modules/, for those who run tools from there.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(fileURLToPath(import.meta.url));
const inputs = ['angular.json', 'package.json', 'package-lock.json', 'tsconfig.json', 'public', 'src'];

/** Returns the folder of the finished build. */
export function build() {
  const dist = path.join(root, 'dist');
  const stamp = path.join(dist, 'built-from');
  const sources = digest(inputs);
  if (readIfThere(stamp) === sources) {
    return dist;
  }
  install();
  run('npx', ['--no-install', 'ng', 'build']);
  writeFileSync(stamp, sources);
  return dist;
}

/** npm ci, unless node_modules is already what the lock file says. */
export function install() {
  const stamp = path.join(root, 'node_modules', '.installed-from');
  const lock = digest(['package-lock.json']);
  if (readIfThere(stamp) !== lock) {
    run('npm', ['ci', '--no-audit', '--no-fund']);
    writeFileSync(stamp, lock);
  }
}

function digest(names) {
  const hash = createHash('sha256');
  const add = (name) => {
    const file = path.join(root, name);
    if (statSync(file).isDirectory()) {
      readdirSync(file).sort().forEach((entry) => add(path.join(name, entry)));
    } else {
      const bytes = readFileSync(file);
      hash.update(`${name}\0${bytes.length}\0`).update(bytes);
    }
  };
  names.forEach(add);
  return hash.digest('hex');
}

function run(command, args) {
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    // What the tools say goes to standard error: standard output belongs to the caller.
    stdio: ['ignore', 2, 2],
    env: { ...process.env, NG_CLI_ANALYTICS: 'false' },
    shell: process.platform === 'win32',
  });
  if (error || status !== 0) {
    throw new Error(`${command} ${args.join(' ')} failed: ${error?.message ?? `exit status ${status}`}`);
  }
}

function readIfThere(file) {
  return existsSync(file) ? readFileSync(file, 'utf8') : null;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--install')) {
    install();
  }
  console.log(build());
}

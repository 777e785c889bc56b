// The server under test, with the providers that it is given.
import { spawn } from 'node:child_process';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { ask } from './http.mjs';
import { freePort } from './ports.mjs';
import { temporaryFolder } from './temporary.mjs';

const READY_MS_MAX = 30_000;
const STOP_MS_MAX = 10_000;
const COMMAND_MS_MAX = 30_000;
const POLL_MS = 50;

/** An address for a server that is to be registered at providers before it runs: `{ port, url, back(name), logout(name) }`. */
export async function chooseAddress({ tls = false } = {}) {
  const port = await freePort();
  const url = `${tls ? 'https' : 'http'}://localhost:${port}`;
  return {
    port,
    url,
    back: (provider) => `${url}/auth/callback/${provider}`,
    logout: (provider) => `${url}/auth/backchannel-logout/${provider}`,
  };
}

function environment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('LLMOS_')));
}

/**
 * Starts the program that LLMOS_TEST_BINARY names. `providers` are `{ name, issuer, client, secret, more }`, `mapping` and `more` are
 * TOML. Returns `{ url, key, setupToken, folder, log(), run(...args), start(...args), ask(path, options), stop() }`.
 */
export async function startLlmos({ address, certificates, providers = [], mapping = '', more = '' }) {
  const binary = path.resolve(process.env.LLMOS_TEST_BINARY ?? '');
  const { folder, remove } = await temporaryFolder('server');
  const sections = [];
  for (const { name, issuer, client, secret, more: own = '' } of providers) {
    const file = path.join(folder, `${name}.secret`);
    await writeFile(file, `${secret}\n`);
    await chmod(file, 0o600);
    sections.push(`[[provider]]\nname = '${name}'\nissuer = '${issuer}'\nclient_id = '${client}'\n`
      + `client_secret_file = '${file}'\n${own}\n`);
  }
  const file = path.join(folder, 'llmos.toml');
  const secure = address.url.startsWith('https:');
  const ca = secure ? await readFile(certificates.ca, 'utf8') : undefined;
  const tls = secure ? `[tls]\ncertificate = '${certificates.certificate}'\nkey = '${certificates.key}'\n` : '';
  await writeFile(file, `listen = '127.0.0.1:${address.port}'\ndata_dir = 'data'\npublic_url = '${address.url}'\n${tls}`
    + `[outbound]\nprivate = ['127.0.0.1', '::1']\nca_file = '${certificates.ca}'\n`
    + `[[model]]\nname = 'mock'\nsource = 'simulator:'\ncontext = 8192\n${sections.join('')}${mapping}\n${more}\n`);
  const child = spawn(binary, ['serve', '--json', '--config', file], { env: environment(), cwd: folder });
  let stdout = '';
  let log = '';
  child.stdout.on('data', (part) => { stdout += part; });
  child.stderr.on('data', (part) => { log += part; });
  const ended = new Promise((resolve) => { child.once('exit', resolve); });
  const stop = async () => {
    child.kill('SIGTERM');
    const killed = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
    await ended;
    clearTimeout(killed);
    remove();
  };
  const end = Date.now() + READY_MS_MAX;
  const isReady = async () => (await ask(`${address.url}/readyz`, { ca }).catch(() => ({}))).status === 200;
  while (!stdout.endsWith('\n') || !(await isReady())) {
    if (child.exitCode !== null || Date.now() > end) {
      await stop();
      throw new Error(`the server did not start:\n${log}`);
    }
    await new Promise((resolve) => { setTimeout(resolve, POLL_MS); });
  }
  const { key, setup_token: setupToken } = JSON.parse(stdout);
  const start = (...args) => spawn(binary, args, { env: { ...environment(), HOME: folder }, cwd: folder });
  return {
    url: address.url,
    key,
    setupToken,
    folder,
    log: () => log,
    start,
    /** Runs a command to its end: `{ code, stdout, stderr }`. */
    async run(...args) {
      const command = start(...args);
      const late = setTimeout(() => command.kill('SIGKILL'), COMMAND_MS_MAX);
      const text = async (stream) => { let all = ''; for await (const part of stream) all += part; return all; };
      const [out, err, code] = await Promise.all([text(command.stdout), text(command.stderr),
        new Promise((resolve) => { command.once('exit', resolve); })]);
      clearTimeout(late);
      return { code, stdout: out, stderr: err };
    },
    /** Asks the server, with a bearer if one is given. */
    ask: (place, { bearer, ...options } = {}) => ask(`${address.url}${place}`, {
      ca,
      ...options,
      headers: { ...(bearer ? { authorization: `Bearer ${bearer}` } : {}), ...options.headers },
    }),
    read: (name) => readFile(path.join(folder, name), 'utf8'),
    stop,
  };
}

// Debian's glewlwyd as a second OpenID provider: written by other people, in another language, with other habits.
import { execFile, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { cp, mkdir, open, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

import { ask } from './http.mjs';
import { freePort } from './ports.mjs';
import { temporaryFolder } from './temporary.mjs';

const PROGRAM = '/usr/bin/glewlwyd';
const SHARE = '/usr/share/glewlwyd';
const MODULES = '/usr/lib/glewlwyd';
const SCHEMA = '/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3';
/** The plugin instance; its name is a part of the issuer. */
const PLUGIN = 'oidc';
/** Of the database as the package makes it. */
const ADMINISTRATOR = { username: 'admin', password: 'password' };

const SQLITE_MS_MAX = 10_000;
const START_MS_MAX = 10_000;
const STOP_MS_MAX = 5_000;
const POLL_MS = 50;
const START_TRIES_MAX = 3;
const LOG_BYTES_MAX = 16 * 1024;

const MIME_TYPES = [
  ['.html', 'text/html'], ['.css', 'text/css'], ['.js', 'application/javascript'], ['.json', 'application/json'],
  ['.png', 'image/png'], ['.ico', 'image/x-icon'], ['.woff', 'font/woff'], ['.woff2', 'font/woff2'],
  ['.ttf', 'font/ttf'],
];

/**
 * Starts glewlwyd over https with `certificates` (of `makeCertificates`).
 *
 * - `accounts`: `[{ name, password, groups, email }]`; glewlwyd wants 8 characters of password
 * - `clients`: `[{ id, secret, redirectUris, postLogoutUris, backchannelLogoutUri }]`
 *   (the last at http://localhost only: glewlwyd trusts the CAs of the system and no other)
 * - `algorithm`: `'ES256'` (as it is when left out) or `'RS256'`
 * - `scopes`: more scopes than openid that accounts may grant
 * - `issuerInAnswer`: false leaves `iss` (RFC 9207) out of the authorization response
 *
 * Returns `{ issuer, stop() }`.
 */
export async function startGlewlwyd(options) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await startOnce(options);
    } catch (error) {
      // Glewlwyd cannot choose its port, so another program may have been faster.
      if (tries === START_TRIES_MAX || !error.exited) throw error;
    }
  }
}

async function startOnce(options) {
  const { certificates, accounts, clients, scopes = ['profile', 'email'] } = options;
  const { algorithm = 'ES256', issuerInAnswer = true } = options;
  const { folder, remove } = await temporaryFolder('glewlwyd');
  const port = await freePort();
  const url = `https://localhost:${port}`;
  const issuer = `${url}/api/${PLUGIN}`;
  let server;
  const stop = async () => {
    await server?.stop();
    remove();
  };
  try {
    await makeWebapp(path.join(folder, 'webapp'));
    // The package has no middleware and no folder for it, and glewlwyd wants one.
    await mkdir(path.join(folder, 'middleware'));
    await promisify(execFile)('sqlite3', [path.join(folder, 'glewlwyd.db'), `.read ${SCHEMA}`],
      { timeout: SQLITE_MS_MAX });
    await writeFile(path.join(folder, 'glewlwyd.conf'), configuration({ folder, port, url, certificates }));

    const ca = await readFile(certificates.ca, 'utf8');
    server = await run(folder);
    await server.answers(`${url}/config`, ca);

    const api = await administrator(url, ca);
    await addProperty(api, 'user', 'groups');
    // The plugin reads this name, the package's database has it without the s.
    await addProperty(api, 'client', 'post_logout_redirect_uris');
    for (const name of scopes) {
      await api('POST', 'scope/', { name, display_name: name, description: name, password_required: true,
        password_max_age: 0, scheme: {} });
    }
    const allScopes = ['openid', ...scopes];
    for (const account of accounts) {
      await api('POST', 'user/', { username: account.name, name: account.name, password: account.password,
        email: account.email, groups: account.groups ?? [], scope: allScopes, enabled: true });
    }
    for (const client of clients) await api('POST', 'client/', clientOf(client));
    await api('POST', 'mod/plugin/', pluginOf({ issuer, algorithm, allScopes, issuerInAnswer }));
  } catch (error) {
    if (server) error.message += `\nglewlwyd said:\n${await server.log()}`;
    await stop();
    throw error;
  }
  return { issuer, stop };
}

/** Runs the program; its output goes to a file, which is read when something failed. */
async function run(folder) {
  const logFile = path.join(folder, 'log');
  const output = await open(logFile, 'w');
  const child = spawn(PROGRAM, ['--config-file', path.join(folder, 'glewlwyd.conf')],
    { cwd: folder, stdio: ['ignore', output.fd, output.fd] });
  const ended = new Promise((resolve) => {
    child.once('exit', resolve);
    child.once('error', resolve);
  });
  const running = () => child.pid !== undefined && child.exitCode === null && child.signalCode === null;
  // Should the test process end without `stop()`, its child ends too.
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  await output.close();

  return {
    log: async () => (await readFile(logFile, 'utf8')).slice(-LOG_BYTES_MAX),
    async answers(url, ca) {
      const until = Date.now() + START_MS_MAX;
      for (;;) {
        if (!running()) throw Object.assign(new Error('glewlwyd ended while it started'), { exited: true });
        const answer = await ask(url, { ca }).catch(() => undefined);
        if (answer?.status === 200) return;
        if (Date.now() > until) throw new Error(`glewlwyd did not answer within ${START_MS_MAX} ms`);
        await sleep(POLL_MS);
      }
    },
    async stop() {
      process.removeListener('exit', kill);
      if (!running()) return;
      child.kill('SIGTERM');
      const timer = setTimeout(kill, STOP_MS_MAX);
      await ended;
      clearTimeout(timer);
    },
  };
}

/**
 * The pages of the package: copies, since the server follows no links, and with the file config.json where the package
 * has a folder of this name.
 */
async function makeWebapp(folder) {
  const source = path.join(SHARE, 'webapp');
  const filter = (from) => path.basename(from) !== 'config.json';
  await cp(source, folder, { recursive: true, dereference: true, filter });
  await cp(path.join(SHARE, 'templates', 'config.json'), path.join(folder, 'config.json'));
}

function configuration({ folder, port, url, certificates }) {
  const types = MIME_TYPES.map(([extension, type]) =>
    `  { extension = "${extension}" mime_type = "${type}" compress = 0 }`);
  return `port = ${port}
bind_address = "127.0.0.1"
external_url = "${url}"
login_url = "login.html"
api_prefix = "api"
static_files_path = "${folder}/webapp/"
cookie_domain = "localhost"
cookie_secure = 1
cookie_same_site = "lax"
log_mode = "console"
log_level = "WARNING"
admin_scope = "g_admin"
profile_scope = "g_profile"
user_module_path = "${MODULES}/user"
user_middleware_module_path = "${folder}/middleware"
client_module_path = "${MODULES}/client"
user_auth_scheme_module_path = "${MODULES}/scheme"
plugin_module_path = "${MODULES}/plugin"
use_secure_connection = true
secure_connection_key_file = "${certificates.key}"
secure_connection_pem_file = "${certificates.certificate}"
secure_connection_ca_file = "${certificates.ca}"
hash_algorithm = "SHA512"
database = { type = "sqlite3" path = "${folder}/glewlwyd.db" };
static_files_mime_types =
(
${types.join(',\n')}
)
`;
}

/** Logs in as the administrator and returns a function that calls the administration API. */
async function administrator(url, ca) {
  const call = async (cookie, method, what, body) => {
    const headers = { 'content-type': 'application/json', ...(cookie ? { cookie } : {}) };
    const answer = await ask(`${url}/api/${what}`,
      { method, headers, body: body === undefined ? undefined : JSON.stringify(body), ca });
    if (answer.status !== 200) throw new Error(`glewlwyd: ${method} ${what}: ${answer.status} ${answer.text}`);
    return answer;
  };
  const { headers } = await call(undefined, 'POST', 'auth/', ADMINISTRATOR);
  const cookie = headers['set-cookie'][0].split(';')[0];
  return (...request) => call(cookie, ...request);
}

/** Adds a property with many values to all users or clients; the database of the package knows a few only. */
async function addProperty(api, kind, name) {
  const module = (await api('GET', `mod/${kind}/database`)).json();
  module.parameters['data-format'][name] = { multiple: true, read: true, write: true };
  await api('PUT', `mod/${kind}/database`, module);
  await api('PUT', `mod/${kind}/database/reset`);
}

function clientOf({ id, secret, redirectUris, postLogoutUris = [], backchannelLogoutUri }) {
  return {
    client_id: id,
    name: id,
    confidential: true,
    client_secret: secret,
    token_endpoint_auth_method: ['client_secret_basic', 'client_secret_post'],
    redirect_uri: redirectUris,
    authorization_type: ['code', 'refresh_token'],
    post_logout_redirect_uris: postLogoutUris,
    ...(backchannelLogoutUri
      ? { backchannel_logout_uri: backchannelLogoutUri, backchannel_logout_session_required: '1' } : {}),
    scope: [],
    enabled: true,
  };
}

function pluginOf({ issuer, algorithm, allScopes, issuerInAnswer }) {
  const rsa = algorithm === 'RS256';
  const { privateKey, publicKey } = rsa
    ? generateKeyPairSync('rsa', { modulusLength: 2048 }) : generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return {
    module: 'oidc',
    name: PLUGIN,
    display_name: 'OpenID Connect',
    parameters: {
      iss: issuer,
      'oauth-as-iss-id': issuerInAnswer,
      'jwt-type': rsa ? 'rsa' : 'ecdsa',
      'jwt-key-size': '256',
      key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
      cert: publicKey.export({ type: 'spki', format: 'pem' }),
      'jwks-show': true,
      'allowed-scope': allScopes,
      'subject-type': 'public',
      'auth-type-code-enabled': true,
      'auth-type-code-revoke-replayed': true,
      'auth-type-refresh-enabled': true,
      'pkce-allowed': true,
      'pkce-required': true,
      'pkce-method-plain-allowed': false,
      'session-management-allowed': true,
      'session-cookie-name': 'GLEWLWYD2_OIDC_SID',
      'session-cookie-expiration': 86400,
      'back-channel-logout-allowed': true,
      // Without it glewlwyd's page of logout does not get its list of clients and breaks.
      'front-channel-logout-allowed': true,
      'access-token-duration': 3600,
      'refresh-token-duration': 86400,
      'code-duration': 600,
      'name-claim': 'mandatory',
      'email-claim': 'mandatory',
      claims: [{ name: 'groups', 'user-property': 'groups', type: 'string', mandatory: true, 'on-demand': false,
        scope: [] }],
    },
  };
}

// A device is let in by its code, and the commands act as whoever let them in: on a server that speaks TLS, with local accounts.
import assert from 'node:assert/strict';
import { chmod, readdir, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { addAuthenticator, launchBrowser } from './browser.mjs';
import { makeCertificates } from './certificates.mjs';
import { chooseAddress, startLlmos } from './llmos.mjs';

const limit = { timeout: 60_000 };
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
const started = [];
let browser;
let llmos;
let page;

before(async () => {
  const keep = async (starting, stop) => {
    const thing = await starting;
    started.unshift(() => stop(thing));
    return thing;
  };
  const certificates = await keep(makeCertificates(), (it) => it.remove());
  const address = await chooseAddress({ tls: true });
  browser = await keep(launchBrowser({ certificates }), (it) => it.close());
  llmos = await keep(startLlmos({ address, certificates }), (it) => it.stop());
  page = await browser.newPage();
  await addAuthenticator(page);
}, limit);

after(async () => {
  for (const stop of started) await stop();
}, limit);

const heading = () => page.innerText('h1');
const form = (place, fields) => llmos.ask(place, { body: new URLSearchParams(fields) });
const poll = async (code) => (await form('/auth/token', { grant_type: DEVICE, device_code: code })).json();
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

test('the owner sets up their account, and comes back with the passkey alone', limit, async () => {
  await page.goto(`${llmos.url}/auth`);
  await page.fill('[name=token]', llmos.setupToken);
  await page.click('text=Set up this account');
  assert.equal(await heading(), 'Add a second factor');
  await page.click('text=Add a passkey');
  await page.click('text=I have them');
  assert.equal(await heading(), 'You are signed in');

  await page.click('text=Sign out >> nth=-1');
  await page.goto(`${llmos.url}/auth`);
  await page.click('text=Use a passkey');
  await page.waitForSelector('text=You are signed in');
});

test('a23: a code is hard to guess, good once, and shows who asks', limit, async () => {
  const codes = (await form('/auth/device', { client_id: '<b>printer</b>' })).json();
  assert.match(codes.user_code, /^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/);
  assert.deepEqual([codes.interval, codes.verification_uri], [5, `${llmos.url}/auth/verify`]);
  assert.equal((await poll(codes.device_code)).error, 'authorization_pending');
  assert.equal((await poll(codes.device_code)).error, 'slow_down');
  assert.equal((await poll('llmos-device_0123456789ab_x')).error, 'invalid_grant');

  await page.goto(codes.verification_uri_complete);
  assert.equal(await heading(), 'Let this device in?');
  assert.equal(await page.innerText('#client'), '<b>printer</b>', 'its own words are shown as such');
  assert.equal(await page.innerText('#place'), '127.0.0.1');
  await page.click('text=Let it in');
  assert.equal(await heading(), 'It is let in');
  assert.equal((await poll(codes.device_code)).error, 'slow_down', 'it asks too soon still');
  await pause(15_500);
  const session = await poll(codes.device_code);
  assert.equal((await llmos.ask('/v1/models', { bearer: session.access_token })).status, 200);
  assert.equal((await poll(codes.device_code)).error, 'invalid_grant', 'the code was used');

  assert.equal((await form('/auth/token', { grant_type: 'password', username: 'x', password: 'x' })).json().error,
    'unsupported_grant_type');
  // The session of a device lets no other device in: one that was stolen cannot make itself last.
  const second = (await form('/auth/device', { client_id: 'second' })).json();
  const stolen = await llmos.ask('/auth/verify', {
    body: new URLSearchParams({ user_code: second.user_code, decision: 'allow' }),
    headers: { origin: llmos.url, cookie: `__Host-llmos=${session.access_token}` },
  });
  assert.equal(stolen.status, 401);
  assert.equal((await poll(second.device_code)).error, 'authorization_pending');
  const denied = (await form('/auth/device', { client_id: 'stranger' })).json();
  await page.goto(denied.verification_uri_complete);
  await page.click('text=Send it away');
  assert.equal((await poll(denied.device_code)).error, 'access_denied');
});

test('a91: llmos login, and commands that act as somebody', limit, async () => {
  const at = ['--server', llmos.url, '--config', 'llmos.toml'];
  const nobody = await llmos.run('whoami', ...at);
  assert.deepEqual([nobody.code, /llmos login/.test(nobody.stderr)], [4, true], nobody.stderr);

  const login = llmos.start('login', '--json', ...at);
  let out = '';
  login.stdout.on('data', (part) => { out += part; });
  const ended = new Promise((resolve) => { login.once('exit', resolve); });
  while (!out.includes('\n')) await pause(50);
  // Whoever is not signed in comes back to the question when they are.
  const place = JSON.parse(out.split('\n')[0] || out).verification_uri;
  await page.goto(`${llmos.url}/auth`);
  await page.click('text=Sign out >> nth=-1');
  await page.goto(place);
  assert.equal(await heading(), 'Sign in');
  await page.click('text=Use a passkey');
  await page.waitForSelector('text=Let this device in?');
  assert.match(await page.innerText('#client'), /^llmos on /);
  await page.click('text=Let it in');
  assert.equal(await ended, 0);

  const who = JSON.parse((await llmos.run('whoami', '--json', ...at)).stdout);
  assert.deepEqual([who.tenant, who.user, who.role, who.kind], ['default', 'owner', 'owner', 'cli']);
  const keys = await llmos.run('keys', 'list', '--json', ...at);
  assert.equal(JSON.parse(keys.stdout).keys.length, 1, keys.stderr);
  const said = await llmos.run('chat', '--json', 'how are you?', ...at);
  const { model, content, usage } = JSON.parse(said.stdout);
  assert.ok(model === 'mock' && content.length > 0 && usage.completion_tokens > 0, said.stdout + said.stderr);
  const top = JSON.parse((await llmos.run('top', '--json', '--delay', '0.2', ...at)).stdout);
  assert.deepEqual([top.machine.memory, top.replicas[0].model], [null, 'mock'], 'of this machine it says nothing');

  // One sees where one is signed in, and ends what one does not know: no session of somebody else's, and not by what another site asks.
  const sessions = async () => JSON.parse((await llmos.run('sessions', 'list', '--json', ...at)).stdout).sessions;
  const end = async (id) => (await llmos.run('sessions', 'end', id, ...at)).code;
  const [own, ...others] = await sessions();
  assert.deepEqual([own.is_this, own.kind, own.complete, own.provider], [true, 'cli', true, null]);
  const [printer] = others.filter(({ kind }) => kind === 'cli');
  assert.ok(others.some(({ kind }) => kind === 'browser') && others.every(({ is_this: isThis }) => !isThis));
  assert.deepEqual([await end(printer.id), await end(printer.id), await end('nonsense')], [0, 5, 5]);
  assert.ok((await sessions()).every(({ id }) => id !== printer.id));
  assert.equal((await llmos.ask('/auth/sessions', { bearer: llmos.key })).status, 401, 'a key has none');
  const { value } = (await page.context().cookies()).find(({ name }) => name === '__Host-llmos');
  const cookie = `__Host-llmos=${value}`;
  for (const [headers, status] of [[{ cookie }, 401], [{ cookie, origin: 'https://evil.test' }, 403]]) {
    assert.equal((await llmos.ask(`/auth/sessions/${own.id}`, { method: 'DELETE', headers })).status, status);
  }

  // The sign-in is for its owner's eyes, and no argument.
  const folder = path.join(llmos.folder, '.config/llmos/sessions');
  const [name] = await readdir(folder);
  const file = path.join(folder, name);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  await chmod(file, 0o644);
  assert.equal((await llmos.run('whoami', ...at)).code, 4);
  await chmod(file, 0o600);
  const kept = JSON.parse(await llmos.read(path.relative(llmos.folder, file)));
  await writeFile(file, JSON.stringify({ ...kept, server: 'https://evil.test/' }));
  assert.equal((await llmos.run('whoami', ...at)).code, 4, 'it is of another server');
  await writeFile(file, JSON.stringify(kept));

  await page.goto(`${llmos.url}/auth`);
  await page.click(`form[action="/auth/sessions/${own.id}/end"] button`);
  assert.equal(await heading(), 'You are signed in');
  assert.deepEqual([(await llmos.run('whoami', ...at)).code, await page.locator(`form[action*="${own.id}"]`).count()], [4, 0]);
  assert.equal((await llmos.run('logout', ...at)).code, 0);
  assert.equal((await llmos.ask('/v1/models', { bearer: kept.session })).status, 401);
  assert.deepEqual(await readdir(folder), []);
});

test('a23: codes cannot be guessed', limit, async () => {
  await page.goto(`${llmos.url}/auth`);
  const { user_code: right } = (await form('/auth/device', { client_id: 'printer' })).json();
  const words = async (code) => {
    await page.goto(`${llmos.url}/auth/verify?user_code=${code}`);
    return page.innerText('main');
  };
  for (let tries = 0; tries < 5; tries += 1) assert.match(await words('BBBB-BBBB'), /no device with this code/);
  assert.match(await words(right), /[Tt]oo many wrong codes/);
});

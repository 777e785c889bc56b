// A certified OpenID provider (oidc-provider) with our own pages, for tests to log in at and to attack with.
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:https';

import { ask } from './http.mjs';
import { errorPage, interact, signedOutPage, signOutPage } from './interaction.mjs';
import { makeKey, publicHalf, readToken, signToken } from './jwt.mjs';
import { Provider } from './modules.mjs';
import { makeStore } from './store.mjs';

/** What a login claims as `acr`; the first unless the relying party asks for the other. */
export const ACR_VALUES = ['urn:llmos:test:password', 'urn:llmos:test:two-factors'];

const TOKEN_SECONDS = 600;
const SESSION_SECONDS = 3600;
const REQUESTS_MAX = 10_000;

/**
 * Starts a provider at https://localhost:PORT with `certificates` (of `makeCertificates`).
 *
 * - `accounts`: `[{ name, password, groups, email, sub, acr }]`; `sub` is the name unless given, `acr` what every
 *   login of the account claims
 * - `clients`: `[{ id, secret, redirectUris, postLogoutUris, backchannelLogoutUri, algorithm, metadata }]`; without
 *   `secret` a public client, without `redirectUris` a service account (client_credentials only); `algorithm` of
 *   the ID token is `'RS256'` unless given; `metadata` is laid over what oidc-provider is told
 * - `scopes`: what a resource (RFC 8707) may grant
 * - `claimsInIdToken`: true unless given; false leaves groups and email to the userinfo endpoint
 */
export async function startProvider(options) {
  const { certificates, accounts, clients, scopes = ['read', 'write'], claimsInIdToken = true } = options;
  const [ca, cert, key] = await Promise.all(
    [certificates.ca, certificates.certificate, certificates.key].map((file) => readFile(file, 'utf8')));

  let handle;
  const server = createServer({ cert, key }, (request, response) => handle(request, response));
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });

  const issuer = `https://localhost:${server.address().port}`;
  const store = makeStore();
  const byName = new Map(accounts.map((account) => [account.name, { sub: account.name, ...account }]));
  const bySub = (sub) => [...byName.values()].find((account) => account.sub === sub);
  const requests = [];
  const logouts = [];
  const changes = new Map();
  const cookieKeys = [randomBytes(32).toString('hex')];
  let keys = [makeKey('RS256'), makeKey('ES256')];
  let provider;

  /** oidc-provider reads its keys when it is made, so new keys are a new provider over the same store. */
  function make() {
    provider = new Provider(issuer, settings({ ca, bySub, clients, cookieKeys, keys, scopes, store,
      claimsInIdToken }));
    const current = provider;
    provider.use(async (ctx, next) => {
      if (requests.length < REQUESTS_MAX) requests.push({ method: ctx.method, path: ctx.path });
      if (ctx.path.startsWith('/interaction/')) await interact(current, ctx, byName, ACR_VALUES);
      else await next();
      await changes.get(ctx.path)?.(ctx);
    });
    provider.on('backchannel.success', (ctx, client, sub, sid) => logouts.push({ client: client.clientId, sub, sid }));
    provider.on('backchannel.error', (ctx, error, client, sub, sid) =>
      logouts.push({ client: client.clientId, sub, sid, error }));
    provider.on('server_error', (ctx, error) => console.error('provider:', error));
    handle = provider.callback();
  }
  make();

  return {
    issuer,
    /** `{ method, path }` of all that was asked, oldest first. */
    requests,
    /** `{ client, sub, sid, error }` of every logout token that was sent. */
    logouts,
    /** The accounts by name; what is changed here holds from the next login or token on. */
    accounts: byName,

    async stop() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },

    /**
     * Ends all sessions of the account (a name) and tells their clients by back-channel logout.
     * Returns `[{ client, sub, sid, error }]`; `error` where the client did not answer as it must.
     */
    async logoutEverywhere(account) {
      const { sub } = accountOf(byName, account);
      const before = logouts.length;
      for (const id of store.sessionsOf(sub)) {
        const session = await provider.Session.find(id);
        for (const clientId of Object.keys(session.authorizations ?? {})) {
          const client = await provider.Client.find(clientId);
          if (!client?.backchannelLogoutUri) continue;
          const sid = session.sidFor(clientId);
          const told = { client: clientId, sub, sid };
          logouts.push(await client.backchannelLogout(sub, sid).then(() => told, (error) => ({ ...told, error })));
        }
        await session.destroy();
      }
      return logouts.slice(before);
    },

    /**
     * An access token of RFC 9068 for `audience`, of an account (a name, at `client`, the first one unless given) or,
     * without an account, of the service account `client`. `groups` are in it where `scope` has `groups`.
     */
    async accessToken({ account, client = clients[0].id, audience, scope = '', algorithm = 'RS256',
      seconds = TOKEN_SECONDS }) {
      const found = await provider.Client.find(client);
      if (!found) throw new Error(`there is no client ${client}`);
      const given = {
        client: found,
        scope: scope || undefined,
        expiresIn: seconds,
        resourceServer: new provider.ResourceServer(audience, resource(audience, scope, algorithm)),
      };
      const token = account
        ? new provider.AccessToken({ ...given, accountId: accountOf(byName, account).sub, gty: 'authorization_code' })
        : new provider.ClientCredentials(given);
      return token.save();
    },

    /** Signs with new keys from now on. The old ones stay in the JWKS if `keepOld`. */
    rotateKeys({ keepOld = false } = {}) {
      keys = [makeKey('RS256'), makeKey('ES256'), ...(keepOld ? keys : [])];
      make();
    },

    /** The public keys as they are now: `{ keys }`. */
    jwks: () => ({ keys: keys.map(publicHalf) }),

    /**
     * A JWT of exactly `claims`, signed with the provider's key of `key` (`'RS256'` or `'ES256'`), with no key
     * (`'none'`), or with what `signToken` of jwt.mjs takes. `header` is laid over the honest one, `typ` too.
     */
    mint(claims, header = {}, key = 'RS256') {
      return signToken(claims, header, keys.find(({ alg }) => alg === key) ?? key);
    },

    /**
     * Calls `change(ctx)` after every answer of `path` (`'/token'`, `'/jwks'`, `'/.well-known/openid-configuration'`);
     * it may change `ctx.body`, `ctx.status` or wait. Without a function the provider is honest again.
     */
    change(path, change) {
      if (change) changes.set(path, change);
      else changes.delete(path);
    },

    /** Replaces each ID token by `forge({ header, claims })`, which returns a token; honest again without one. */
    changeIdToken(forge) {
      this.change('/token', forge && ((ctx) => {
        if (ctx.body?.id_token) ctx.body = { ...ctx.body, id_token: forge(readToken(ctx.body.id_token)) };
      }));
    },
  };
}

function accountOf(byName, name) {
  const account = byName.get(name);
  if (!account) throw new Error(`there is no account ${name}`);
  return account;
}

/** What oidc-provider wants to know of a resource; its access tokens are JWTs. */
function resource(audience, scope, algorithm = 'RS256') {
  const jwt = { sign: { alg: algorithm } };
  return { audience, scope, accessTokenFormat: 'jwt', accessTokenTTL: TOKEN_SECONDS, jwt };
}

function clientOf({ id, secret, redirectUris = [], postLogoutUris = [], backchannelLogoutUri, algorithm = 'RS256',
  metadata = {} }) {
  const people = redirectUris.length > 0;
  return {
    client_id: id,
    ...(secret ? { client_secret: secret } : { token_endpoint_auth_method: 'none' }),
    redirect_uris: redirectUris,
    response_types: people ? ['code'] : [],
    grant_types: [
      ...(people ? ['authorization_code', 'refresh_token'] : []), ...(secret ? ['client_credentials'] : []),
    ],
    post_logout_redirect_uris: postLogoutUris,
    ...(backchannelLogoutUri
      ? { backchannel_logout_uri: backchannelLogoutUri, backchannel_logout_session_required: true } : {}),
    id_token_signed_response_alg: algorithm,
    ...metadata,
  };
}

function settings({ ca, bySub, clients, cookieKeys, keys, scopes, store, claimsInIdToken }) {
  const html = (ctx, body) => {
    ctx.type = 'html';
    ctx.body = body;
  };
  return {
    adapter: store.adapter,
    clients: clients.map(clientOf),
    jwks: { keys },
    cookies: { keys: cookieKeys },
    scopes: ['openid', 'offline_access', 'profile', 'email', 'groups', ...scopes],
    claims: {
      openid: ['sub', 'acr', 'amr', 'auth_time'],
      profile: ['name', 'preferred_username'],
      email: ['email', 'email_verified'],
      groups: ['groups'],
    },
    acrValues: ACR_VALUES,
    responseTypes: ['code'],
    conformIdTokenClaims: !claimsInIdToken,
    pkce: { required: () => true },
    clientBasedCORS: () => false,
    ttl: {
      AccessToken: TOKEN_SECONDS, AuthorizationCode: 60, ClientCredentials: TOKEN_SECONDS, IdToken: TOKEN_SECONDS,
      Interaction: SESSION_SECONDS, Session: SESSION_SECONDS, Grant: SESSION_SECONDS, RefreshToken: SESSION_SECONDS,
    },
    async findAccount(ctx, sub) {
      const account = bySub(sub);
      return account && {
        accountId: sub,
        claims: async () => ({
          sub,
          name: account.name,
          preferred_username: account.name,
          ...(account.email ? { email: account.email, email_verified: account.emailVerified ?? true } : {}),
          groups: account.groups ?? [],
        }),
      };
    },
    async extraTokenClaims(ctx, token) {
      const account = token.accountId && bySub(token.accountId);
      return account && token.scopes.has('groups') ? { groups: account.groups ?? [] } : undefined;
    },
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    renderError: (ctx, out) => html(ctx, errorPage(out)),
    // Clients of the tests are at localhost, with a certificate of the test CA or with none.
    fetch: async (url, { method, headers, body }) => {
      const answer = await ask(url, { method, headers: Object.fromEntries(new Headers(headers)), body, ca });
      return new Response(answer.status === 204 ? null : answer.text, { status: answer.status });
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      revocation: { enabled: true },
      introspection: { enabled: true },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx, form) => html(ctx, signOutPage(form)),
        postLogoutSuccessSource: (ctx) => html(ctx, signedOutPage()),
      },
      resourceIndicators: {
        enabled: true,
        // Without the parameter `resource` the access token is for userinfo and says nothing.
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, indicator) => resource(indicator, ['groups', ...scopes].join(' ')),
      },
    },
  };
}

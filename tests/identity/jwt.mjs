// JSON Web Tokens by hand: the attack tests need tokens that no library would make.
import {
  createHmac, createPrivateKey, createPublicKey, generateKeyPairSync, KeyObject, randomUUID, sign, verify,
} from 'node:crypto';

const encode = (value) => Buffer.from(value).toString('base64url');
const decode = (part) => JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));

// JWS writes an ECDSA signature as r and s beside each other, OpenSSL as DER unless told.
const SIGNING = { RS256: {}, ES256: { dsaEncoding: 'ieee-p1363' } };

/** A new private key as a JWK; `algorithm` is `'RS256'` or `'ES256'`. */
export function makeKey(algorithm) {
  const { privateKey } = algorithm === 'RS256'
    ? generateKeyPairSync('rsa', { modulusLength: 2048 }) : generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), alg: algorithm, use: 'sig', kid: randomUUID() };
}

/** The public half of a JWK of `makeKey`. */
export function publicHalf({ kty, n, e, crv, x, y, alg, use, kid }) {
  return kty === 'RSA' ? { kty, n, e, alg, use, kid } : { kty, crv, x, y, alg, use, kid };
}

/**
 * Makes a JWT of exactly these claims. `key` is a private JWK (RS256 or ES256 as it says), a private `KeyObject`
 * (RS256 for RSA, ES256 otherwise), a string or Buffer (the secret of HS256), or `'none'` for no signature.
 * `header` is laid over `{ alg, kid }`: what it says of `alg` is written and not followed.
 */
export function signToken(claims, header, key) {
  let written;
  let signer;
  if (key === 'none') {
    written = { alg: 'none' };
    signer = () => '';
  } else if (typeof key === 'string' || Buffer.isBuffer(key)) {
    written = { alg: 'HS256' };
    signer = (text) => createHmac('sha256', key).update(text).digest('base64url');
  } else {
    const object = key instanceof KeyObject ? key : createPrivateKey({ key, format: 'jwk' });
    const alg = object.asymmetricKeyType === 'rsa' ? 'RS256' : 'ES256';
    written = { alg, ...(key.kid ? { kid: key.kid } : {}) };
    signer = (text) => sign('sha256', Buffer.from(text), { key: object, ...SIGNING[alg] }).toString('base64url');
  }
  const text = `${encode(JSON.stringify({ ...written, ...header }))}.${encode(JSON.stringify(claims))}`;
  return `${text}.${signer(text)}`;
}

/** Takes a JWT apart without looking at its signature: `{ header, claims }`. */
export function readToken(token) {
  const [header, claims] = token.split('.');
  return { header: decode(header), claims: decode(claims) };
}

/** Returns `{ header, claims }` of a JWT that a key of `jwks` (`{ keys }`) signed with RS256 or ES256, or throws. */
export function verifyToken(token, jwks) {
  const parts = token.split('.');
  if (parts.length !== 3) throw new Error('a signed token has three parts');
  const { header, claims } = readToken(token);
  if (!SIGNING[header.alg]) throw new Error(`the token is signed with ${header.alg}`);
  const jwk = jwks.keys.find(({ kid, alg }) => kid === header.kid && (alg === undefined || alg === header.alg));
  if (!jwk) throw new Error(`no key has the id ${header.kid}`);
  const key = { key: createPublicKey({ key: jwk, format: 'jwk' }), ...SIGNING[header.alg] };
  const good = verify('sha256', Buffer.from(`${parts[0]}.${parts[1]}`), key, Buffer.from(parts[2], 'base64url'));
  if (!good) throw new Error('the signature is not of this key');
  return { header, claims };
}

// One HTTP request that trusts the test CA. Node's own fetch takes no CA for a single call.
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';

const ANSWER_MS_MAX = 10_000;
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;

/**
 * Asks `url` (http or https) and returns `{ status, headers, text, json() }`; follows no redirect.
 * Options: `method`, `headers`, `body` (a string, or URLSearchParams for a form), `ca` (PEM text).
 */
export function ask(url, { method, headers = {}, body, ca } = {}) {
  const secure = new URL(url).protocol === 'https:';
  const form = body instanceof URLSearchParams;
  const sent = body === undefined ? undefined : Buffer.from(String(body));
  const options = {
    method: method ?? (sent ? 'POST' : 'GET'),
    headers: {
      ...(form ? { 'content-type': 'application/x-www-form-urlencoded' } : {}),
      ...(sent ? { 'content-length': sent.length } : {}),
      ...headers,
    },
    // A connection of its own for each request: none is left open to hold up a server that stops.
    agent: secure ? new HttpsAgent({ keepAlive: false }) : new HttpAgent({ keepAlive: false }),
    signal: AbortSignal.timeout(ANSWER_MS_MAX),
    ...(secure ? { ca } : {}),
  };
  return new Promise((resolve, reject) => {
    const request = (secure ? httpsRequest : httpRequest)(url, options, (answer) => {
      const parts = [];
      let bytes = 0;
      answer.on('error', reject);
      answer.on('data', (part) => {
        bytes += part.length;
        if (bytes > ANSWER_BYTES_MAX) answer.destroy(new Error(`the answer of ${url} is too long`));
        else parts.push(part);
      });
      answer.on('end', () => {
        const text = Buffer.concat(parts).toString('utf8');
        resolve({ status: answer.statusCode, headers: answer.headers, text, json: () => JSON.parse(text) });
      });
    });
    request.on('error', reject);
    request.end(sent);
  });
}

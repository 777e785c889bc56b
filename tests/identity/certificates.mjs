// A certificate authority for one test run and a server certificate from it for localhost and 127.0.0.1.
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

import { temporaryFolder } from './temporary.mjs';

const OPENSSL_MS_MAX = 10_000;
const CERTIFICATE_DAYS = '2';

const run = promisify(execFile);

/**
 * Makes the files in a temporary folder of their own.
 * Returns the paths `{ folder, ca, certificate, key }` (PEM) and `remove()`, which deletes the folder.
 */
export async function makeCertificates() {
  const { folder, remove } = await temporaryFolder('certificates');
  const at = (name) => path.join(folder, name);
  const openssl = (...words) => run('openssl', words, { cwd: folder, timeout: OPENSSL_MS_MAX });

  try {
    // Both configurations are complete, so that nothing depends on the openssl.cnf of the machine.
    await writeFile(at('ca.cnf'), [
      '[req]', 'prompt = no', 'distinguished_name = name', 'x509_extensions = extensions',
      '[name]', 'CN = llmos test CA',
      '[extensions]', 'basicConstraints = critical, CA:true', 'keyUsage = critical, keyCertSign, cRLSign',
      'subjectKeyIdentifier = hash', '',
    ].join('\n'));
    await writeFile(at('server.cnf'), [
      '[req]', 'prompt = no', 'distinguished_name = name', '[name]', 'CN = localhost',
      '[extensions]', 'basicConstraints = critical, CA:false', 'keyUsage = critical, digitalSignature',
      'extendedKeyUsage = serverAuth', 'subjectAltName = DNS:localhost, IP:127.0.0.1',
      'subjectKeyIdentifier = hash', 'authorityKeyIdentifier = keyid', '',
    ].join('\n'));

    const curve = ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-pkeyopt', 'ec_param_enc:named_curve'];
    await openssl('genpkey', ...curve, '-out', 'ca.key');
    await openssl('genpkey', ...curve, '-out', 'server.key');
    await openssl('req', '-x509', '-new', '-sha256', '-key', 'ca.key', '-config', 'ca.cnf',
      '-days', CERTIFICATE_DAYS, '-out', 'ca.pem');
    await openssl('req', '-new', '-sha256', '-key', 'server.key', '-config', 'server.cnf', '-out', 'server.csr');
    await openssl('x509', '-req', '-sha256', '-in', 'server.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key',
      '-set_serial', `0x${Date.now().toString(16)}`, '-days', CERTIFICATE_DAYS,
      '-extfile', 'server.cnf', '-extensions', 'extensions', '-out', 'server.pem');
  } catch (error) {
    remove();
    throw error;
  }
  return { folder, ca: at('ca.pem'), certificate: at('server.pem'), key: at('server.key'), remove };
}

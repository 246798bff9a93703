/** The certificate of the benches. */

import { execFileSync } from 'node:child_process'

/** A key and a certificate for the loopback address, of the kind that is usual now. */
export function selfSigned(): string {
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1']
  const out = ['-days', '2', '-keyout', '-', '-out', '-']
  return execFileSync('openssl', ['req', '-x509', ...curve, ...names, ...out], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
}

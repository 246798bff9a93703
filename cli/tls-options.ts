/** The options of TLS that commands share, and what `connect()` makes of them. */

import type { ConnectOptions } from '../src/index.ts'
import { UsageError, type Values } from './command.ts'

/** The options of a client by TLS. */
export const tlsOptions = {
  tls: { type: 'boolean', says: 'uses TLS' },
  ca: { type: 'string', multiple: true, value: 'file', says: 'a CA that is trusted, in PEM' },
  cert: { type: 'string', value: 'file', says: 'the certificate of this side, in PEM' },
  key: { type: 'string', value: 'file', says: 'its key, in PEM' },
  servername: { type: 'string', value: 'name', says: 'the name that the certificate is to have' },
  alpn: { type: 'string', multiple: true, value: 'name', says: 'a protocol to offer' },
  insecure: { type: 'boolean', short: 'k', says: 'takes any certificate of the server' },
} as const

/** The options of `connect()`; any option of TLS asks for TLS. */
export function tlsOptionsFrom(values: Values<typeof tlsOptions>): ConnectOptions {
  const { tls, ca, cert, key, servername, alpn, insecure } = values
  if ((key === undefined) !== (cert === undefined)) {
    throw new UsageError('--key and --cert go together')
  }
  return {
    ...(tls && { tls }),
    ...(ca && { ca }),
    ...(key !== undefined && { key, cert: cert! }),
    ...(servername !== undefined && { servername }),
    ...(alpn && { ALPNProtocols: alpn }),
    ...(insecure && { rejectUnauthorized: false }),
  }
}

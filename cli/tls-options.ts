/** The TLS options that several commands share, and the options of `connect()` made from them. */

import type { ConnectOptions } from '../src/index.ts'
import { UsageError, type Values } from './command.ts'

/** The TLS options of a client. */
export const tlsOptions = {
  tls: { type: 'boolean', says: 'uses TLS' },
  ca: { type: 'string', multiple: true, value: 'file', says: 'a CA that is trusted, in PEM' },
  cert: { type: 'string', value: 'file', says: 'the certificate of this side, in PEM' },
  key: { type: 'string', value: 'file', says: 'its key, in PEM' },
  servername: { type: 'string', value: 'name', says: 'the name that the certificate must have' },
  alpn: { type: 'string', multiple: true, value: 'name', says: 'a protocol to offer' },
  insecure: { type: 'boolean', short: 'k', says: 'accepts any certificate of the server' },
} as const

/** The options of `connect()`. Each TLS option turns TLS on. */
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

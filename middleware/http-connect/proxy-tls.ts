/** TLS to the HTTP proxy itself. */

import type { Duplex } from 'node:stream'
import { type ConnectionOptions as NodeTlsOptions, connect as connectTls } from 'node:tls'
import { placeOf } from '../../src/client/connect-options.ts'
import { CioError } from '../../src/errors.ts'
import { askedName } from '../../src/streams/host-name.ts'
import { type CertFilesOptions, loadCerts } from '../../src/tls/certificates.ts'
import { proxyError } from './tunnel.ts'

/** TLS options for a proxy: certificates as `certs` takes them, and Node's options. */
export interface ProxyTls
  extends
    CertFilesOptions,
    Omit<
      NodeTlsOptions,
      keyof CertFilesOptions | 'socket' | 'host' | 'port' | 'path' | 'timeout'
    > {}

export async function startTls(
  raw: Duplex,
  { host, port }: { readonly host: string; readonly port: number },
  options: ProxyTls,
): Promise<Duplex> {
  const material = await loadCerts(options)
  return new Promise((resolve, reject) => {
    const socket = connectTls({
      ...(options as object),
      ...(material as object),
      ...askedName({ host, ...options }),
      socket: raw,
      // Missing in Node's types of `tls.connect`.
      ...({ allowHalfOpen: true } as object),
    })
    socket.on('error', (cause) => {
      raw.destroy()
      const refused = Boolean(socket.authorizationError)
      reject(
        new CioError(
          refused ? 'ERR_CIO_REJECTED' : 'ERR_CIO_PROXY',
          refused
            ? `the certificate of the HTTP proxy ${placeOf({ host, port })} is not accepted: ${cause.message}`
            : `the handshake with the HTTP proxy ${placeOf({ host, port })} failed: ${cause.message}`,
          { fault: 'remote', cause, ...(refused && { end: 'untrusted' }) },
        ),
      )
    })
    socket.once('close', () => reject(proxyError({ host, port }, 'it closed the connection')))
    socket.once('secureConnect', () => resolve(socket))
  })
}

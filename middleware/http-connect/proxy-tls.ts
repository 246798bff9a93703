/** TLS to the HTTP proxy itself. */

import type { Duplex } from 'node:stream'
import { type ConnectionOptions as NodeTlsOptions, connect as connectTls } from 'node:tls'
import { placeOf } from '../../src/client/connect-options.ts'
import { CioError, asError } from '../../src/errors.ts'
import { askedName } from '../../src/streams/host-name.ts'
import { type CertFilesOptions, loadCerts } from '../../src/tls/certificates.ts'
import { handshakeCallbacks } from '../../src/tls/handshake-callbacks.ts'
import type { TlsClientOptions } from '../../src/tls/tls-options.ts'
import { checkResumedServer, serverNameCheck } from '../../src/tls/verify-server-name.ts'
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
  const remote = `the HTTP proxy ${placeOf({ host, port })}`
  const trusted = { host, ...options, ...material } as TlsClientOptions
  return new Promise((resolve, reject) => {
    const socket = connectTls({
      ...(options as object),
      ...(material as object),
      ...askedName({ host, ...options }),
      ...handshakeCallbacks('httpConnect', options),
      checkServerIdentity: serverNameCheck(trusted),
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
            ? `the certificate of ${remote} is not accepted: ${cause.message}`
            : `the handshake with ${remote} failed: ${cause.message}`,
          { fault: 'remote', cause, ...(refused && { end: 'untrusted' }) },
        ),
      )
    })
    socket.once('close', () => reject(proxyError({ host, port }, 'it closed the connection')))
    socket.once('secureConnect', () => {
      try {
        if (socket.isSessionReused()) checkResumedServer({ remote, options: trusted }, socket)
        resolve(socket)
      } catch (refused) {
        raw.destroy()
        reject(asError(refused))
      }
    })
  })
}

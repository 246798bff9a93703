/** The CONNECT request, and the answer of an HTTP proxy. */

import type { Duplex } from 'node:stream'
import { type ConnectOptions, placeOf } from '../../src/client/connect-options.ts'
import { CioError, quote } from '../../src/errors.ts'
import { askedHost } from '../../src/streams/host-name.ts'
import { leaveUnread } from '../../src/streams/reading.ts'
import { AfterInterim } from './after-interim.ts'

/** The options of `httpConnect` that the request needs. */
interface Proxy {
  readonly host: string
  readonly port: number
  readonly username?: string
  readonly password?: string
  readonly headers?: Readonly<Record<string, string>>
}

export async function tunnel(
  stream: Duplex,
  target: ConnectOptions,
  proxy: Proxy,
): Promise<Duplex> {
  const authority = placeOf({ host: askedHost(target.host), port: target.port ?? 0 })
  let reply = await requestTunnel(stream, authority, proxy)
  for (let interim = 0; isInterim(reply); interim++) {
    if (interim === maxInterim) {
      throw proxyError(proxy, `it sends more than ${maxInterim} interim responses`, authority)
    }
    reply = await requestTunnel(new AfterInterim(stream), authority, proxy)
  }
  const { status } = reply
  if (status >= 200 && status < 300) return stream
  const why = `it answers ${status} ${quote(reply.message)}`
  throw status === 407 ? authenticationError(proxy, why) : proxyError(proxy, why, authority)
}

/** A response of the proxy. */
interface Reply {
  readonly status: number
  readonly message: string
}

/** The maximum number of interim responses that are skipped. */
const maxInterim = 8

/** Whether another response follows. Node treats any response to CONNECT as the last one. */
function isInterim({ status }: Reply): boolean {
  return status >= 100 && status < 200 && status !== 101
}

function requestTunnel(stream: Duplex, authority: string, proxy: Proxy): Promise<Reply> {
  const { username, password = '' } = proxy
  const basic = Buffer.from(`${username}:${password}`).toString('base64')
  const { request } = process.getBuiltinModule('node:http')
  return new Promise((resolve, reject) => {
    const connectRequest = request({
      method: 'CONNECT',
      path: authority,
      headers: {
        ...proxy.headers,
        host: authority,
        ...(username !== undefined && { 'proxy-authorization': `Basic ${basic}` }),
      },
      createConnection: () => stream,
    })
    connectRequest.once('error', (cause) =>
      reject(proxyError(proxy, cause.message, authority, cause)),
    )
    connectRequest.once(
      'connect',
      ({ statusCode = 0, statusMessage = '' }, _socket, head: Buffer) => {
        // At once: in the next turn the stream may have ended, and then it takes no bytes back.
        if (stream instanceof AfterInterim) stream.giveBack(head)
        else leaveUnread(stream, head)
        resolve({ status: statusCode, message: statusMessage })
      },
    )
    connectRequest.end()
  })
}

function authenticationError(proxy: Proxy, why: string): CioError {
  return new CioError(
    'ERR_CIO_PROXY_AUTH',
    `the HTTP proxy ${placeOf(proxy)} requires authentication: ${why}; check \`username\` and \`password\``,
  )
}

export function proxyError(
  proxy: { readonly host: string; readonly port: number },
  why: string,
  target = 'anything',
  cause?: Error,
): CioError {
  return new CioError(
    'ERR_CIO_PROXY',
    `the HTTP proxy ${placeOf(proxy)} did not connect to ${target}: ${why}`,
    { fault: 'remote', cause },
  )
}

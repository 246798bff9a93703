/**
 * Whether a request may see the page.
 *
 * A verified peer may. On loopback a request needs the token of this start: once in the address,
 * then in a cookie. On a Unix socket, whose file only its owner may open, a program needs no token.
 * A browser does, since it comes through a tunnel that other users may reach too.
 */

import { type StreamContext, contextOf } from 'cio'
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'

const loopback = new Set(['localhost', '127.0.0.1', '[::1]', '::1'])

/** The answer to a request. */
export type Verdict = 'welcome' | 'enters' | 'no token' | 'wrong host'

export class Guard {
  /** Random for each start. */
  readonly token: string = randomBytes(24).toString('base64url')
  /** Cookies do not distinguish ports, so several pages on one host need different names. */
  readonly cookie: string = `cio_watch_${hash(this.token).toString('hex').slice(0, 8)}`
  readonly #hosts: ReadonlySet<string>

  constructor(hosts: readonly string[]) {
    this.#hosts = new Set(hosts)
  }

  /** Decides about a request. `enters` means that the request has the token in its address. */
  judge(request: IncomingMessage, url: URL): Verdict {
    if (!this.#isOwnHost(request)) return 'wrong host'
    const ctx = contextOf(request)
    if (ctx?.peer) return 'welcome'
    if (this.#isToken(bearerOf(request) ?? cookieOf(request, this.cookie))) return 'welcome'
    if (this.#isToken(url.searchParams.get('token') ?? undefined)) return 'enters'
    const isProgram = request.headers['sec-fetch-site'] === undefined
    return ctx && isProgram && isUnix(ctx) ? 'welcome' : 'no token'
  }

  #isToken(given: string | undefined): boolean {
    return given !== undefined && timingSafeEqual(hash(given), hash(this.token))
  }

  #isOwnHost({ headers: { host = '' } }: IncomingMessage): boolean {
    const name = host.toLowerCase().replace(/:\d*$/, '')
    return isLoopback(name) || this.#hosts.has(name)
  }
}

/** Whether a host is one of this machine alone. */
export function isLoopback(host: string): boolean {
  return loopback.has(host) || (isIP(host) === 4 && host.startsWith('127.'))
}

function isUnix({ socket, address }: StreamContext): boolean {
  return socket !== null && address === null && socket.remoteFamily === undefined
}

function bearerOf({ headers: { authorization } }: IncomingMessage): string | undefined {
  return /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1]
}

function cookieOf({ headers: { cookie = '' } }: IncomingMessage, name: string): string | undefined {
  for (const one of cookie.split(';')) {
    const [key, value] = one.trim().split('=')
    if (key === name) return value
  }
  return undefined
}

/** Hashed, so that texts of any length compare in the same time. */
function hash(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

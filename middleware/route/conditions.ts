/** The conditions of a route: each says yes, no, or that it needs more bytes. */

import { TLSSocket } from 'node:tls'
import type { ConnectionContext } from '../../src/lifecycle/connection.ts'
import { type Networks, compileNetworks } from '../../src/identity/networks.ts'
import { checkOptionNames, optionError } from '../../src/options.ts'
import { canonicalName } from '../../src/tls/sni.ts'
import { type ClientHello, beginsTls, readClientHello } from './client-hello.ts'

/** What has to hold for a route, all of it. */
export interface RouteConditions {
  /**
   * Whether the client begins with a TLS handshake, or does not.
   *
   * @default either
   */
  readonly tls?: boolean
  /**
   * Host names that the client asks for by SNI, or `*.example.com` for one label more. Who asks for
   * none is not meant.
   *
   * @default any, or none
   */
  readonly sni?: string | readonly string[]
  /**
   * Protocols, one of which the client offers by ALPN; after `secure`, the one that was chosen.
   *
   * @default any, or none
   */
  readonly alpn?: string | readonly string[]
  /**
   * Whether the client begins with a request line of HTTP/1, or the preface of HTTP/2.
   *
   * @default either
   */
  readonly http?: boolean
  /**
   * Bytes that the client begins with; or an expression that holds of its first line, which is the
   * text up to a line feed, or up to what is no text.
   *
   * @default any
   */
  readonly bytes?: string | Uint8Array | RegExp
  /**
   * Addresses and networks such as `'10.0.0.0/8'` that `ctx.address` is in.
   *
   * @default any
   */
  readonly address?: readonly string[]
}

/** The first bytes of a connection, and what is known of it without them. */
export interface Facts {
  readonly ctx: ConnectionContext
  readonly bytes: Buffer
  /** Whether no more bytes come. */
  readonly isOver: boolean
}

/** Undefined: it takes more bytes to say. */
export type Condition = (facts: Facts) => boolean | undefined

const names = ['tls', 'sni', 'alpn', 'http', 'bytes', 'address'] as const

/** @throws `ERR_CIO_OPTION` */
export function compileConditions(conditions: RouteConditions): Condition {
  checkOptionNames('route', conditions, names)
  const { tls, sni, alpn, http, bytes, address } = conditions
  for (const [name, value] of Object.entries({ tls, http })) {
    if (value !== undefined && typeof value !== 'boolean') {
      throw optionError('route', name, 'true or false', value)
    }
  }
  // What takes no bytes first.
  const all: Condition[] = []
  if (address !== undefined) all.push(fromNetworks(compileNetworks('route', 'address', address)))
  if (tls !== undefined) all.push(is(tls, isTls))
  if (sni !== undefined) all.push(offers(compileNames(sni)))
  if (alpn !== undefined) {
    const protocols = list('alpn', alpn)
    all.push(ofHello(({ alpn }) => alpn.some((protocol) => protocols.includes(protocol))))
  }
  if (http !== undefined) all.push(is(http, isHttp))
  if (bytes !== undefined) all.push(compileBytes(bytes))
  return (facts) => {
    let verdict: boolean | undefined = true
    for (const condition of all) {
      const holds = condition(facts)
      if (holds === false) return false
      if (holds === undefined) verdict = undefined
    }
    // Where nothing more comes, it does not hold.
    return verdict ?? (facts.isOver ? false : undefined)
  }
}

function is(wanted: boolean, condition: Condition): Condition {
  return (facts) => {
    const holds = condition(facts) ?? (facts.isOver ? false : undefined)
    return holds === undefined ? undefined : holds === wanted
  }
}

function fromNetworks(networks: Networks): Condition {
  return ({ ctx }) => networks(ctx.address)
}

function isTls({ ctx, bytes }: Facts): boolean | undefined {
  return ctx.encrypted || beginsTls(bytes)
}

/** What the client asks for: before `secure` by its first message, after it by what has come of it. */
export function helloOf({
  ctx,
  bytes,
}: Pick<Facts, 'ctx' | 'bytes'>): ClientHello | null | undefined {
  if (!(ctx.socket instanceof TLSSocket)) return readClientHello(bytes)
  const { servername } = ctx.socket as TLSSocket & { servername?: string | false | null }
  const { alpnProtocol } = ctx
  return {
    servername: (servername && canonicalName(servername)) || null,
    alpn: alpnProtocol === null ? [] : [alpnProtocol],
  }
}

function ofHello(test: (hello: ClientHello) => boolean): Condition {
  return (facts) => {
    const hello = helloOf(facts)
    return hello ? test(hello) : hello === null ? false : undefined
  }
}

function offers(isNamed: (name: string) => boolean): Condition {
  return ofHello(({ servername }) => servername !== null && isNamed(servername))
}

function compileNames(given: string | readonly string[]): (name: string) => boolean {
  const wanted = new Set<string>()
  for (const one of list('sni', given)) {
    const name = canonicalName(one)
    if (name === undefined) {
      throw optionError('route', 'sni', 'host names, or `*.` and a host name', one)
    }
    wanted.add(name)
  }
  return (name) => wanted.has(name) || wanted.has(`*${name.slice(name.indexOf('.'))}`)
}

function list(option: string, given: string | readonly string[]): readonly string[] {
  const all: readonly unknown[] = Array.isArray(given) ? given : [given]
  for (const one of all) {
    if (typeof one !== 'string' || one === '') {
      throw optionError('route', option, 'a name or a list of names', one)
    }
  }
  return all as readonly string[]
}

const lineEnd = /[^\t\v\f\r\x20-\x7e\x80-\xff]/
/** Bytes of a first line that are looked at; with each byte that comes, again. */
const longestLine = 2_048
const method = /^[A-Z][A-Z-]{0,31}$/
const requestLine = /^[A-Z][A-Z-]{0,31} \S+ HTTP\/[12]\.[01]\r?$/

/** The first line, without its end; and whether it has one. */
function firstLine(bytes: Buffer): { readonly line: string; readonly isWhole: boolean } {
  const text = bytes.toString('latin1', 0, longestLine)
  const end = text.search(lineEnd)
  return end === -1
    ? { line: text, isWhole: text.length === longestLine }
    : { line: text.slice(0, end), isWhole: true }
}

function isHttp({ bytes }: Facts): boolean | undefined {
  const { line, isWhole } = firstLine(bytes)
  if (isWhole && line.length < longestLine) return requestLine.test(line)
  const space = line.indexOf(' ')
  if (space === -1) return line === '' || method.test(line) ? undefined : false
  // A long path may go on after what is looked at.
  return method.test(line.slice(0, space)) && (isWhole || undefined)
}

function compileBytes(wanted: string | Uint8Array | RegExp): Condition {
  if (wanted instanceof RegExp) {
    // One with a memory would answer differently each time.
    const expression = new RegExp(wanted.source, wanted.flags.replace(/[gy]/g, ''))
    return ({ bytes }) => {
      const { line, isWhole } = firstLine(bytes)
      return expression.test(line) || (isWhole ? false : undefined)
    }
  }
  const beginning =
    typeof wanted === 'string' || wanted instanceof Uint8Array ? bytesOf(wanted) : undefined
  if (!beginning?.length) {
    throw optionError('route', 'bytes', 'bytes, a string or an expression, not empty', wanted)
  }
  return ({ bytes }) => {
    const length = Math.min(bytes.length, beginning.length)
    if (beginning.compare(bytes, 0, length, 0, length) !== 0) return false
    return length === beginning.length ? true : undefined
  }
}

function bytesOf(wanted: string | Uint8Array): Buffer {
  return typeof wanted === 'string' ? Buffer.from(wanted) : Buffer.from(wanted)
}

/** The conditions of a route: each matches, does not match, or needs more bytes. */

import { type Networks, compileNetworks } from '../../src/identity/networks.ts'
import { checkFlag, checkOptionNames, optionError } from '../../src/options.ts'
import { compilePattern } from '../../src/access/pattern.ts'
import { canonicalName } from '../../src/tls/sni.ts'
import { type ClientHello, beginsTls } from './client-hello.ts'
import { type FirstBytes, longestLine } from './first-bytes.ts'

/** The conditions of a route, which must all match. */
export interface RouteConditions {
  /**
   * Whether the client begins with a TLS handshake.
   *
   * @default either
   */
  readonly tls?: boolean
  /**
   * Host names in the client's SNI, or `*.example.com` for exactly one more label. A client without
   * SNI does not match.
   *
   * @default any, or none
   */
  readonly sni?: string | readonly string[]
  /**
   * Protocols, of which the client offers one by ALPN; after `secure`, the one that was chosen.
   *
   * @default any, or none
   */
  readonly alpn?: string | readonly string[]
  /**
   * Whether the client begins with an HTTP/1 request line, or the HTTP/2 preface.
   *
   * @default either
   */
  readonly http?: boolean
  /**
   * The client's first bytes, or a regular expression for its first line: the text up to a line
   * feed (or CR LF), or up to a byte that is not text. An expression that depends on what follows,
   * such as `/^QUIT$/`, is tested only when the line has ended.
   *
   * @default any
   */
  readonly bytes?: string | Uint8Array | RegExp
  /**
   * Addresses and networks such as `'10.0.0.0/8'`, which must contain `ctx.address`.
   *
   * @default any
   */
  readonly address?: readonly string[]
}

/** Undefined: it needs more bytes to decide. */
export type Condition = (first: FirstBytes) => boolean | undefined

const names = ['tls', 'sni', 'alpn', 'http', 'bytes', 'address'] as const

/** @throws `ERR_CIO_OPTION` */
export function compileConditions(conditions: RouteConditions): Condition {
  checkOptionNames('route', conditions, names)
  const { tls, sni, alpn, http, bytes, address } = conditions
  checkFlag('route', 'tls', tls)
  checkFlag('route', 'http', http)
  // Conditions that need no bytes come first.
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
  return (first) => {
    let verdict: boolean | undefined = true
    for (const condition of all) {
      const holds = condition(first)
      if (holds === false) return false
      if (holds === undefined) verdict = undefined
    }
    // If no more bytes will arrive, it does not match.
    return verdict ?? (first.isOver ? false : undefined)
  }
}

function is(wanted: boolean, condition: Condition): Condition {
  return (first) => {
    const holds = condition(first) ?? (first.isOver ? false : undefined)
    return holds === undefined ? undefined : holds === wanted
  }
}

function fromNetworks(networks: Networks): Condition {
  return ({ ctx }) => networks(ctx.address)
}

function isTls({ ctx, bytes }: FirstBytes): boolean | undefined {
  return ctx.encrypted || beginsTls(bytes)
}

function ofHello(test: (hello: ClientHello) => boolean): Condition {
  return (first) => {
    const hello = first.hello()
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

const method = /^[A-Z][A-Z-]{0,31}$/
const requestLine = /^[A-Z][A-Z-]{0,31} \S+ HTTP\/[12]\.[01]\r?$/

function isHttp(first: FirstBytes): boolean | undefined {
  if (!first.isDue) return undefined
  const { line, isWhole } = first.firstLine()
  if (isWhole && line.length < longestLine) return requestLine.test(line)
  const space = line.indexOf(' ')
  if (space === -1) return line === '' || method.test(line) ? undefined : false
  // A long path may continue after the inspected part.
  return method.test(line.slice(0, space)) && (isWhole || undefined)
}

/**
 * The parts of an expression that depend on the end of the text: `$`, `\b`, `\B`, `(?=` and `(?!`.
 * An expression without them that matches a part of a line matches the whole line too. An
 * expression with `\$` or `[$]` need not wait, but does: it matches when the line has ended.
 */
const looksAhead = /\$|\\b|\(\?[=!]/i

function compileBytes(wanted: string | Uint8Array | RegExp): Condition {
  if (wanted instanceof RegExp) {
    const holds = compilePattern(wanted)
    const isEarly = !looksAhead.test(wanted.source)
    return (first) => {
      if (!first.isDue) return undefined
      const { line, isWhole, isFinal } = first.firstLine()
      return ((isEarly || isFinal) && holds(line)) || (isWhole ? false : undefined)
    }
  }
  const beginning =
    typeof wanted === 'string' || wanted instanceof Uint8Array ? bytesOf(wanted) : undefined
  if (!beginning?.length) {
    throw optionError('route', 'bytes', 'bytes, a string or an expression, not empty', wanted)
  }
  return ({ bytes, isDue }) => {
    if (bytes.length < beginning.length && !isDue) return undefined
    const length = Math.min(bytes.length, beginning.length)
    if (beginning.compare(bytes, 0, length, 0, length) !== 0) return false
    return length === beginning.length ? true : undefined
  }
}

function bytesOf(wanted: string | Uint8Array): Buffer {
  return typeof wanted === 'string' ? Buffer.from(wanted) : Buffer.from(wanted)
}

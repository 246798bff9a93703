/**
 * The options of `listen()` and `connect()`: one table of every name, with the calls that take it,
 * the code that reads it, and whether it has a meaning without TLS.
 *
 * A test compares the table with the types of each version of Node that is supported.
 */

import { CioError } from '../errors.ts'
import { nearest } from '../did-you-mean.ts'
import { checkPlace, checkValue } from './option-values.ts'
import { optionError } from '../options.ts'

/** A call that takes options. */
export type Call = 'listen' | 'connect'

/** An entry of the table. */
export interface KnownOption {
  readonly calls: readonly Call[]
  /** The code that reads it: Cio itself, or Node's `net` or `tls`. */
  readonly by: 'cio' | 'net' | 'tls'
  /** Whether it has no meaning without TLS. Such an option turns TLS on. */
  readonly isTlsOnly: boolean
  /** The versions of Node that added it, one for each release line; empty if all have it. */
  readonly since: readonly string[]
}

type Rows = readonly (readonly [name: string, ...since: string[]])[]

const listen = ['listen'] as const
const connect = ['connect'] as const
const both = ['listen', 'connect'] as const

/** Every name that `listen()` or `connect()` takes. */
export const knownOptions: ReadonlyMap<string, KnownOption> = new Map([
  ...rows('cio', both, 'handshakeTimeout flushTimeout halfOpenTimeout signal'),
  ...rows('cio', listen, 'bind fd reservedDescriptors'),
  ...rows('cio', listen, 'watch reloadSignal revoked drainTimeout'),
  ...rows('cio', connect, 'tls targets order createConnection connectTimeout'),
  ...tlsRows('cio', both, 'private public root'),
  ...tlsRows('cio', listen, 'sni strictSni'),

  ...rows('net', both, 'host port path noDelay keepAlive keepAliveInitialDelay highWaterMark'),
  ...rows('net', both, ['blockList', '22.13.0', '23.4.0'], ['handle', '24.19.0', '26.4.0']),
  ...rows('net', listen, 'backlog exclusive ipv6Only readableAll writableAll pauseOnConnect'),
  ...rows('net', listen, ['reusePort', '22.12.0', '23.1.0']),
  ...rows('net', connect, 'localAddress localPort family hints lookup'),
  ...rows('net', connect, 'autoSelectFamily autoSelectFamilyAttemptTimeout'),
  ...rows('net', connect, ['typeOfService', '24.15.0', '25.6.0']),

  ...tlsRows('tls', both, 'key cert ca pfx passphrase crl dhparam ecdhCurve sigalgs ciphers'),
  ...tlsRows('tls', both, 'honorCipherOrder minVersion maxVersion secureProtocol secureOptions'),
  ...tlsRows('tls', both, 'clientCertEngine privateKeyEngine privateKeyIdentifier'),
  ...tlsRows('tls', both, 'sessionIdContext sessionTimeout ticketKeys allowPartialTrustChain'),
  ...tlsRows('tls', both, 'requestCert rejectUnauthorized ALPNProtocols ALPNCallback SNICallback'),
  ...tlsRows('tls', both, 'pskCallback enableTrace'),
  ...tlsRows('tls', both, ['certificateCompression', '24.19.0', '26.4.0']),
  ...tlsRows('tls', listen, 'pskIdentityHint'),
  ...tlsRows('tls', connect, 'servername checkServerIdentity session minDHSize'),
  ...tlsRows('tls', connect, 'secureContext requestOCSP'),
])

/** Options of Node that Cio refuses, with the reason or the replacement. */
export const refusedOptions: Readonly<Record<Call, Readonly<Record<string, string>>>> = {
  listen: {
    allowHalfOpen: 'Cio decides about it: streams are half-open, and the pipeline ends them',
    secureContext:
      'a server reads `key`, `cert` and `ca` itself, so that it can reload them; give those, or give contexts by name with `SNICallback`',
    requestOCSP:
      'it is an option of `connect()`; a server answers by `ctx.tls.on("OCSPRequest", …)`',
    timeout: 'use the middleware `timeout`, which closes the connection',
  },
  connect: {
    allowHalfOpen: 'Cio decides about it: streams are half-open, and the pipeline ends them',
    socket: 'give the stream by `createConnection`',
    timeout: 'use `connectTimeout`, or the middleware `timeout`, which closes the connection',
    onread: 'it takes the bytes away from `ctx.stream`',
    fd: 'give `createConnection: () => new net.Socket({ fd })`',
    readable: 'streams are read and written',
    writable: 'streams are read and written',
  },
}

/** The removed options of cio 0.5, with their replacements. */
export const formerOptions: Readonly<Record<string, string>> = {
  isSecure: 'give `tls: true` to `connect()`, or a certificate to `listen()`',
  isClientAllowed: 'register `allowList((peer, ctx) => …)`',
  rejectClient: 'give `reject` to `allowList`',
  noRelisten: 'leave it out: `relisten` is off unless it is registered',
  retryDelay: 'register `relisten({ delay })`',
  maxRetries: 'register `relisten({ retries })`',
  relisten: 'register `relisten()`',
  onConnect: 'register a middleware by `useConnection` or `useClient`',
  onSecureConnect: 'listen to the event `secure`',
  chain: 'leave it out: each run has a context of its own',
  reconnect: 'register `reconnect()`',
  multiplex: 'register `multiplex(app)`',
  eventor: 'register `events()` after `json()`',
  jsonify: 'register `json()`',
  transform: 'register `transform(…)`',
}

/**
 * Refuses options that neither Cio nor this version of Node reads: a typo must not turn a check off
 * silently.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkOptions(call: Call, options: object): void {
  // Includes secrets, which are not enumerable.
  for (const name of Object.getOwnPropertyNames(options)) {
    const value = (options as Readonly<Record<string, unknown>>)[name]
    const refused = own(refusedOptions[call], name)
    if (refused !== undefined) {
      // This value is what Cio does anyway.
      if (value === undefined || (name === 'allowHalfOpen' && value === true)) continue
      throw refusal(call, name, refused)
    }
    const known = knownOptions.get(name)
    if (!known?.calls.includes(call)) throw refusal(call, name, whyUnknown(call, name, known))
    if (value !== undefined && !isHonoured(known.since)) {
      const versions = known.since.join(' and ')
      const why = `Node has it from ${versions} on, and this is ${process.versions.node}, which would ignore it`
      throw refusal(call, name, why)
    }
    checkValue(call, name, value)
  }
  checkPlace(call, options)
}

/**
 * Refuses TLS options that `tls.connect` does not read, for TLS to a proxy.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkTlsOptions(owner: string, options: object): void {
  checkOptions('connect', options)
  for (const name of Object.keys(options)) {
    if (knownOptions.get(name)?.isTlsOnly) continue
    throw optionError(owner, 'tls', 'true, or options of TLS alone', name)
  }
}

/** The first option that turns TLS on; undefined without one. On a server, `false` does not. */
export function tlsWish(call: Call, options: object): string | undefined {
  const given = options as Readonly<Record<string, unknown>>
  // By the table, since secrets are not enumerable.
  for (const [name, { isTlsOnly }] of knownOptions) {
    const value = given[name]
    if (isTlsOnly && value !== undefined && (value !== false || call === 'connect')) return name
  }
  return undefined
}

/** Whether a version of Node includes an option that these versions added. */
export function isHonoured(
  since: readonly string[],
  version: string = process.versions.node,
): boolean {
  if (since.length === 0) return true
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const first = since.map((one) => one.split('.').map(Number) as [number, number])
  return (
    first.some((one) => one[0] === major && minor >= one[1]) || first.every((one) => major > one[0])
  )
}

function whyUnknown(call: Call, name: string, known: KnownOption | undefined): string {
  if (known) return `it is an option of \`${known.calls[0]}()\``
  const former = own(formerOptions, name)
  if (former !== undefined) {
    return `it is an option of cio 0.5: ${former}; see "Options" in docs/from-cio-0.5.md`
  }
  const names = [...knownOptions.keys()].filter((one) =>
    knownOptions.get(one)!.calls.includes(call),
  )
  const meant = nearest(name, names)
  if (meant !== undefined) return `neither Cio nor Node knows it; did you mean \`${meant}\`?`
  return 'neither Cio nor Node knows it; leave it out, or give it to the middleware that it is for'
}

function refusal(call: Call, name: string, why: string): CioError {
  return new CioError('ERR_CIO_OPTION', `${call}: \`${name}\` is refused: ${why}`)
}

function own(texts: Readonly<Record<string, string>>, name: string): string | undefined {
  return Object.hasOwn(texts, name) ? texts[name] : undefined
}

function rows(
  by: KnownOption['by'],
  calls: readonly Call[],
  ...given: readonly (string | Rows[number])[]
): [string, KnownOption][] {
  return given.flatMap((one): [string, KnownOption][] => {
    if (typeof one === 'string') {
      return one.split(' ').map((name) => [name, { calls, by, isTlsOnly: false, since: [] }])
    }
    const [name, ...since] = one
    return [[name, { calls, by, isTlsOnly: false, since }]]
  })
}

function tlsRows(...given: Parameters<typeof rows>): [string, KnownOption][] {
  return rows(...given).map(([name, known]) => [name, { ...known, isTlsOnly: true }])
}

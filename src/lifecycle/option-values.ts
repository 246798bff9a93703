/**
 * Values of options of `listen()` and `connect()` that Node would take for others without an error:
 * `'false'` for true, an empty host for every address, a port beside a path. Or whose check is an
 * assertion of Node that ends the process: an empty name of ALPN.
 */

import { checkFunction, optionError } from '../options.ts'

const booleans = new Set(
  [
    'bind exclusive ipv6Only reusePort readableAll writableAll pauseOnConnect',
    'noDelay keepAlive autoSelectFamily tls strictSni requestCert rejectUnauthorized',
    'honorCipherOrder allowPartialTrustChain requestOCSP enableTrace',
  ].flatMap((names) => names.split(' ')),
)

/** Called first in a handshake, which then fails for each client. */
const callbacks = new Set(['ALPNCallback', 'SNICallback', 'pskCallback', 'checkServerIdentity'])

const highestPort = 65_535

const longestAlpnName = 255

/** Bytes of the path of a Unix socket. */
const longestPath = { linux: 108, win32: Infinity }[process.platform as string] ?? 104

/**
 * Checks the value of one option.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkValue(call: string, name: string, value: unknown): void {
  if (value === undefined) return
  // Node takes null for not given.
  if (booleans.has(name) && value !== null && typeof value !== 'boolean') {
    throw optionError(call, name, 'true or false', value)
  }
  if (callbacks.has(name) && value !== null) checkFunction(call, name, value)
  if (name === 'port' && !isPort(value)) {
    throw optionError(call, name, `a port from 0 to ${highestPort}`, value)
  }
  if (name === 'host' && !isHost(value)) {
    const everywhere = call === 'listen' ? '; leave it out to listen at every address' : ''
    throw optionError(call, name, `a name or an address${everywhere}`, value)
  }
  if (name === 'path' && !isSocketPath(value)) {
    const rule = `a path of at most ${longestPath} bytes without a NUL inside`
    throw optionError(call, name, rule, value)
  }
  if (name === 'ALPNProtocols' && value !== null && !isAlpn(value)) {
    const rule = `an array of names of 1 to ${longestAlpnName} bytes each`
    throw optionError(call, name, rule, value)
  }
}

/**
 * Refuses two places in one: Node's `listen` takes the port and `connect` the path.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkPlace(call: string, options: object): void {
  const { path, host, port, targets } = options as Readonly<Record<string, unknown>>
  // A target has a place of its own.
  if (path === undefined || targets !== undefined) return
  if (host === undefined && port === undefined) return
  const other = port === undefined ? 'host' : 'port'
  throw optionError(call, 'path', `alone, without \`${other}\`: it is the path of a socket`, path)
}

/**
 * Checks the port of a proxy.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkPort(owner: string, port: unknown): void {
  if (typeof port === 'number' && port >= 1 && isPort(port)) return
  throw optionError(owner, 'port', `a port from 1 to ${highestPort}`, port)
}

/** Node refuses most others itself, but only when it connects, and takes null for 0, which is any. */
function isPort(port: unknown): boolean {
  if (typeof port === 'string' && port.trim() === '') return false
  if (typeof port !== 'string' && typeof port !== 'number') return false
  return Number.isInteger(Number(port)) && Number(port) >= 0 && Number(port) <= highestPort
}

/** An empty one would be every address, or localhost; a resolver cuts one with a NUL or a line. */
function isHost(host: unknown): boolean {
  return typeof host === 'string' && host !== '' && !/[\0-\x20\x7f]/.test(host)
}

/** Names, or the bytes in which TLS sends them: each name after its length. */
function isAlpn(value: unknown): boolean {
  if (Array.isArray(value)) {
    return value.every((name) => {
      const length = typeof name === 'string' ? Buffer.byteLength(name) : 0
      return length >= 1 && length <= longestAlpnName
    })
  }
  if (!ArrayBuffer.isView(value)) return false
  const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
  let at = 0
  while (at < bytes.length && bytes[at] !== 0) at += 1 + bytes[at]!
  return at === bytes.length
}

/** Node 20 and 22 cut a path that is too long or has a NUL, and use another file without a word. */
function isSocketPath(path: unknown): boolean {
  // An abstract socket begins with a NUL.
  if (typeof path !== 'string' || path === '' || path.includes('\0', 1)) return false
  return Buffer.byteLength(path) <= longestPath
}

/** Which errors stand for the network, and what each says of a connection. The one home of their codes. */

/** Whether an error is of the network or of TLS, as against one that the application made. */
export function isNetworkError({ syscall, code }: NodeJS.ErrnoException): boolean {
  if (syscall !== undefined) return true
  return typeof code === 'string' && /^(ECONN|EPIPE|ETIMEDOUT|ERR_SSL_)/.test(code)
}

const consequences: ReadonlySet<string> = new Set([
  'ABORT_ERR',
  'ECONNRESET',
  'EPIPE',
  'ERR_CIO_ANSWER_LOST',
  'ERR_CIO_CLOSED',
  'ERR_CIO_CLOSING',
  'ERR_CIO_STOPPED',
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_PREMATURE_CLOSE',
])

/** Whether it is what a handler sees of a connection that is gone: the consequence, not the cause. */
export function isConsequence({ code, name }: NodeJS.ErrnoException): boolean {
  return consequences.has(code ?? '') || name === 'AbortError'
}

const ofClosedStream: ReadonlySet<string> = new Set([
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_PREMATURE_CLOSE',
  'EPIPE',
])

/** Whether it comes from a stream that was closed meanwhile. */
export function isOfClosedStream(error: Error): boolean {
  return ofClosedStream.has(codeOf(error))
}

/**
 * Whether it is how the end of a connection may show. `ECANCELED` is that of TLS over a stream that is
 * no socket, in the midst of a write.
 */
export function isEndOfConnection({ code = '', name }: NodeJS.ErrnoException): boolean {
  return name === 'AbortError' || /^(ECONN|ECANCELED|EPIPE|ERR_STREAM_|ERR_SSL_)/.test(code)
}

/** Whether the address to listen on is in use, or not there yet: errors that go away by themselves. */
export function isAddressUnavailable({ syscall, code }: NodeJS.ErrnoException): boolean {
  return syscall === 'listen' && (code === 'EADDRINUSE' || code === 'EADDRNOTAVAIL')
}

const passedOn =
  /^(EADDRNOTAVAIL|EAGAIN|EAI_AGAIN|EAI_NODATA|ECONN\w+|EHOST\w+|ENET\w+|ENOBUFS|ENOENT|ENOTFOUND|EPIPE|ESERVFAIL|ETIMEDOUT|ETIMEOUT)$/

/** Whether a middleware before the connection may pass it on from the network. */
export function isPassedOn(error: Error): boolean {
  return passedOn.test(codeOf(error))
}

/**
 * Codes of a connection that no waiting makes possible. All others may be of a network or a server
 * that is down: there is no end of them, from name servers, kernels, proxies and streams.
 */
const lasting: ReadonlySet<string> = new Set([
  'ABORT_ERR',
  'EACCES',
  'EAFNOSUPPORT',
  'EAI_BADFLAGS',
  'EAI_FAMILY',
  'EAI_SERVICE',
  'EAI_SOCKTYPE',
  'EBADF',
  'EBADFLAGS',
  'EBADNAME',
  'EINVAL',
  'EISDIR',
  'ELOOP',
  'ENAMETOOLONG',
  'ENOTDIR',
  'ENOTSOCK',
  'EPERM',
  'EPROTONOSUPPORT',
  'EPROTOTYPE',
  'ERR_ASSERTION',
  'ERR_IP_BLOCKED',
])

/** A mistake in a program, by the name of its class. */
const ofAProgram: ReadonlySet<string> = new Set([
  'AbortError',
  'AssertionError',
  'EvalError',
  'RangeError',
  'ReferenceError',
  'SyntaxError',
  'TypeError',
])

/** Where a file is not there, or may not be read. */
const ofFiles: ReadonlySet<string> = new Set([
  'access',
  'lstat',
  'open',
  'opendir',
  'readlink',
  'scandir',
  'stat',
])

/** Whether an error of Node's may be gone when the same is tried again. */
export function isTemporary(error: Error): boolean {
  const { syscall = '' } = error as NodeJS.ErrnoException
  return !lasting.has(codeOf(error)) && !ofAProgram.has(error.name) && !ofFiles.has(syscall)
}

/**
 * The alerts by which a server says that it does not accept the identity of its client. In TLS 1.2 a
 * failure of the handshake is how it says that a certificate is missing.
 */
const refusal =
  /ALERT_(BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_(REVOKED|EXPIRED|UNKNOWN|REQUIRED)|NO_CERTIFICATE|HANDSHAKE_FAILURE|UNKNOWN_CA|ACCESS_DENIED|UNKNOWN_PSK_IDENTITY)$/

/** Whether it is an alert of TLS that refuses an identity. */
export function isIdentityAlert(error: unknown): boolean {
  return error instanceof Error && refusal.test(codeOf(error))
}

/** Some are numbers, as that of a DOMException; some errors have none. */
function codeOf(error: Error): string {
  const { code } = error as { readonly code?: unknown }
  return typeof code === 'string' || typeof code === 'number' ? String(code) : ''
}

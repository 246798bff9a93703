/** How a connection ended, and the reason that belongs to an error. */

import type { EndReason, HandshakeFailure, Refusal } from './end-reason.ts'
import { CioError, isCioError } from './errors.ts'

/** How a connection ended. */
export interface ConnectionEnd {
  /** Why it ended. */
  readonly reason: EndReason
  /** Which side ended it. */
  readonly by: 'remote' | 'local'
  /** A more precise reason from a middleware, such as `quota`. */
  readonly why: string | undefined
  /** The innermost middleware entered at the end. */
  readonly step: string
  /** The code of the error, of Cio or of Node; undefined without an error. */
  readonly code: string | undefined
  /** The error that ended it; undefined without one. */
  readonly error: Error | undefined
  /** Why it was refused; undefined if it was not. */
  readonly refusal: Refusal | undefined
  /** More about a TLS handshake that failed; undefined for all other ends. */
  readonly handshake: HandshakeFailure | undefined
}

const ofRemote: ReadonlySet<EndReason> = new Set<EndReason>([
  'remote_ended',
  'nothing_said',
  'handshake_failed',
  'remote_reset',
  'bad_header',
  'bad_data',
  'remote_fault',
])

/** Reasons that only `close` reports, since they are normal at an open port. */
export const quietReasons: ReadonlySet<EndReason> = new Set<EndReason>([
  'remote_ended',
  'nothing_said',
])

/** The reason for each code that has one; all others follow their fault. */
const reasons: Readonly<Record<string, EndReason>> = {
  ERR_CIO_DECODE: 'bad_data',
  ERR_CIO_DECODE_RATIO: 'bad_data',
  ERR_CIO_DRAIN_TIMEOUT: 'forced',
  ERR_CIO_EXPIRED: 'expired',
  ERR_CIO_FIRST_BYTE: 'idle',
  ERR_CIO_FLOOD: 'bad_data',
  ERR_CIO_FLUSH_TIMEOUT: 'not_reading',
  ERR_CIO_FRAME_TIMEOUT: 'idle',
  ERR_CIO_HALF_OPEN: 'remote_ended',
  ERR_CIO_HANDSHAKE: 'handshake_failed',
  ERR_CIO_HANDSHAKE_TIMEOUT: 'handshake_timeout',
  ERR_CIO_HTTP: 'bad_data',
  ERR_CIO_IDLE: 'idle',
  ERR_CIO_INJECTION: 'bad_data',
  ERR_CIO_INVALID_MESSAGE: 'bad_data',
  ERR_CIO_LIFETIME: 'too_old',
  ERR_CIO_MESSAGE_TOO_LONG: 'bad_data',
  ERR_CIO_MULTIPLEX: 'bad_data',
  ERR_CIO_NOTHING_SAID: 'nothing_said',
  ERR_CIO_NO_ROUTE: 'no_route',
  ERR_CIO_PEEK_TIMEOUT: 'idle',
  ERR_CIO_PING_TIMEOUT: 'idle',
  ERR_CIO_CONNECT: 'upstream',
  ERR_CIO_CONNECT_TIMEOUT: 'upstream',
  ERR_CIO_PROXY: 'upstream',
  ERR_CIO_PROXY_AUTH: 'upstream',
  ERR_CIO_PROXY_HEADER: 'bad_header',
  ERR_CIO_PROXY_HEADER_TIMEOUT: 'bad_header',
  ERR_CIO_QUEUE_SIZE: 'not_reading',
  ERR_CIO_REJECTED: 'not_admitted',
  ERR_CIO_SLOW_READER: 'not_reading',
  ERR_CIO_START_TLS: 'bad_data',
  ERR_CIO_STREAM_REFUSED: 'upstream',
  ERR_CIO_STREAM_RESET: 'remote_reset',
  ERR_CIO_STUCK: 'stuck',
  ERR_CIO_SYNTAX: 'bad_data',
  ERR_CIO_TRUNCATED: 'bad_data',
  ERR_CIO_UPSTREAM: 'upstream',
  ERR_CIO_WEBSOCKET: 'bad_data',
  ERR_CIO_WRITE_TIMEOUT: 'not_reading',
}

/** The reason that belongs to an error of Cio. */
export function reasonOf({ code, fault, end }: CioError): EndReason {
  // An error of another class may have the name of ours, and anything in it.
  if (typeof end === 'string') return end
  const known = Object.hasOwn(reasons, code) ? reasons[code] : undefined
  return known ?? (fault === 'local' ? 'local_fault' : 'remote_fault')
}

/** Describes an end. */
export function describeEnd(
  step: string,
  reason: EndReason,
  error: Error | undefined,
): ConnectionEnd {
  const cio = isCioError(error) ? error : undefined
  return {
    reason,
    by: ofRemote.has(reason) ? 'remote' : 'local',
    why: typeof cio?.why === 'string' ? cio.why : undefined,
    step,
    code: error && codeOf(error),
    error,
    refusal: typeof cio?.refusal?.why === 'string' ? cio.refusal : undefined,
    handshake: cio?.handshake,
  }
}

/**
 * Notes where the middleware that refused a connection was registered, if that is not known yet.
 */
export function noteSite(thrown: unknown, at: string | undefined): void {
  if (at === undefined || !isCioError(thrown)) return
  try {
    const { refusal } = thrown
    // The error may be of another copy of Cio, and its refusal frozen.
    if (refusal?.at === undefined) Reflect.set(refusal ?? {}, 'at', at)
  } catch {
    // An error that cannot be read is reported as such, and no refusal.
  }
}

function codeOf(error: Error): string | undefined {
  const { code } = error as { code?: string | number }
  return typeof code === 'string' || typeof code === 'number' ? String(code) : undefined
}

/** The error of a half-open stream on which this side wrote nothing for too long. */
export function halfOpenError({ remote }: { readonly remote: string }, timeout: number): CioError {
  const message = `${remote} ended its side, and nothing was written for ${timeout} ms after that; for answers that take longer raise \`halfOpenTimeout\``
  return new CioError('ERR_CIO_HALF_OPEN', message, { fault: 'remote' })
}

/** The error of a client that leaves without a byte, as health checks do. */
export function nothingSaid(remote: string, cause: Error | null): CioError {
  const message = `${remote} closed the connection without sending a byte`
  return new CioError('ERR_CIO_NOTHING_SAID', message, {
    fault: 'remote',
    cause: cause ?? undefined,
  })
}

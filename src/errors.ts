/**
 * One error class with many codes. `code` is the contract, the message is for the reader, and
 * `fault` decides which event reports it.
 */

import type { EndReason, HandshakeFailure, Refusal } from './end-reason.ts'

/**
 * The side that caused an error: `error` reports `local`, and `reject` or `remoteError` report
 * `remote`.
 */
export type Fault = 'remote' | 'local'

/** Options of {@link CioError}. */
export interface CioErrorOptions {
  /**
   * The side that caused it. `remote` ends that connection and is reported by `reject` or
   * `remoteError`; `local` is reported by `error`.
   *
   * @default 'local'
   */
  readonly fault?: Fault
  /** The cause, usually an error of Node. Without it, the error has none. */
  readonly cause?: unknown
  /**
   * The reason that `close` reports if this error ends a connection.
   *
   * @default the reason of the code, or else of the fault
   */
  readonly end?: EndReason
  /**
   * A more precise reason. Use few different values, since it may be a label of a metric.
   * Without it, there is none.
   */
  readonly why?: string
  /** Why a connection was refused, in a form for programs. Without it, the error is no refusal. */
  readonly refusal?: Refusal
  /** More about a TLS handshake that failed. Without it, the error is not about a handshake. */
  readonly handshake?: HandshakeFailure
}

/**
 * An error of Cio or of a middleware.
 *
 * Match on `code`, never on the message, which may change in any release. Your own middleware
 * throws the same class with its own code.
 *
 * @example
 * import { CioError } from 'cio'
 *
 * const error = new CioError('ERR_CIO_IDLE', 'nothing passed for 60000 ms', { fault: 'remote' })
 * console.log(error.code) // ERR_CIO_IDLE
 */
export class CioError<Code extends string = string> extends Error {
  override readonly name = 'CioError'
  /** The code, such as `ERR_CIO_OPTION`: match on it. */
  readonly code: Code
  /** The side that caused it. */
  readonly fault: Fault
  /** The reason, if given, that `close` reports if this error ends a connection. */
  declare readonly end?: EndReason
  /** A more precise reason, if given. */
  declare readonly why?: string
  /** Why a connection was refused, if known. */
  declare readonly refusal?: Refusal
  /** More about a TLS handshake that failed, if it is one. */
  declare readonly handshake?: HandshakeFailure

  constructor(code: Code, message: string, options: CioErrorOptions = {}) {
    const { fault = 'local', cause, end, why, refusal, handshake } = options
    super(escapeText(message), cause === undefined ? undefined : { cause: printableCause(cause) })
    this.code = code
    this.fault = fault
    // Not enumerable: they repeat parts of the message.
    if (end) Object.defineProperty(this, 'end', { value: end })
    if (why) Object.defineProperty(this, 'why', { value: why })
    // A copy: Cio adds where the middleware was registered.
    if (refusal) Object.defineProperty(this, 'refusal', { value: { ...refusal } })
    if (handshake) Object.defineProperty(this, 'handshake', { value: handshake })
  }
}

/** Narrows to a {@link CioError}, with the given `code` if any, from any copy of Cio. */
export function isCioError<Code extends string>(
  error: unknown,
  code?: Code,
): error is CioError<Code> {
  try {
    return (
      error instanceof Error &&
      error.name === 'CioError' &&
      (code === undefined || (error as CioError).code === code)
    )
  } catch {
    return false
  }
}

/**
 * Makes an `Error` from any thrown value. An error is returned unchanged if it can be read: a
 * getter or a Proxy may throw.
 */
export function asError(thrown: unknown): Error {
  if (isReadableError(thrown)) return thrown
  return new CioError(
    'ERR_CIO_NOT_AN_ERROR',
    `${describe(thrown)} was thrown; throw an Error that can be read`,
  )
}

/** The properties of an error that Cio and Node read. */
const readProperties = [
  'name',
  'message',
  'stack',
  'code',
  'syscall',
  'fault',
  'cause',
  'errors',
  'end',
  'why',
  'refusal',
  'handshake',
] as const

function isReadableError(thrown: unknown): thrown is Error {
  try {
    if (!(thrown instanceof Error)) return false
    for (const property of readProperties) void (thrown as Partial<CioError>)[property as 'code']
    return typeof thrown.message === 'string'
  } catch {
    return false
  }
}

/**
 * Describes a value and its type for the error of an option. Never used for keys or passphrases.
 */
export function describe(value: unknown): string {
  try {
    return describeReadable(value)
  } catch {
    return `an unreadable ${typeof value}`
  }
}

function describeReadable(value: unknown): string {
  if (typeof value === 'string') return `${quote(value)} (string)`
  if (value === null || value === undefined) return String(value)
  if (Array.isArray(value)) return 'an array'
  if (typeof value === 'object') return `an object (${value.constructor?.name ?? 'Object'})`
  if (typeof value === 'function') return `a function (${value.name || 'anonymous'})`
  return `${(value as number | symbol).toString()} (${typeof value})`
}

// Characters that JSON does not escape and that do not print, or look like others. Control
// characters drive terminals, format characters and tags reorder or hide text, other spaces look
// like a space. Unassigned ones too.
const unprintable = /(?! )[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/gu
const quotedLength = 64
const deepestCause = 8

/** Cuts and escapes text from a peer, for use in a message or a log line. */
export function quote(text: string): string {
  const cut = text.length > quotedLength ? `${text.slice(0, quotedLength)}…` : text
  return escapeText(JSON.stringify(cut))
}

/**
 * Escapes the characters of a text that do not print, as in JSON: control characters, and those that
 * reorder or hide text. For text from a peer in a log line or on a page; {@link quote} cuts it too.
 */
export function escapeText(text: string): string {
  return text.replace(unprintable, (character) =>
    Array.from(
      { length: character.length },
      (_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`,
    ).join(''),
  )
}

/**
 * The same cause, with its message escaped: parsers quote their input, and Node quotes the names of
 * a certificate. An error is printed with its causes.
 */
function printableCause(cause: unknown, seen = new Set<unknown>(), depth = 0): unknown {
  try {
    // Each once: errors may hold each other, and an AggregateError many.
    if (!(cause instanceof Error) || depth > deepestCause || seen.has(cause)) return cause
    seen.add(cause)
    escapeTexts(cause as Error & Record<string, unknown>)
    if (cause.cause !== undefined) printableCause(cause.cause, seen, depth + 1)
    const { errors } = cause as { readonly errors?: unknown }
    if (Array.isArray(errors)) for (const one of errors) printableCause(one, seen, depth + 1)
  } catch {
    // If a getter throws or the error is frozen, it stays unchanged.
  }
  return cause
}

function escapeTexts(error: Error & Record<string, unknown>): void {
  const { message } = error
  const escaped = escapeText(message)
  if (escaped !== message) {
    // The stack begins with the message, and has line feeds of its own.
    const { stack } = error
    error.message = escaped
    if (stack !== undefined) error.stack = stack.replace(message, () => escaped)
  }
  for (const name of Object.keys(error)) {
    const value = error[name]
    if (typeof value === 'string') {
      const text = escapeText(value)
      if (text !== value) error[name] = text
    } else if (name === 'cert') {
      // Node attaches the whole certificate; `ctx.peer` and the message have the readable part.
      Object.defineProperty(error, name, { enumerable: false })
    }
  }
}

/**
 * One error class with many codes. `code` is the contract, the message is for the
 * reader, and `fault` decides which event tells of it.
 */

/** Who caused an error: decides whether `error` tells of it, or `reject` and `remoteError`. */
export type Fault = 'remote' | 'local'

/** Options of {@link CioError}. */
export interface CioErrorOptions {
  /**
   * Who caused it: `peer` ends that connection and is told by `reject` or `remoteError`; `app` is
   * told by `error`.
   *
   * @default 'local'
   */
  readonly fault?: Fault
  /** What caused it, usually an error of Node's. */
  readonly cause?: unknown
}

/**
 * An error of Cio or of a middleware.
 *
 * Match on `code`, never on the message, which may change in any release. A middleware of one's
 * own throws the same class with a code of its own.
 *
 * @example
 * import { CioError } from 'cio'
 *
 * const error = new CioError('ERR_CIO_IDLE', 'nothing passed for 60000 ms', { fault: 'remote' })
 * console.log(error.code) // ERR_CIO_IDLE
 */
export class CioError<Code extends string = string> extends Error {
  override readonly name = 'CioError'
  readonly code: Code
  readonly fault: Fault

  constructor(code: Code, message: string, { fault = 'local', cause }: CioErrorOptions = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.fault = fault
  }
}

/** Narrows to a {@link CioError}, of one `code` if given, whichever copy of Cio made it. */
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
 * Makes an `Error` of whatever was thrown. An error passes as it is, if it can be read: a getter or
 * a Proxy may throw itself.
 */
export function asError(thrown: unknown): Error {
  if (isReadableError(thrown)) return thrown
  return new CioError(
    'ERR_CIO_NOT_AN_ERROR',
    `${describe(thrown)} was thrown; throw an Error that can be read`,
  )
}

/** The properties of an error that Cio and Node read. */
const readProperties = ['name', 'message', 'stack', 'code', 'syscall', 'fault', 'cause'] as const

function isReadableError(thrown: unknown): thrown is Error {
  try {
    if (!(thrown instanceof Error)) return false
    for (const property of readProperties) void (thrown as Partial<CioError>)[property as 'code']
    return typeof thrown.message === 'string'
  } catch {
    return false
  }
}

/** Names a value and its type for an option's error. Never used on keys or passphrases. */
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

// JSON leaves these as they are: C1 controls drive terminals, the others reorder or hide text.
const unprintable = /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g
const quotedLength = 64

/** Cuts and escapes what a peer sent, so that it can stand in a message or a log line. */
export function quote(text: string): string {
  const cut = text.length > quotedLength ? `${text.slice(0, quotedLength)}…` : text
  return JSON.stringify(cut).replace(
    unprintable,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

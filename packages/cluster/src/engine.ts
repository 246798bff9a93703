/**
 * The contract of an engine: the connection between the instances of an application.
 *
 * An engine does not depend on Cio: it has subjects, requests, tables and letters. `memory()` and
 * `nats()` are engines, and `engineConforms()` of `@cio/cluster/testing` checks others.
 */

import { CioError } from 'cio'

/** A message that arrived at a subject. */
export interface Incoming {
  /** Must not be changed: other subscribers may have the same bytes. */
  readonly payload: Uint8Array
  /**
   * Answers a request; does nothing for any other message.
   *
   * @throws `ERR_CIO_PAYLOAD_SIZE`: the payload has more bytes than `maxPayload` of the engine
   */
  readonly reply: (payload: Uint8Array) => void
}

/** The interest in a subject. */
export interface Subscription {
  readonly unsubscribe: () => void
}

/** The time without a connection to the broker, in which messages were lost. */
export interface Gap {
  /** Milliseconds. */
  readonly duration: number
}

/** A row of a table. */
export interface Row {
  readonly key: string
  /** Null: the row was deleted. */
  readonly value: Uint8Array | null
  /** Rises with each change in the table: of two changes, the later one has the higher revision. */
  readonly revision: number
}

/** Options of `Engine.request()`. */
export interface RequestOptions {
  /** Milliseconds to wait for the answer. */
  readonly timeout: number
  /** Ends the wait. Without it, only the answer and the timeout do. */
  readonly signal?: AbortSignal
}

/** Options of `Engine.table()`. */
export interface TableOptions {
  /**
   * Milliseconds after its last change at which the broker forgets a row; at least 1_000. `Infinity`
   * keeps rows. If instances open a table with several, the longest counts.
   */
  readonly ttl: number
}

/** Options of `Table.watch()`. */
export interface WatchOptions {
  /**
   * Whether the watch begins with the rows that exist already.
   *
   * @default false
   */
  readonly snapshot?: boolean
  /** Ends the watch. */
  readonly signal: AbortSignal
}

/**
 * Rows in one total order, shared by all instances. Each method rejects with `ERR_CIO_CLUSTER_DOWN`
 * if there is no connection to the broker, or if the broker does not answer. In the second case,
 * the change may have been made.
 */
export interface Table {
  /**
   * The row of a key: undefined, or a row with the value null, if there is none. It may be older
   * than the last change. So never decide by it alone, but pass its revision to `replace()`.
   */
  get(key: string): Promise<Row | undefined>
  /** Sets a row, and fulfils with its revision. */
  put(key: string, value: Uint8Array): Promise<number>
  /**
   * Sets a row if its revision is still `revision`: the one that `get()` gives, or 0 where it gives
   * undefined. A row that was deleted may have one, so 0 alone does not mean "if there is no value".
   *
   * @throws `ERR_CIO_STALE`: the row has another revision
   */
  replace(key: string, value: Uint8Array, revision: number): Promise<number>
  /**
   * Deletes a row. If `revision` is given, only if the row still has that revision, as with
   * `replace()`.
   *
   * @throws `ERR_CIO_STALE`: the row has another revision
   */
  delete(key: string, revision?: number): Promise<void>
  /**
   * Passes on each change, in order. Fulfils when the watch has begun and the snapshot, if any, was
   * passed on. A watch ends when the engine goes down: start another after `up`, since changes were
   * missed. `take` must not throw, and must not wait.
   */
  watch(take: (row: Row) => void, options: WatchOptions): Promise<void>
}

/** A letter that waits for its receiver. */
export interface Letter {
  /** Rises with each letter of one name, whatever its key; also if the broker has lost the others. */
  readonly seq: number
  readonly payload: Uint8Array
}

/** A letter that is stored. */
export interface Appended {
  readonly seq: number
  /** Whether there was already a letter with this id; then `seq` is that of the first one. */
  readonly isDuplicate: boolean
}

/**
 * Options of `Engine.letters()`. Letters beyond the bounds are refused; letters older than `maxAge`
 * are dropped.
 */
export interface LettersOptions {
  /** Maximum letters that wait for one key. */
  readonly maxPerKey: number
  /** Maximum bytes that wait for all keys. */
  readonly maxBytes: number
  /** Maximum age in milliseconds; at least 1_000. */
  readonly maxAge: number
}

/**
 * Letters that wait, each for a key. Each method rejects with `ERR_CIO_CLUSTER_DOWN`, as the
 * methods of a table do.
 */
export interface Letters {
  /**
   * Stores a letter, unless the key had one with this id within two minutes. It survives a restart
   * of the broker.
   *
   * @throws `ERR_CIO_MAILBOX_FULL`: a bound is reached; existing letters stay
   */
  append(key: string, payload: Uint8Array, id: string): Promise<Appended>
  /** The oldest letter of a key after a `seq`, or undefined. */
  next(key: string, after: number): Promise<Letter | undefined>
  /** Removes a letter; does nothing if it does not exist. */
  remove(key: string, seq: number): Promise<void>
}

/**
 * The connection to the other instances: messages, requests, tables and letters. Subjects and keys
 * consist of `[A-Za-z0-9_=-]`, with dots between words: pass names through {@link encodeName}.
 */
export interface Engine {
  /** The id of this instance. It changes with each `open()`. */
  readonly instance: string
  /** Whether there is a connection to the broker. */
  readonly isUp: boolean
  /** The last error of an engine that is not up; undefined if it is up, or knows of none. */
  readonly downCause?: Error | undefined
  /** Maximum bytes of a payload: {@link maxPayload}, or less if the broker allows less. */
  readonly maxPayload: number
  /** Connects, and fulfils when the engine is up. The signal ends the attempts. */
  open(signal: AbortSignal): Promise<void>
  /** Ends all subscriptions, requests and watches. */
  close(): Promise<void>
  /**
   * Sends to all subscribers, at most once, in order; to those of this instance too.
   *
   * @throws `ERR_CIO_CLUSTER_DOWN`: there is no connection; the engine keeps nothing for later
   * @throws `ERR_CIO_PAYLOAD_SIZE`: the payload has more than `maxPayload` bytes
   */
  publish(subject: string, payload: Uint8Array): void
  /**
   * Receives the messages of a subject; after an outage, again as soon as `up` is emitted. `take`
   * must not throw or wait.
   */
  subscribe(subject: string, take: (message: Incoming) => void): Subscription
  /**
   * Sends, and fulfils with the first answer.
   *
   * @throws `ERR_CIO_NO_RESPONDER`: nothing subscribes to the subject; known at once
   * @throws `ERR_CIO_CLUSTER_DOWN`, `ERR_CIO_CALL_TIMEOUT`: the message may have arrived
   */
  request(subject: string, payload: Uint8Array, options: RequestOptions): Promise<Uint8Array>
  /** Opens a table, and makes it if there is none. */
  table(name: string, options: TableOptions): Promise<Table>
  /** Opens the letters of a name, and makes their store if there is none. */
  letters(name: string, options: LettersOptions): Promise<Letters>
  on(event: 'down', listener: () => void): this
  on(event: 'up', listener: (gap: Gap) => void): this
  off(event: 'down', listener: () => void): this
  off(event: 'up', listener: (gap: Gap) => void): this
}

/** Bytes for the headers of a message: a letter has its key and its id there. */
export const headerRoom = 4096

/** Maximum bytes of a payload: the default of NATS, without its headers. */
export const maxPayload: number = 1024 * 1024 - headerRoom

/** The minimum `ttl` of a table, in milliseconds. */
export const leastTtl = 1_000

/** Milliseconds in which a second letter with the same id is dropped; at most `maxAge`. */
export const duplicateWindow = 120_000

const words = /^[\w=-]+(?:\.[\w=-]+)*$/

/**
 * Checks a subject or a key.
 *
 * @throws `ERR_CIO_SUBJECT`: it has a wildcard, an empty word, or another character
 */
export function checkSubject(subject: string): void {
  if (words.test(subject)) return
  const rule = 'words of `[A-Za-z0-9_=-]` with dots between them; pass names through `encodeName`'
  throw new CioError('ERR_CIO_SUBJECT', `expected ${rule}, got ${JSON.stringify(subject)}`)
}

/**
 * Checks the size of a payload.
 *
 * @throws `ERR_CIO_PAYLOAD_SIZE`
 */
export function checkPayload(subject: string, { byteLength }: Uint8Array, most: number): void {
  if (byteLength <= most) return
  const what = `${byteLength} bytes, more than the ${most} that fit into one message`
  throw new CioError('ERR_CIO_PAYLOAD_SIZE', `the payload for \`${subject}\` has ${what}`)
}

/** The error of an engine without a connection to its broker. */
export function downError(what: string, cause?: unknown): CioError {
  const message = `${what}: there is no connection to the broker, or it does not answer`
  return new CioError('ERR_CIO_CLUSTER_DOWN', message, { cause })
}

/** The error of a request that nothing answers. */
export function noResponderError(subject: string): CioError {
  return new CioError('ERR_CIO_NO_RESPONDER', `nothing subscribes to \`${subject}\``)
}

/** The error of a request without an answer in time. */
export function requestTimeoutError(subject: string, timeout: number): CioError {
  const message = `no answer from \`${subject}\` within ${timeout} ms`
  return new CioError('ERR_CIO_CALL_TIMEOUT', message)
}

/** The error of a letter for which there is no room. */
export function fullError(key: string, cause?: unknown): CioError {
  const message = `no more letters may wait for \`${key}\`: the mailbox is full`
  return new CioError('ERR_CIO_MAILBOX_FULL', message, { cause })
}

/** The error of a row that has changed. */
export function staleError(key: string, cause?: unknown): CioError {
  const message = `the row \`${key}\` has changed since it was read`
  return new CioError('ERR_CIO_STALE', message, { cause })
}

/**
 * The listeners by which runs notice the end of their streams.
 *
 * One function serves all streams, since closures for each idle connection would cost heap. Each
 * stream holds its owners.
 */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { readyForPutBack } from '../streams/put-back.ts'
import { hasInputEnded } from '../streams/reading.ts'

/** A receiver of the events of a stream. */
export interface StreamOwner {
  readonly isSettled: boolean
  /** The last bytes of the input have arrived; they may be unread. */
  inputEnded(stream: Duplex): void
  /** The input has ended, and all of it was read. */
  ended(stream: Duplex): void
  /** The stream has closed. */
  gone(stream: Duplex): void
  /** All listeners but these were removed. */
  recount(stream: Duplex): void
}

/** The property of a stream that holds its owner. */
const owner: unique symbol = Symbol('cio.life')
/** The owners of outer runs over the same stream. */
const outer: unique symbol = Symbol('cio.outerLives')
type Owned = Duplex & { [owner]?: StreamOwner; [outer]?: StreamOwner[] }

/** Makes a run the owner of a stream: it gets the events of that stream. */
export function own(stream: Owned, by: StreamOwner): void {
  const before = stream[owner]
  if (before === by) return
  if (!before) {
    stream.on('error', destroyBy)
    stream.on('end', onEnd)
    stream.on('close', onClose)
    stream.removeAllListeners = removeListenersButOurs
    // A stream may already have its own `push` or `unshift`.
    if (!Object.hasOwn(stream, 'push')) stream.push = pushAndNotice
    if (!Object.hasOwn(stream, 'unshift')) stream.unshift = putBackAndNotice
  }
  if (!before || before.isSettled) stream[owner] = by
  // For a run inside another run over the same stream: both get its events.
  else if (!stream[outer]?.includes(by)) (stream[outer] ??= []).push(by)
}

/** Destroy a stream on `error` even if Node keeps it open, as it does after a TLS alert. */
function destroyBy(this: Duplex, error: Error): void {
  this.destroy(error)
}

function onEnd(this: Owned): void {
  this[owner]?.ended(this)
  this[outer]?.forEach((life) => life.ended(this))
}

function onClose(this: Owned): void {
  this[owner]?.gone(this)
  this[outer]?.forEach((life) => life.gone(this))
}

const listeners = { error: destroyBy, end: onEnd, close: onClose } as const

/** Replaces `push()` of a stream: Node emits nothing for an end of input behind unread bytes. */
function pushAndNotice(this: Owned, chunk: unknown, encoding?: BufferEncoding): boolean {
  const prototype = Object.getPrototypeOf(this) as Owned
  const hasRoom = prototype.push.call(this, chunk, encoding)
  // A socket without unread bytes emits `end` by itself.
  if (chunk === null && (this.readableLength > 0 || !(this instanceof Socket))) {
    process.nextTick(noticeEnd, this)
  }
  return hasRoom
}

/**
 * Replaces `unshift()` of a stream. The end of input may have come while a middleware held these
 * bytes, and only now lies behind unread bytes. Libraries also put bytes back, as ws does after an
 * upgrade.
 */
function putBackAndNotice(this: Owned, chunk: unknown, encoding?: BufferEncoding): void {
  const prototype = Object.getPrototypeOf(this) as Owned
  readyForPutBack(this)
  prototype.unshift.call(this, chunk, encoding)
  if (hasInputEnded(this)) process.nextTick(noticeEnd, this)
}

function noticeEnd(stream: Owned): void {
  stream[owner]?.inputEnded(stream)
  stream[outer]?.forEach((life) => life.inputEnded(stream))
}

/**
 * Replaces `removeAllListeners()` of a stream in use. A library that takes over a socket may remove
 * all listeners, as smtp-server does for STARTTLS. Without Cio's listeners an error would end the
 * process, and Cio would not notice the end of the connection.
 */
function removeListenersButOurs(this: Owned, ...events: string[]): Owned {
  const prototype = Object.getPrototypeOf(this) as Owned
  prototype.removeAllListeners.apply(this, events as [])
  const lives = [this[owner], ...(this[outer] ?? [])]
  if (lives.every((life) => !life || life.isSettled)) return this
  for (const [event, listener] of Object.entries(listeners)) {
    if (!this.listeners(event).includes(listener)) this.on(event, listener)
  }
  for (const life of lives) life?.recount(this)
  return this
}

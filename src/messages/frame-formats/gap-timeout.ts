/** The time limit for the next byte of a frame that is not complete. */

import { type Deadline, startDeadline } from '../../deadline.ts'
import { CioError } from '../../errors.ts'
import { checkDuration, optionError } from '../../options.ts'
import type { PartialMessage } from '../partial-message.ts'
import type { Decoder } from '../codec.ts'
import type { StreamContext } from '../../lifecycle/stream-context.ts'

const defaultGapTimeout = 30_000
/**
 * Deadlines are rounded up to one of so many parts of the time. That bounds the number of lists of
 * deadlines, and how late one may be.
 */
const parts = 16

/** @throws `ERR_CIO_OPTION` */
export function checkedGap(owner: string, gapTimeout: number = defaultGapTimeout): number {
  checkDuration(owner, 'gapTimeout', gapTimeout)
  if (gapTimeout > 0) return gapTimeout
  throw optionError(owner, 'gapTimeout', 'milliseconds of at least 1', gapTimeout)
}

/** A decoder that can give up the frame that it is in. */
interface GivesUp {
  giveUp?(): void
}

/**
 * A decoder that waits a limited time for the next byte of a frame. It has one deadline, which is set
 * when a frame is left partial and looks at the time of the last byte.
 */
export class GapTimeout<In> implements Decoder<In> {
  readonly #owner: string
  readonly #ctx: StreamContext
  readonly #timeout: number
  readonly #decoder: Decoder<In> & GivesUp
  #last = 0
  #deadline: Deadline | undefined
  #recheck: NodeJS.Immediate | undefined
  #closed = false

  constructor(owner: string, ctx: StreamContext, timeout: number, decoder: Decoder<In> & GivesUp) {
    this.#owner = owner
    this.#ctx = ctx
    this.#timeout = timeout
    this.#decoder = decoder
  }

  get remainder(): PartialMessage {
    return this.#decoder.remainder
  }

  decode(chunk: Buffer, into: In[]): void {
    this.#decoder.decode(chunk, into)
    if (this.#decoder.remainder.length === 0 || this.#closed) return
    this.#last = performance.now()
    this.#deadline ??= startDeadline(this.#timeout, this.#expire)
  }

  end(into: In[]): void {
    this.close()
    this.#decoder.end(into)
  }

  close(): void {
    this.#closed = true
    this.#deadline?.stop()
    this.#deadline = undefined
    clearImmediate(this.#recheck)
  }

  readonly #expire = (): void => {
    this.#deadline = undefined
    if (this.#decoder.remainder.length === 0) return
    const { stream } = this.#ctx
    // The stream is paused or has unread input, so it is not the sender that is silent.
    if (stream.isPaused() || stream.readableLength > 0) return this.#rearm(this.#timeout)
    const left = this.#timeout - (performance.now() - this.#last)
    if (left > 0) return this.#rearm(left)
    // If this process was blocked, let it read the pending input first.
    const last = this.#last
    this.#recheck = setImmediate(() => {
      if (this.#last !== last) return this.#rearm(this.#timeout)
      this.#end()
    })
  }

  #rearm(left: number): void {
    if (this.#closed) return
    const part = this.#timeout / parts
    this.#deadline ??= startDeadline(Math.ceil(left / part) * part, this.#expire)
  }

  #end(): void {
    const ctx = this.#ctx
    if (this.#closed || ctx.isClosed || this.#decoder.remainder.length === 0) return
    if (this.#decoder.giveUp) return this.#decoder.giveUp()
    const what = `${ctx.remote} sent nothing for ${this.#timeout} ms within a frame`
    const error = new CioError('ERR_CIO_FRAME_TIMEOUT', `${this.#owner}: ${what}`, {
      fault: 'remote',
    })
    if (ctx.kind === 'connection') ctx.destroy(error)
    // Not `destroy()`: a client may reconnect.
    else ctx.disconnect(error)
  }
}

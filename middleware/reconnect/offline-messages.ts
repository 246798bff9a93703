/** The placeholder for `ctx.messages` while a client has no connection. */

import type { ClientContext } from '../../src/client/client.ts'
import { CioError } from '../../src/errors.ts'
import type { Encoded } from '../../src/messages/encoded.ts'
import type { Interceptor } from '../../src/messages/interceptors.ts'
import type { Messages } from '../../src/messages/messages.ts'
import { handled, unawaited } from '../../src/lifecycle/unawaited.ts'

type AnyMessages = Messages<unknown>
type Result = IteratorResult<unknown, undefined>
type Waiting = () => void

/** Has the public members of `Messages`, but is not one, because `Messages` needs a stream. */
export class OfflineMessages
  implements AsyncIterableIterator<unknown>, Omit<AnyMessages, typeof Symbol.asyncIterator>
{
  readonly #ctx: ClientContext
  readonly #wait: number
  readonly #maxWaiting: number
  readonly #waiting = new Set<Waiting>()
  #isClosed = false

  constructor(ctx: ClientContext, wait: number, maxWaiting: number) {
    this.#ctx = ctx
    this.#wait = wait
    this.#maxWaiting = maxWaiting
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  send(message: unknown): Promise<void> {
    return this.#later((messages) => messages.send(message))
  }

  sendMany(messages: Iterable<unknown>): Promise<void> {
    return this.#later((arrived) => arrived.sendMany(messages))
  }

  /** Only the codec of a connection can encode. */
  encode(message: unknown): Encoded {
    if (!this.#ctx.connected) throw this.#gone(0)
    return this.#current().encode(message)
  }

  sendEncoded(encoded: Encoded): Promise<void> {
    return this.#later((messages) => messages.sendEncoded(encoded))
  }

  /** Interceptors belong to one connection. */
  intercept(interceptor: Interceptor<unknown>): () => void {
    if (!this.#ctx.connected) throw this.#gone(0)
    return this.#current().intercept(interceptor)
  }

  readonly accepts = (): boolean => false

  readonly isOpen = false
  readonly queued = 0

  end(): Promise<void> {
    return this.#later((messages) => messages.end())
  }

  next(): Promise<Result> {
    const next = async (): Promise<Result> => {
      const messages = await this.#arrived()
      return messages ? messages.next() : { done: true, value: undefined }
    }
    return handled(next())
  }

  each(handler: (message: unknown) => unknown, owner?: string): Promise<void> {
    const each = async (): Promise<void> => {
      const messages = await this.#arrived()
      if (messages) await messages.each(handler, owner)
    }
    return unawaited(this.#ctx, each())
  }

  release(): void {}

  /** There will be no more connections. */
  close(): void {
    this.#isClosed = true
    this.flush()
  }

  get hasMore(): boolean {
    return false
  }

  get bytesRead(): number {
    return 0
  }

  get isAwaited(): boolean {
    return false
  }

  moveTo(): void {}

  drained(): undefined {}

  encodeError(): undefined {}

  /** Lets waiting calls continue in order: there is a connection, or there will be none. */
  readonly flush = (): void => {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const go of waiting) go()
  }

  /** The messages of the next connection; undefined if there will be none. */
  async #arrived(): Promise<AnyMessages | undefined> {
    try {
      return await this.#reach((messages) => messages, Infinity)
    } catch (error) {
      if (this.#ctx.isDraining) return undefined
      throw error
    }
  }

  #later(use: (messages: AnyMessages) => Promise<void>): Promise<void> {
    return unawaited(this.#ctx, this.#reach(use, this.#wait))
  }

  #reach<Result>(
    use: (messages: AnyMessages) => Result | Promise<Result>,
    wait: number,
  ): Promise<Result> {
    return new Promise((resolve, reject) => {
      const act = (): void => {
        try {
          resolve(use(this.#current()))
        } catch (error) {
          reject(error)
        }
      }
      if (this.#ctx.connected) return act()
      if (wait === 0 || this.#isClosed || this.#ctx.isDraining) return reject(this.#gone(0))
      if (this.#waiting.size >= this.#maxWaiting) return reject(this.#full())
      const go = (): void => {
        clearTimeout(timer)
        if (this.#ctx.connected) act()
        else reject(this.#gone(0))
      }
      const expire = (): void => {
        this.#waiting.delete(go)
        reject(this.#gone(wait))
      }
      const timer = wait === Infinity ? undefined : setTimeout(expire, wait)
      this.#waiting.add(go)
    })
  }

  #current(): AnyMessages {
    const { messages } = this.#ctx as unknown as { readonly messages: unknown }
    if (messages !== this) return messages as AnyMessages
    throw new CioError(
      'ERR_CIO_NO_MESSAGES',
      'reconnect: ctx.messages is used, and no codec adds it; register one such as `json()`',
    )
  }

  #gone(waited: number): CioError {
    const how = waited === 0 ? '' : `, and there was no other within ${waited} ms`
    return new CioError('ERR_CIO_CLOSED', `the connection is gone${how}; nothing was sent`, {
      fault: 'remote',
      cause: this.#ctx.broken,
    })
  }

  #full(): CioError {
    return new CioError(
      'ERR_CIO_QUEUE_SIZE',
      `${this.#waiting.size} wait for the next connection already, as many as \`maxWaiting\`; await send() before the next`,
    )
  }
}

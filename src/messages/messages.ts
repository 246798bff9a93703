/** `ctx.messages`: the decoded layer above the stream, whatever the codec. */

import { CioError, asError, isCioError, quote } from '../errors.ts'
import type { PartialMessage } from './frame-decoder.ts'
import { MessageReader } from './message-reader.ts'
import { type Middleware, defineMiddleware } from '../pipeline/middleware.ts'
import { checkCount } from '../options.ts'
import { provide } from '../lifecycle/provide.ts'
import { MessageWriter, nothing } from './message-writer.ts'
import { Readers } from './readers.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import { handled, refused, unawaited } from '../lifecycle/unawaited.ts'

/** Turns bytes into messages, for one connection. */
export interface Decoder<In> {
  /** The bytes of a message that has begun and not ended. */
  readonly remainder: PartialMessage
  /** Adds the messages that a chunk completes. What it adds before it throws is delivered first. */
  decode(chunk: Buffer, into: In[]): void
  /** Adds what the end of input completes. */
  end(into: In[]): void
}

/** The two directions of a codec. */
export interface Codec<In, Out = In> {
  /** The name of its middleware, for errors. */
  readonly name: string
  /**
   * One for each connection: it may keep count of what the peer has been told. What it returns is
   * always sent, and in that order. It throws `ERR_CIO_ENCODE` (local) for a message that cannot be
   * written in this form.
   */
  readonly encoder: () => (message: Out) => string | Uint8Array
  /** One for each connection: it holds what is left over between chunks. */
  readonly decoder: () => Decoder<In>
}

/** What codecs have in common. */
export interface MessagesOptions<Message = unknown> {
  /**
   * Bytes of the longest message that is taken; `Infinity` takes any.
   *
   * @default 1_048_576
   */
  readonly maxLength?: number
  /**
   * Bytes that may wait to be sent, for senders that do not wait; `Infinity` lets them pile up.
   *
   * @default 16_777_216
   */
  readonly maxQueueSize?: number
  /** A schema that each received message must satisfy, and that types it: zod, valibot, arktype. */
  readonly validate?: StandardSchema<Message>
}

/** The part of Standard Schema (standardschema.dev, version 1) that is used. */
export interface StandardSchema<Output> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => Validation<Output> | Promise<Validation<Output>>
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined
  }
}

type Validation<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string }[] }

/** What a codec adds. */
export interface MessagesContext<In, Out = In> {
  messages: Messages<In, Out>
}

/** The default of `maxLength`, in bytes. */
export const defaultMaxLength: number = 1024 * 1024
const defaultMaxQueueSize = 16 * 1024 * 1024
const done: IteratorResult<never, undefined> = { done: true, value: undefined }

/**
 * The messages of one connection, both ways.
 *
 * Reading is one at a time, by `for await` or `next()`, or as fast as they come, by `each()`. The
 * loop ends with the input; while draining, it ends as soon as there is no message under way. It
 * leaves the stream open, also after `break`, and may be taken up again.
 *
 * The codec reads the stream: who reads it beneath gets what the codec has not taken, by chunks.
 */
export class Messages<In, Out = In> implements AsyncIterableIterator<In> {
  readonly #ctx: StreamContext
  readonly #codec: Codec<In, Out>
  readonly #inbox: MessageReader<In>
  readonly #outbox: MessageWriter<Out>
  readonly #validate: StandardSchema<In>['~standard']['validate'] | undefined
  readonly #readers: Readers

  constructor(ctx: StreamContext, codec: Codec<In, Out>, options: MessagesOptions<In> = {}) {
    const { maxQueueSize = defaultMaxQueueSize, validate } = options
    this.#ctx = ctx
    this.#codec = codec
    this.#inbox = new MessageReader(ctx, codec.decoder())
    this.#readers = new Readers(() => this.#inbox.isAwaited)
    this.#outbox = new MessageWriter(ctx, codec.encoder(), maxQueueSize)
    this.#validate = validate?.['~standard'].validate
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /**
   * The next message, or `done` at the end of input.
   *
   * @throws what the codec rejects, once the messages before it have been handed out
   * @throws `ERR_CIO_TWO_READERS` (local): another middleware waits for messages
   */
  next(): Promise<IteratorResult<In, undefined>> {
    const inbox = this.#inbox
    try {
      this.#readers.claim(this.#ctx.step)
      if (inbox.ready > 0 && !inbox.isAwaited) {
        // Not an async function: that would be two promises a message.
        const result = this.#result()
        return result instanceof Promise ? handled(result) : Promise.resolve(result)
      }
    } catch (error) {
      return refused(this.#ctx, error)
    }
    let promise: Promise<IteratorResult<In, undefined>> | undefined
    let canFail = false
    promise = new Promise((resolve, reject) => {
      inbox.wait((some) => {
        // Only then: a handler for each message would cost.
        canFail = !some || this.#validate !== undefined
        if (canFail && promise) void handled(promise)
        if (!some) return inbox.failure ? reject(inbox.failure) : resolve(done)
        try {
          resolve(this.#result())
        } catch (error) {
          reject(asError(error))
        }
      })
    })
    return canFail ? handled(promise) : promise
  }

  /**
   * Hands every message to a function until the end of input, without a promise for each. If it
   * returns a promise, the next one waits for it. Where nothing awaits it, a failure ends the
   * connection.
   *
   * @param owner The name of the middleware that makes something else of all messages, and shares
   *   them with no other reader; without it, that of the middleware that runs.
   * @throws what the codec rejects, or the function throws
   * @throws `ERR_CIO_TWO_READERS` (local): another middleware waits for messages
   */
  each(handler: (message: In) => unknown, owner?: string): Promise<void> {
    const ctx = this.#ctx
    const reading =
      owner === undefined
        ? this.#readAll(handler, ctx.step)
        : this.#readers.hold(owner, () => this.#readAll(handler))
    return unawaited(ctx, reading, (error) => {
      if (ctx.isClosed) return
      // A client that reconnects does so after what the other side did.
      if (isCioError(error) && error.fault === 'remote') ctx.disconnect(error)
      else ctx.destroy(error)
    })
  }

  async #readAll(handler: (message: In) => unknown, reader?: string): Promise<void> {
    const inbox = this.#inbox
    if (reader !== undefined) this.#readers.claim(reader)
    for (;;) {
      const pending = this.#hand(handler)
      if (pending) {
        await pending
        continue
      }
      if (reader !== undefined) this.#readers.claim(reader)
      const some = await new Promise<boolean>((resolve) => inbox.wait(resolve))
      if (some) continue
      if (inbox.failure) throw inbox.failure
      return
    }
  }

  /**
   * Sends a message; fulfils when it may be followed by more: at once, or when the peer has read
   * enough. It says nothing about what the peer has received.
   *
   * What is sent in one turn of the event loop is written together at its end.
   *
   * @throws `ERR_CIO_CLOSED` (remote): the connection is gone
   * @throws `ERR_CIO_QUEUE_SIZE` (local): more is waiting to be sent than `maxQueueSize`
   */
  send(message: Out): Promise<void> {
    return this.#outbox.send(message)
  }

  /** Sends several in one go, waiting in between where it has to. */
  sendMany(messages: Iterable<Out>): Promise<void> {
    return this.#outbox.sendMany(messages)
  }

  /**
   * Ends our direction; fulfils when all that was sent has been handed over.
   *
   * @throws `ERR_CIO_CLOSED` (remote): the connection was lost before
   */
  end(): Promise<void> {
    return this.#outbox.end()
  }

  /** Fulfils when more may be sent; undefined if it may at once. Rejects as `send()` does. */
  drained(): Promise<void> | undefined {
    return this.#outbox.drained()
  }

  /** Why a message has no form in this codec; undefined if it has one. Nothing is sent. */
  encodeError(message: Out): Error | undefined {
    try {
      // A new encoder: that of the connection keeps count of what the peer was sent.
      this.#codec.encoder()(message)
      return undefined
    } catch (thrown) {
      return asError(thrown)
    }
  }

  /** Writes what was gathered, and ends all reading: for the codec that made it. */
  close(): void {
    this.#outbox.flush()
    this.#inbox.close()
  }

  /** Writes what was gathered, and stops listening to the stream until it is read again. */
  release(): void {
    this.#outbox.flush()
    this.#inbox.release()
  }

  /** Whether something has come that nobody has taken, a message or a part of one. */
  get hasMore(): boolean {
    return this.#inbox.hasMore
  }

  /** Whether somebody waits for a message. */
  get isAwaited(): boolean {
    return this.#inbox.isAwaited
  }

  /**
   * Reads and writes another stream from now on, such as the one that TLS has made of the first:
   * for who changes it in the midst of a conversation. Nobody may be waiting.
   */
  moveTo(stream: StreamContext['stream']): void {
    this.#outbox.moveTo(stream)
    this.#inbox.moveTo(stream)
  }

  /** Hands over what is there, up to what has to be awaited. Apart, so that it is compiled early. */
  #hand(handler: (message: In) => unknown): PromiseLike<unknown> | undefined {
    const inbox = this.#inbox
    while (inbox.ready > 0) {
      const message = this.#take()
      if (message instanceof Promise) return message.then(handler)
      const returned = handler(message)
      if (returned !== nothing && isThenable(returned)) return returned
    }
    return undefined
  }

  #result(): IteratorResult<In, undefined> | Promise<IteratorResult<In, undefined>> {
    const message = this.#take()
    if (!(message instanceof Promise)) return { done: false, value: message }
    return message.then((value) => ({ done: false, value }))
  }

  #take(): In | Promise<In> {
    const message = this.#inbox.take()
    if (!this.#validate) return message
    const result = this.#validate(message)
    return result instanceof Promise
      ? result.then((settled) => this.#judge(settled))
      : this.#judge(result)
  }

  #judge(result: Validation<In>): In {
    if (!result.issues) return result.value
    const issues = result.issues.map((issue) => issue.message).join('; ')
    throw new CioError(
      'ERR_CIO_INVALID_MESSAGE',
      `${this.#ctx.remote} sent a message that does not validate: ${quote(issues)}`,
      { fault: 'remote' },
    )
  }
}

/** Whether it has to be awaited: a query builder is no Promise, and works when it is awaited. */
function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value
}

/**
 * Makes the middleware of a codec: it adds `ctx.messages`, and puts back those that it replaces.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function messages<In, Out = In>(
  codec: Codec<In, Out>,
  options: MessagesOptions<In> = {},
): Middleware<StreamContext, MessagesContext<In, Out>> {
  const { name } = codec
  checkCount(name, 'maxLength', options.maxLength ?? defaultMaxLength, 1)
  checkCount(name, 'maxQueueSize', options.maxQueueSize ?? defaultMaxQueueSize)

  const middleware = defineMiddleware<StreamContext, MessagesContext<In, Out>>(
    { name },
    async function addMessages(ctx, next) {
      const own = new Messages(ctx, codec, options)
      await provide(ctx, 'messages', own, async () => {
        try {
          await next()
        } finally {
          own.close()
        }
      })
    },
  )
  // Stacks show the codec, not what all codecs share.
  return Object.defineProperty(middleware, 'name', { value: name })
}

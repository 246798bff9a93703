/** `ctx.messages`: the decoded layer above the stream, whatever the codec. */

import type { Duplex } from 'node:stream'
import type { StreamContext } from './context.ts'
import { CioError, asError, quote } from './errors.ts'
import type { Remainder } from './framer.ts'
import { type Middleware, defineMiddleware } from './middleware.ts'
import { checkCount } from './option.ts'

/** Turns bytes into messages, for one connection. */
export interface Decoder<In> {
  /** The bytes of a message that has begun and not ended. */
  readonly remainder: Remainder
  /** Adds the messages that a chunk completes. What it adds before it throws is delivered first. */
  decode(chunk: Buffer, into: In[]): void
  /** Adds what the end of input completes. */
  end(into: In[]): void
}

/** The two directions of a codec. */
export interface Codec<In, Out = In> {
  /** The name of its middleware, for errors. */
  readonly name: string
  /** @throws `ERR_CIO_ENCODE` (app): the message cannot be written in this form */
  readonly encode: (message: Out) => string | Uint8Array
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

const nothing = Promise.resolve()
const ignore = (): void => {}

/**
 * The messages of one connection, both ways.
 *
 * Reading is one at a time, by `for await` or `next()`, or as fast as they come, by `each()`. The
 * loop ends with the input; while draining, it ends as soon as there is no message under way. It
 * leaves the stream open, also after `break`, and may be taken up again.
 */
export class Messages<In, Out = In> implements AsyncIterableIterator<In> {
  readonly #ctx: StreamContext
  readonly #stream: Duplex
  readonly #codec: Codec<In, Out>
  readonly #decoder: Decoder<In>
  readonly #maxQueueSize: number
  readonly #validate: StandardSchema<In>['~standard']['validate'] | undefined

  #batch: In[] = []
  #at = 0
  #failure: Error | undefined
  #ended = false
  #listening = false
  #wake = ignore
  #turn: Promise<unknown> = nothing
  #waiting = 0
  #drain: Promise<void> | undefined

  constructor(ctx: StreamContext, codec: Codec<In, Out>, options: MessagesOptions<In> = {}) {
    this.#ctx = ctx
    this.#stream = ctx.stream
    this.#codec = codec
    this.#decoder = codec.decoder()
    this.#maxQueueSize = options.maxQueueSize ?? defaultMaxQueueSize
    this.#validate = options.validate?.['~standard'].validate
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /**
   * The next message, or `done` at the end of input.
   *
   * @throws what the codec rejects, once the messages before it have been handed out
   */
  next(): Promise<IteratorResult<In, undefined>> {
    if (this.#waiting === 0 && this.#at < this.#batch.length && !this.#validate) {
      return Promise.resolve({ done: false, value: this.#batch[this.#at++]! })
    }
    this.#waiting += 1
    const turn = this.#turn.then(async (): Promise<IteratorResult<In, undefined>> => {
      if (!(await this.#more())) return { done: true, value: undefined }
      return { done: false, value: await this.#take() }
    })
    this.#turn = turn.catch(ignore).then(() => (this.#waiting -= 1))
    return turn
  }

  /**
   * Hands every message to a function until the end of input, without a promise for each. If it
   * returns a promise, the next one waits for it.
   *
   * @throws what the codec rejects, or the function throws
   */
  async each(handler: (message: In) => unknown): Promise<void> {
    while (await this.#more()) {
      while (this.#at < this.#batch.length) {
        const message = this.#take()
        const done: unknown = handler(message instanceof Promise ? await message : message)
        if (done instanceof Promise) await done
      }
    }
  }

  /**
   * Sends a message; fulfils when it may be followed by more: at once, or when the peer has read
   * enough. It says nothing about what the peer has received.
   *
   * @throws `ERR_CIO_CLOSED` (peer): the connection is gone
   * @throws `ERR_CIO_QUEUE_SIZE` (app): more is waiting to be sent than `maxQueueSize`
   */
  send(message: Out): Promise<void> {
    try {
      return this.#write(this.#codec.encode(message)) ? nothing : this.#drained()
    } catch (error) {
      const failed = Promise.reject(asError(error))
      // Who does not wait for a send must not find the process ended by it.
      failed.catch(ignore)
      return failed
    }
  }

  /** Sends several in one go, waiting in between where it has to. */
  async sendMany(messages: Iterable<Out>): Promise<void> {
    this.#stream.cork()
    try {
      for (const message of messages) {
        if (this.#write(this.#codec.encode(message))) continue
        this.#stream.uncork()
        await this.#drained()
        this.#stream.cork()
      }
    } finally {
      this.#stream.uncork()
    }
    if (this.#stream.writableNeedDrain) await this.#drained()
  }

  /** Ends our direction; fulfils when all that was sent has been handed over. */
  end(): Promise<void> {
    return new Promise((resolve) => this.#stream.end(resolve))
  }

  /** Stops listening to the stream: for the codec that made it. */
  release(): void {
    if (!this.#listening) return
    for (const event of ['readable', 'end', 'close']) this.#stream.off(event, this.#stir)
    this.#ctx.draining.removeEventListener('abort', this.#stir)
    this.#listening = false
  }

  #take(): In | Promise<In> {
    const message = this.#batch[this.#at]!
    this.#at += 1
    return this.#validate ? this.#check(message, this.#validate) : message
  }

  async #check(
    message: unknown,
    validate: StandardSchema<In>['~standard']['validate'],
  ): Promise<In> {
    const result = await validate(message)
    if (!result.issues) return result.value
    const issues = result.issues.map((issue) => issue.message).join('; ')
    throw new CioError(
      'ERR_CIO_INVALID_MESSAGE',
      `${this.#ctx.remote} sent a message that does not validate: ${quote(issues)}`,
      { fault: 'peer' },
    )
  }

  /** Reads until there is a message; false when there will be none. */
  async #more(): Promise<boolean> {
    while (this.#at >= this.#batch.length) {
      if (this.#failure) throw this.#failure
      if (this.#ended) return false
      const chunk = this.#stream.read() as Buffer | null
      if (!chunk && !this.#stream.readableEnded) {
        if (this.#stream.destroyed) throw (this.#failure = this.#gone())
        if (this.#ctx.isDraining && this.#decoder.remainder.length === 0) return false
        await this.#stirred()
        continue
      }
      this.#decode(chunk)
    }
    return true
  }

  #decode(chunk: Buffer | null): void {
    this.#batch = []
    this.#at = 0
    try {
      if (chunk) return this.#decoder.decode(chunk, this.#batch)
      this.#ended = true
      this.#decoder.end(this.#batch)
    } catch (error) {
      this.#failure = asError(error)
    }
  }

  readonly #stir = (): void => this.#wake()

  #stirred(): Promise<void> {
    if (!this.#listening) {
      this.#listening = true
      for (const event of ['readable', 'end', 'close']) this.#stream.on(event, this.#stir)
      this.#ctx.draining.addEventListener('abort', this.#stir)
    }
    return new Promise((resolve) => (this.#wake = resolve))
  }

  #write(bytes: string | Uint8Array): boolean {
    const stream = this.#stream
    if (!stream.writable) throw this.#gone()
    if (stream.writableLength > this.#maxQueueSize) {
      throw new CioError(
        'ERR_CIO_QUEUE_SIZE',
        `${stream.writableLength} bytes wait to be sent to ${this.#ctx.remote}, more than \`maxQueueSize\`; await send() before the next`,
      )
    }
    return stream.write(bytes)
  }

  #drained(): Promise<void> {
    if (this.#drain) return this.#drain
    const stream = this.#stream
    const drain = new Promise<void>((resolve, reject) => {
      const settle = (): void => {
        stream.off('drain', settle)
        stream.off('close', settle)
        this.#drain = undefined
        if (stream.destroyed) reject(this.#gone())
        else resolve()
      }
      stream.on('drain', settle)
      stream.on('close', settle)
    })
    drain.catch(ignore)
    return (this.#drain = drain)
  }

  #gone(): CioError {
    return new CioError('ERR_CIO_CLOSED', `the connection with ${this.#ctx.remote} is closed`, {
      fault: 'peer',
      cause: this.#ctx.broken,
    })
  }
}

/**
 * Makes the middleware of a codec: it adds `ctx.messages`, and takes it away again.
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
      const outer = ctx.messages
      const own = new Messages(ctx, codec, options)
      ctx.messages = own
      try {
        await next()
      } finally {
        own.release()
        ctx.messages = outer
      }
    },
  )
  // Stacks show the codec, not what all codecs share.
  return Object.defineProperty(middleware, 'name', { value: name })
}

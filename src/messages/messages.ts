/** `ctx.messages`: decoded messages over the stream, with any codec. */

import { CioError, asError, isCioError, quote } from '../errors.ts'
import { Encoded, contentOf } from './encoded.ts'
import { type Interceptor, Interceptors, kept } from './interceptors.ts'
import { BorderedDecoder } from './bordered.ts'
import { type BorderedCodec, type Codec, defaultMaxLength } from './codec.ts'
import { MessageReader } from './message-reader.ts'
import { type Middleware, defineMiddleware } from '../pipeline/middleware.ts'
import { checkCount, optionError } from '../options.ts'
import { Borders } from '../streams/borders.ts'
import { provide } from '../lifecycle/provide.ts'
import { MessageWriter, nothing } from './message-writer.ts'
import { Readers } from './readers.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import { handled, refused, unawaited } from '../lifecycle/unawaited.ts'
import { awaited } from '../thenable.ts'

/** Options of all codecs. */
export interface MessagesOptions<Message = unknown> {
  /**
   * Maximum length of a received message in bytes; `Infinity` accepts any.
   *
   * @default 1_048_576
   */
  readonly maxLength?: number
  /**
   * Maximum bytes waiting to be sent, for senders that do not await `send()`; `Infinity` sets no
   * bound.
   *
   * @default 16_777_216
   */
  readonly maxQueueSize?: number
  /**
   * A schema that validates and types each received message: zod, valibot, arktype. Without it, Cio
   * does not check messages.
   */
  readonly validate?: StandardSchema<Message>
}

/** The names of the options of all codecs. */
export const messagesOptionNames: readonly string[] = ['maxLength', 'maxQueueSize', 'validate']

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

/** The members that a codec adds to the context. */
export interface MessagesContext<In, Out = In> {
  /** The messages of the connection, in both directions. */
  messages: Messages<In, Out>
}

const defaultMaxQueueSize = 16 * 1024 * 1024
const done: IteratorResult<never, undefined> = { done: true, value: undefined }

/**
 * The messages of one connection, both ways.
 *
 * Read one at a time, by `for await` or `next()`, or as fast as they arrive, by `each()`. The loop
 * ends with the input; while draining, it ends between messages. It leaves the stream open, also
 * after `break`, and you may start another loop.
 *
 * The codec reads the stream; code that reads the stream directly gets the chunks that the codec
 * has not read.
 */
export class Messages<In, Out = In> implements AsyncIterableIterator<In> {
  readonly #ctx: StreamContext
  readonly #codec: Codec<In, Out>
  /** The codec in its form for this carrier. */
  readonly #form: Codec<In, Out> | BorderedCodec<In, Out>
  readonly #inbox: MessageReader<In>
  readonly #outbox: MessageWriter<Out>
  readonly #validate: StandardSchema<In>['~standard']['validate'] | undefined
  readonly #readers: Readers
  #interceptors: Interceptors | undefined

  constructor(ctx: StreamContext, codec: Codec<In, Out>, options: MessagesOptions<In> = {}) {
    const { maxQueueSize = defaultMaxQueueSize, validate } = options
    this.#ctx = ctx
    const { name, bordered } = codec
    const borders = bordered && Borders.of(ctx.stream)
    this.#codec = codec
    this.#form = borders ? bordered : codec
    const decoder = borders
      ? new BorderedDecoder(name, borders, bordered.maxLength, bordered.decoder(ctx))
      : codec.decoder(ctx)
    this.#inbox = new MessageReader(ctx, decoder)
    this.#readers = new Readers(() => this.#inbox.isAwaited)
    this.#outbox = new MessageWriter(ctx, this.#form.encoder(), maxQueueSize, !borders)
    this.#validate = validate?.['~standard'].validate
  }

  /** The messages, one at a time, until the end of input. */
  [Symbol.asyncIterator](): AsyncIterableIterator<In, undefined> {
    // The name of now: `ctx.step` moves on while the loop is busy with a message.
    const reader = this.#ctx.step
    const loop: AsyncIterableIterator<In, undefined> = {
      next: () => this.#next(reader),
      [Symbol.asyncIterator]: () => loop,
    }
    return loop
  }

  /**
   * The next message, or `done` at the end of input.
   *
   * @throws the error of the codec, after the reader has got the messages before it
   * @throws `ERR_CIO_TWO_READERS` (local): another middleware waits for messages
   */
  next(): Promise<IteratorResult<In, undefined>> {
    return this.#next(this.#ctx.step)
  }

  #next(reader: string): Promise<IteratorResult<In, undefined>> {
    const inbox = this.#inbox
    try {
      this.#readers.claim(reader)
      if (inbox.ready > 0 && !inbox.isAwaited) {
        // Not an async function: that would cost two promises for each message.
        const result = this.#result()
        if (result) return result instanceof Promise ? handled(result) : Promise.resolve(result)
      }
    } catch (error) {
      return refused(this.#ctx, error)
    }
    return this.#awaited()
  }

  #awaited(): Promise<IteratorResult<In, undefined>> {
    const inbox = this.#inbox
    let promise: Promise<IteratorResult<In, undefined>> | undefined
    let canFail = false
    promise = new Promise((resolve, reject) => {
      const take = (some: boolean): void => {
        // Only a promise that can reject gets a handler: one for each message would be slow.
        canFail = !some || this.#validate !== undefined || this.#interceptors !== undefined
        if (canFail && promise) void handled(promise)
        if (!some) return inbox.failure ? reject(inbox.failure) : resolve(done)
        try {
          const result = this.#result()
          if (result) resolve(result)
          else inbox.waitFirst(take)
        } catch (error) {
          reject(asError(error))
        }
      }
      inbox.wait(take)
    })
    return canFail ? handled(promise) : promise
  }

  /**
   * Passes each message to a function until the end of input, without a promise for each. If the
   * function returns a promise, the next message waits for it. If you do not await `each()`, a
   * failure ends the connection.
   *
   * @param owner The name of the middleware that consumes all messages exclusively; by default, the
   *   running middleware.
   * @throws the error of the codec, or of the function; `ERR_CIO_OPTION`: it is no function
   * @throws `ERR_CIO_TWO_READERS` (local): another middleware waits for messages
   */
  each(handler: (message: In) => unknown, owner?: string): Promise<void> {
    if (typeof handler !== 'function') throw optionError('each', 'handler', 'a function', handler)
    const ctx = this.#ctx
    const reading =
      owner === undefined
        ? this.#readAll(handler, ctx.step)
        : this.#readers.hold(owner, () => this.#readAll(handler))
    return unawaited(ctx, reading, (error) => {
      if (ctx.isClosed) return
      // A client that reconnects does so after an error of the other side.
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
   * Sends a message; fulfils when you may send more: at once, or when the peer has read enough. It
   * does not confirm that the peer received anything.
   *
   * Messages of one turn of the event loop are written together at its end.
   *
   * @throws `ERR_CIO_CLOSED` (remote): the connection is gone; (local): after your own `end()`
   * @throws `ERR_CIO_QUEUE_SIZE` (local): more than `maxQueueSize` is waiting to be sent
   */
  send(message: Out): Promise<void> {
    return this.#interceptors ? this.#seen(message) : this.#outbox.send(message)
  }

  /** Sends several messages, and waits between them if necessary. */
  sendMany(messages: Iterable<Out>): Promise<void> {
    return this.#outbox.sendMany(this.#interceptors?.sendingEach(messages) ?? messages)
  }

  /**
   * Encodes a message once, to send it to many connections by their `sendEncoded()`. Sends nothing.
   *
   * A codec with state, such as `msgpack` with its records, keeps the message, and encodes it for
   * each connection.
   *
   * @throws `ERR_CIO_ENCODE` (local): the codec cannot encode it
   */
  encode(message: Out): Encoded {
    const encoder = this.#form.encoder()
    const bytes = encoder(message)
    const isShared = encoder === this.#outbox.encode
    // Converted once, so that not each connection converts the text again. A WebSocket has to know
    // that it is text.
    const isConverted = typeof bytes === 'string' && this.#form === this.#codec
    const whole = isConverted ? Buffer.from(bytes) : bytes
    const shared = isShared ? whole : undefined
    return new Encoded({ form: this.#form, message, bytes: shared, size: Buffer.byteLength(whole) })
  }

  /**
   * Sends a message that this or another connection has encoded; fulfils and rejects as `send()`
   * does.
   *
   * @throws `ERR_CIO_ENCODE` (local): another codec has encoded it; see `accepts()`
   */
  sendEncoded(encoded: Encoded): Promise<void> {
    const content = contentOf(encoded)
    if (content?.form !== this.#form) return refused(this.#ctx, this.#foreign())
    const { bytes } = content
    const message = content.message as Out
    if (this.#interceptors) return this.#seen(message, bytes)
    return bytes !== undefined ? this.#outbox.sendBytes(bytes) : this.#outbox.send(message)
  }

  /** Whether `sendEncoded()` takes it: the same codec has encoded it, for the same carrier. */
  accepts(encoded: Encoded): boolean {
    return contentOf(encoded)?.form === this.#form
  }

  /**
   * Adds functions that see each message: a received message before its reader gets it, and a sent
   * message before it is encoded. For middleware that answers pings, or limits a rate. The
   * functions that were added first see a message first. Returns a function that removes them.
   */
  intercept(interceptor: Interceptor<In, Out>): () => void {
    return (this.#interceptors ??= new Interceptors()).add(interceptor)
  }

  /** Whether this side can still send: it has not ended, and the connection is there. */
  get isOpen(): boolean {
    return this.#outbox.isOpen
  }

  /** Bytes that wait to be sent. */
  get queued(): number {
    return this.#outbox.waiting
  }

  /**
   * Ends this side; fulfils when the kernel has accepted everything.
   *
   * @throws `ERR_CIO_CLOSED` (remote): the connection was lost before
   */
  end(): Promise<void> {
    return this.#outbox.end()
  }

  /** Fulfils when you may send more; undefined if you may at once. Rejects as `send()` does. */
  drained(): Promise<void> | undefined {
    return this.#outbox.drained()
  }

  /** The error of encoding a message; undefined if it can be encoded. Sends nothing. */
  encodeError(message: Out): Error | undefined {
    try {
      // A new encoder, since that of the connection has state that the peer shares.
      this.#form.encoder()(message)
      return undefined
    } catch (thrown) {
      return asError(thrown)
    }
  }

  /** Writes the batch, and ends all reading: for the codec that made it. */
  close(): void {
    this.#outbox.flush()
    this.#inbox.close()
  }

  /** Writes the batch, and stops listening to the stream until the next read. */
  release(): void {
    this.#outbox.flush()
    this.#inbox.release()
  }

  /** How many bytes were decoded, those of incomplete messages included. */
  get bytesRead(): number {
    return this.#inbox.bytesRead
  }

  /** Whether there is unread input: a message or a part of one. */
  get hasMore(): boolean {
    return this.#inbox.hasMore
  }

  /** Whether a reader waits for a message. */
  get isAwaited(): boolean {
    return this.#inbox.isAwaited
  }

  /**
   * Switches to another stream, such as the TLS stream after STARTTLS. No reader may be waiting.
   */
  moveTo(stream: StreamContext['stream']): void {
    this.#outbox.moveTo(stream)
    this.#inbox.moveTo(stream)
  }

  /**
   * Passes on the decoded messages, until one must be awaited. A separate function, so that V8
   * compiles it early.
   */
  #hand(handler: (message: In) => unknown): PromiseLike<unknown> | undefined {
    const inbox = this.#inbox
    while (inbox.ready > 0) {
      let message: In
      if (this.#isSeen) {
        const taken = this.#take()
        if (taken === kept) continue
        if (taken instanceof Promise) {
          return taken.then((late) => (late === kept ? undefined : handler(late)))
        }
        message = taken
      } else message = inbox.take()
      const returned = handler(message)
      if (returned !== nothing && isThenable(returned)) return returned
    }
    return undefined
  }

  /** Sends a message, or its bytes. The interceptors see the message. */
  #seen(message: Out, bytes?: string | Uint8Array): Promise<void> {
    try {
      this.#interceptors!.sending(message)
    } catch (error) {
      return refused(this.#ctx, error)
    }
    return bytes !== undefined ? this.#outbox.sendBytes(bytes) : this.#outbox.send(message)
  }

  #foreign(): CioError {
    const { name } = this.#codec
    return new CioError(
      'ERR_CIO_ENCODE',
      `${name}: another codec has encoded the message for ${this.#ctx.remote}; encode it by its own \`messages.encode()\``,
    )
  }

  /** The next decoded message; undefined if interceptors keep all decoded messages. */
  #result(): IteratorResult<In, undefined> | Promise<IteratorResult<In, undefined>> | undefined {
    let message: In | typeof kept | Promise<In | typeof kept> = kept
    while (message === kept) {
      if (this.#inbox.ready === 0) return undefined
      message = this.#take()
    }
    if (!(message instanceof Promise)) return { done: false, value: message }
    return message.then((value) => {
      return value === kept ? (this.#result() ?? this.#awaited()) : { done: false, value }
    })
  }

  /** Whether anything sees a received message before its reader. */
  get #isSeen(): boolean {
    return this.#interceptors !== undefined || this.#validate !== undefined
  }

  #take(): In | typeof kept | Promise<In | typeof kept> {
    const interceptors = this.#interceptors
    const message = this.#validated()
    if (!interceptors) return message
    return message instanceof Promise
      ? message.then((valid) => interceptors.received(valid))
      : interceptors.received(message)
  }

  #validated(): In | Promise<In> {
    const message = this.#inbox.take()
    if (!this.#validate) return message
    const result = this.#validate(message)
    const settling = awaited(result)
    return settling
      ? settling.then((settled) => this.#judge(settled))
      : this.#judge(result as Validation<In>)
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

/**
 * Whether a value is thenable. A query builder, for example, is not a Promise, and runs only when
 * it is awaited.
 */
function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value
}

/**
 * Makes the middleware of a codec: it adds `ctx.messages`, and restores the previous ones.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function messages<In, Out = In>(
  codec: Codec<In, Out>,
  options: MessagesOptions<In> = {},
): Middleware<StreamContext, MessagesContext<In, Out>> {
  const { name } = codec
  const { maxLength = defaultMaxLength, maxQueueSize = defaultMaxQueueSize, validate } = options
  checkCount(name, 'maxLength', maxLength, 1)
  checkCount(name, 'maxQueueSize', maxQueueSize)
  if (validate !== undefined && typeof validate?.['~standard']?.validate !== 'function') {
    throw optionError(name, 'validate', 'a schema of zod, valibot, arktype', validate)
  }

  const middleware = defineMiddleware<StreamContext, MessagesContext<In, Out>>(
    { name, pipelines: ['connection', 'client'] },
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
  // Stack traces show the codec, not this shared code.
  return Object.defineProperty(middleware, 'name', { value: name })
}

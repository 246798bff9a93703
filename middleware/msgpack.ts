import { type Options as MsgpackrOptions, Packr, Unpackr } from 'msgpackr'
import { CioError, asError } from '../src/errors.ts'
import { FrameDecoder, type Framing, syntaxError, tooLong } from '../src/framer.ts'
import {
  type MessagesContext,
  type MessagesOptions,
  defaultMaxLength,
  messages,
} from '../src/messages.ts'
import type { Middleware } from '../src/middleware.ts'
import { checkCount } from '../src/option.ts'
import type { StreamContext } from '../src/stream-context.ts'
import { Boundaries, type Limits } from './msgpack/boundaries.ts'
import { followers } from './msgpack/extensions.ts'

/** The options of msgpackr that are passed on, with its own names and meanings. */
type PassedOn = Pick<
  MsgpackrOptions,
  | 'copyBuffers'
  | 'encodeUndefinedAsNil'
  | 'int64AsType'
  | 'largeBigIntToFloat'
  | 'largeBigIntToString'
  | 'mapsAsObjects'
  | 'moreTypes'
  | 'onInvalidDate'
  | 'structuredClone'
  | 'useBigIntExtension'
  | 'useFloat32'
  | 'useTimestamp32'
  | 'useToJSON'
  | 'variableMapSize'
>

/** Options of {@link msgpack}: its own, and those of msgpackr that concern values. */
export interface MsgpackOptions<Message = unknown> extends MessagesOptions<Message>, PassedOn {
  /**
   * Arrays, maps and records within each other, at most.
   *
   * @default 128
   */
  readonly maxDepth?: number
  /**
   * Sends plain objects as records, msgpackr's extension that names their keys once a connection,
   * and reads them. False is MessagePack as every other implementation knows it.
   *
   * @default true
   */
  readonly useRecords?: boolean
}

/** What {@link msgpack} adds. */
export interface MsgpackContext<Message = unknown> extends MessagesContext<Message, unknown> {}

/** What a record is taken to cost besides its keys, in bytes. */
const recordOverhead = 64
const shownBytes = 16

/**
 * Makes messages of MessagePack values, by msgpackr.
 *
 * One value follows another, as msgpackr's own `PackrStream` writes and its `UnpackrStream` reads
 * them, records included. For peers that know only MessagePack itself, say `useRecords: false`.
 * Maps are read as objects unless `mapsAsObjects` is false; a key named `__proto__` is read as
 * `__proto_`. Extensions of one's own are registered by msgpackr's `addExtension`.
 *
 * Bytes of a value are a view of the chunk that they came in, and keep it in memory as long as
 * they are kept; `copyBuffers: true` copies them.
 *
 * The package `msgpackr` has to be installed; the import is `cio/msgpack`.
 *
 * @pipelines connection, client
 * @order after `secure`, before what reads `ctx.messages`
 * @adds `ctx.messages`
 * @rejects `ERR_CIO_SYNTAX` (peer): what came is not MessagePack, is nested deeper than `maxDepth`,
 *   or has an extension that is not read; `ERR_CIO_MESSAGE_TOO_LONG` (peer): a value, or all record
 *   definitions together, are longer than `maxLength`; `ERR_CIO_TRUNCATED` (peer): the input ended
 *   within a value; `ERR_CIO_INVALID_MESSAGE` (peer): a value does not satisfy `validate`;
 *   `ERR_CIO_ENCODE` (app): what is sent has no form in MessagePack
 * @throws `ERR_CIO_OPTION`: an option is out of its range
 * @see https://github.com/msgpack/msgpack/blob/master/spec.md
 *
 * @example
 * import { Cio } from 'cio'
 * import { msgpack } from 'cio/msgpack'
 *
 * const app = new Cio().useConnection(msgpack()).useConnection(async (ctx) => {
 *   for await (const message of ctx.messages) await ctx.messages.send({ echo: message })
 * })
 * const server = await app.listen(0)
 * await server.close()
 */
export function msgpack<Message = unknown>(
  options: MsgpackOptions<Message> = {},
): Middleware<StreamContext, MsgpackContext<Message>> {
  const {
    maxDepth = 128,
    maxLength = defaultMaxLength,
    maxQueueSize: _,
    validate: __,
    useRecords = true,
    ...passedOn
  } = options
  checkCount('msgpack', 'maxDepth', maxDepth, 1)
  const given = { mapsAsObjects: true, structuredClone: false, ...passedOn, useRecords }
  const limits: Limits = {
    maxLength,
    maxDepth,
    records: useRecords,
    follows: followers(given.moreTypes || given.structuredClone, given.structuredClone),
  }
  return messages<Message, unknown>(
    {
      name: 'msgpack',
      encoder: () => encoder(given),
      decoder: () => new FrameDecoder<Message>('msgpack', new Values<Message>(limits, given)),
    },
    options,
  )
}

function encoder(given: MsgpackrOptions): (message: unknown) => Buffer {
  let packr: Packr | undefined
  return (message) => {
    // msgpackr writes to the options that it is given.
    packr ??= new Packr({ ...given, sequential: true })
    try {
      return packr.pack(message)
    } catch (cause) {
      // It may count on a record that was not sent; a new one starts by defining its own.
      packr = undefined
      throw new CioError('ERR_CIO_ENCODE', 'msgpack: the message to send has no form in it', {
        cause,
      })
    }
  }
}

/** The values of one connection, with its records. */
class Values<In> implements Framing<In> {
  readonly #limits: Limits
  readonly #boundaries: Boundaries
  readonly #structures: object[] = []
  readonly #unpackr: Unpackr

  constructor(limits: Limits, given: MsgpackrOptions) {
    this.#limits = limits
    this.#boundaries = new Boundaries(limits)
    this.#unpackr = new Unpackr({ ...given, structures: this.#structures })
  }

  end(bytes: Buffer, start: number, offset: number): number {
    return this.#boundaries.end(bytes, start, offset)
  }

  open(bytes: Buffer, ends: readonly number[], into: In[], offset: number): void {
    const end = ends.at(-1)!
    const region = end === bytes.length ? bytes : bytes.subarray(0, end)
    let values: In[]
    try {
      values = this.#unpackr.unpackMultiple(region) as In[]
    } catch (thrown) {
      const cause: Error & { values?: In[]; lastPosition?: number } = asError(thrown)
      const { values: before = [], lastPosition = 0 } = cause
      for (const value of before) into.push(value)
      const shown = region.toString('hex', lastPosition, lastPosition + shownBytes)
      throw syntaxError('msgpack', 'is not MessagePack', offset + lastPosition, shown, cause)
    }
    for (const value of values) into.push(value)
    if (values.length !== ends.length) {
      throw syntaxError('msgpack', 'is ambiguous', offset, region.toString('hex', 0, shownBytes))
    }
    if (this.#boundaries.defined) this.#boundRecords()
  }

  /** Records are kept as long as the connection lives. */
  #boundRecords(): void {
    this.#boundaries.defined = false
    let length = 0
    for (const keys of Object.values(this.#structures)) {
      if (!Array.isArray(keys)) continue
      length += recordOverhead
      for (const key of keys as string[]) length += key.length
    }
    if (length > this.#limits.maxLength) throw tooLong('msgpack', this.#limits.maxLength)
  }
}

export { msgpack as default }

import { type Options as CborxOptions, Decoder as CborDecoder, Encoder } from 'cbor-x'
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
import { Boundaries, type Limits } from './cbor/boundaries.ts'

/** The options of cbor-x that are passed on, with its own names and meanings. */
type PassedOn = Pick<
  CborxOptions,
  | 'alwaysUseFloat'
  | 'copyBuffers'
  | 'encodeUndefinedAsNil'
  | 'largeBigIntToFloat'
  | 'mapsAsObjects'
  | 'onInvalidDate'
  | 'structuredClone'
  | 'tagUint8Array'
  | 'useFloat32'
  | 'useTimestamp32'
  | 'useToJSON'
  | 'variableMapSize'
>

/** Options of {@link cbor}: its own, and those of cbor-x that concern values. */
export interface CborOptions<Message = unknown> extends MessagesOptions<Message>, PassedOn {
  /**
   * Arrays, maps and tags within each other, at most.
   *
   * @default 128
   */
  readonly maxDepth?: number
  /**
   * Sends plain objects as records, cbor-x's extension that names their keys once a connection,
   * and reads them. False is CBOR as every other implementation knows it.
   *
   * @default true
   */
  readonly useRecords?: boolean
}

/** What {@link cbor} adds. */
export interface CborContext<Message = unknown> extends MessagesContext<Message, unknown> {}

/** String bundles and packed values: a few bytes of either can ask for a lot of work. */
const never = [0xdff9, 51]
/** What may be cyclic. */
const cloned = [28, 29]
const records = [0xdfff, 0xdffe, 105]
/** What a record is taken to cost besides its keys, in bytes. */
const recordOverhead = 64
const shownBytes = 16

/**
 * Makes messages of CBOR data items, by cbor-x.
 *
 * One item follows another (a CBOR sequence), as cbor-x's own `EncoderStream` writes and its
 * `DecoderStream` reads them, records included. For peers that know only CBOR itself, say
 * `useRecords: false`. Maps are read as objects unless `mapsAsObjects` is false; a key named
 * `__proto__` is read as `__proto_`. Strings of indefinite length are not read, since cbor-x does
 * not. Tags of one's own are registered by its `addExtension`; a tag that nobody knows is read as
 * its `Tag`.
 *
 * Bytes of an item are a view of the chunk that they came in, and keep it in memory as long as they
 * are kept; `copyBuffers: true` copies them.
 *
 * The package `cbor-x` has to be installed; the import is `cio/cbor`.
 *
 * @pipelines connection, client
 * @order after `secure`, before what reads `ctx.messages`
 * @adds `ctx.messages`
 * @rejects `ERR_CIO_SYNTAX` (peer): what came is not CBOR, is nested deeper than `maxDepth`, or has
 *   a tag that is not read; `ERR_CIO_MESSAGE_TOO_LONG` (peer): an item, or all record definitions
 *   together, are longer than `maxLength`; `ERR_CIO_TRUNCATED` (peer): the input ended within an
 *   item; `ERR_CIO_INVALID_MESSAGE` (peer): an item does not satisfy `validate`;
 *   `ERR_CIO_ENCODE` (app): what is sent has no form in CBOR
 * @throws `ERR_CIO_OPTION`: an option is out of its range
 * @see RFC 8949, and RFC 8742 for sequences
 *
 * @example
 * import { Cio } from 'cio'
 * import { cbor } from 'cio/cbor'
 *
 * const app = new Cio().useConnection(cbor()).useConnection(async (ctx) => {
 *   for await (const message of ctx.messages) await ctx.messages.send({ echo: message })
 * })
 * const server = await app.listen(0)
 * await server.close()
 */
export function cbor<Message = unknown>(
  options: CborOptions<Message> = {},
): Middleware<StreamContext, CborContext<Message>> {
  const {
    maxDepth = 128,
    maxLength = defaultMaxLength,
    maxQueueSize: _,
    validate: __,
    useRecords = true,
    ...passedOn
  } = options
  checkCount('cbor', 'maxDepth', maxDepth, 1)
  const given = { mapsAsObjects: true, ...passedOn, useRecords }
  const limits: Limits = {
    maxLength,
    maxDepth,
    refused: new Set([
      ...never,
      ...(given.structuredClone ? [] : cloned),
      ...(useRecords ? [] : records),
    ]),
  }
  return messages<Message, unknown>(
    {
      name: 'cbor',
      encoder: () => encoder(given),
      decoder: () => new FrameDecoder<Message>('cbor', new Items<Message>(limits, given)),
    },
    options,
  )
}

function encoder(given: CborxOptions): (message: unknown) => Buffer {
  let own: Encoder | undefined
  return (message) => {
    // cbor-x writes to the options that it is given.
    own ??= new Encoder({ ...given, sequential: true })
    try {
      return own.encode(message)
    } catch (cause) {
      // It may count on a record that was not sent; a new one starts by defining its own.
      own = undefined
      throw new CioError('ERR_CIO_ENCODE', 'cbor: the message to send has no form in it', { cause })
    }
  }
}

/** The items of one connection, with its records. */
class Items<In> implements Framing<In> {
  readonly #limits: Limits
  readonly #boundaries: Boundaries
  readonly #structures: object[] = []
  readonly #decoder: CborDecoder

  constructor(limits: Limits, given: CborxOptions) {
    this.#limits = limits
    this.#boundaries = new Boundaries(limits)
    this.#decoder = new CborDecoder({ ...given, structures: this.#structures })
  }

  end(bytes: Buffer, start: number, offset: number): number {
    return this.#boundaries.end(bytes, start, offset)
  }

  open(bytes: Buffer, ends: readonly number[], into: In[], offset: number): void {
    const end = ends.at(-1)!
    const region = end === bytes.length ? bytes : bytes.subarray(0, end)
    let items: In[]
    try {
      items = this.#decoder.decodeMultiple(region) as In[]
    } catch (thrown) {
      const cause: Error & { values?: In[]; lastPosition?: number } = asError(thrown)
      const { values: before = [], lastPosition = 0 } = cause
      for (const item of before) into.push(item)
      const shown = region.toString('hex', lastPosition, lastPosition + shownBytes)
      throw syntaxError('cbor', 'is not CBOR', offset + lastPosition, shown, cause)
    }
    for (const item of items) into.push(item)
    if (items.length !== ends.length) {
      throw syntaxError('cbor', 'is ambiguous', offset, region.toString('hex', 0, shownBytes))
    }
    if (this.#boundaries.defined) this.#boundRecords(offset)
  }

  /** Records are kept as long as the connection lives, and a peer may number them as it likes. */
  #boundRecords(offset: number): void {
    this.#boundaries.defined = false
    let length = 0
    for (const keys of Object.values(this.#structures)) {
      if (!Array.isArray(keys)) continue
      length += recordOverhead
      for (const key of keys as unknown[]) {
        if (typeof key !== 'string') {
          throw syntaxError('cbor', 'defines a record by what is not a string', offset, '')
        }
        length += key.length
      }
    }
    if (length > this.#limits.maxLength) throw tooLong('cbor', this.#limits.maxLength)
  }
}

export { cbor as default }

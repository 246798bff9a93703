import { type Options as CborxOptions, Decoder, Encoder } from 'cbor-x'
import { FrameDecoder } from '../src/messages/frame-decoder.ts'
import {
  type MessagesContext,
  type MessagesOptions,
  defaultMaxLength,
  messages,
} from '../src/messages/messages.ts'
import type { Middleware } from '../src/pipeline/middleware.ts'
import { checkCount } from '../src/options.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import { statefulEncoder } from '../src/messages/self-delimiting-values.ts'
import { Items } from './cbor/items.ts'

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
const ofRecords = [0xdfff, 0xdffe, 105]

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
 * @rejects `ERR_CIO_SYNTAX` (remote): what came is not CBOR, is nested deeper than `maxDepth`, or has
 *   a tag that is not read; `ERR_CIO_MESSAGE_TOO_LONG` (remote): an item, or all record definitions
 *   together, are longer than `maxLength`; `ERR_CIO_TRUNCATED` (remote): the input ended within an
 *   item; `ERR_CIO_INVALID_MESSAGE` (remote): an item does not satisfy `validate`;
 *   `ERR_CIO_ENCODE` (local): what is sent has no form in CBOR
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
  const refused = new Set([
    ...never,
    ...(given.structuredClone ? [] : cloned),
    ...(useRecords ? [] : ofRecords),
  ])
  return messages<Message, unknown>(
    {
      name: 'cbor',
      encoder: () =>
        statefulEncoder('cbor', () => {
          // cbor-x writes to the options that it is given.
          const encoder = new Encoder({ ...given, sequential: true })
          return (message) => encoder.encode(message)
        }),
      decoder() {
        const records: object[] = []
        const decoder = new Decoder({ ...given, structures: records })
        const decode = (region: Buffer): Message[] => decoder.decodeMultiple(region) as Message[]
        const format = { owner: 'cbor', name: 'CBOR', maxLength, maxDepth, decode, records }
        return new FrameDecoder('cbor', new Items(format, refused))
      },
    },
    options,
  )
}

export { cbor as default }

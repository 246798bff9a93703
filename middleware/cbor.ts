import { type Options as CborxOptions, Decoder, Encoder } from 'cbor-x'
import { defaultMaxLength } from '../src/messages/codec.ts'
import { type MessagesContext, type MessagesOptions, messages } from '../src/messages/messages.ts'
import type { Middleware } from '../src/pipeline/middleware.ts'
import { checkCount, checkFlag, checkOptionNames } from '../src/options.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import { valueCodec } from '../src/messages/value-codec.ts'
import { Items } from './cbor/items.ts'

/** The options of cbor-x that are passed to it, with its own names and meanings. */
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
   * The maximum nesting depth of arrays, maps and tags.
   *
   * @default 128
   */
  readonly maxDepth?: number
  /**
   * Sends and reads plain objects as records, an extension of cbor-x that sends the keys of an
   * object once for each connection. Other implementations do not support it.
   *
   * @default false
   */
  readonly useRecords?: boolean
}

const flags = [
  'alwaysUseFloat',
  'copyBuffers',
  'encodeUndefinedAsNil',
  'largeBigIntToFloat',
  'mapsAsObjects',
  'structuredClone',
  'tagUint8Array',
  'useRecords',
  'useTimestamp32',
  'useToJSON',
  'variableMapSize',
] as const

const known = [
  ...flags,
  'useFloat32',
  'maxDepth',
  'maxLength',
  'maxQueueSize',
  'onInvalidDate',
  'validate',
] as const

/** The context that {@link cbor} adds. */
export interface CborContext<Message = unknown> extends MessagesContext<Message, unknown> {}

/**
 * CBOR messages (RFC 8949), by cbor-x.
 *
 * The messages form a CBOR sequence: one item follows another. Cio reads maps as objects unless
 * `mapsAsObjects` is false, and a key named `__proto__` as `__proto_`. With `useRecords`, it is
 * compatible with the `EncoderStream` and the `DecoderStream` of cbor-x.
 *
 * Cio measures each item before cbor-x sees it, and rejects an item that it cannot measure as
 * cbor-x would. It does not support strings of indefinite length and simple values without a name.
 * Register your own tags with `addExtension` of cbor-x; Cio reads an unregistered tag as a `Tag`.
 *
 * Bytes of an item are a view of the received chunk, and keep it in memory as long as you keep
 * them; `copyBuffers: true` copies them.
 *
 * Install the package `cbor-x`, and import from `cio/cbor`.
 *
 * @pipelines connection, client
 * @order after `secure`, before what reads `ctx.messages`
 * @adds `ctx.messages`
 * @rejects `ERR_CIO_SYNTAX` (remote): the input is not CBOR, is nested deeper than `maxDepth`, or
 *   has an unsupported tag; `ERR_CIO_MESSAGE_TOO_LONG` (remote): an item, or all record definitions
 *   together, are longer than `maxLength`; `ERR_CIO_TRUNCATED` (remote): the input ended within an
 *   item; `ERR_CIO_INVALID_MESSAGE` (remote): an item does not satisfy `validate`; `ERR_CIO_ENCODE`
 *   (local): a sent message cannot be serialized as CBOR
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
  checkOptionNames('cbor', options, known)
  const {
    maxDepth = 128,
    maxLength = defaultMaxLength,
    maxQueueSize: _,
    validate: __,
    useRecords = false,
    mapsAsObjects = true,
    structuredClone = false,
    ...passedOn
  } = options
  checkCount('cbor', 'maxDepth', maxDepth, 1)
  for (const name of flags) checkFlag('cbor', name, options[name])
  const given = { ...passedOn, mapsAsObjects, structuredClone, useRecords }
  const read = { records: useRecords, mapsAsObjects, structuredClone }
  const encoder = () => {
    // cbor-x modifies the options object that it receives.
    const library = new Encoder({ ...given, sequential: true })
    return (message: unknown) => library.encode(message)
  }
  const values = () => {
    const decoder = new Decoder({ ...given, structures: [] })
    const decode = (region: Buffer): Message[] => decoder.decodeMultiple(region) as Message[]
    const bounds = { maxLength, maxDepth }
    // Within one region, cbor-x continues the numbers of shared values from one item to the next.
    const format = { owner: 'cbor', name: 'CBOR', ...bounds, decode, oneByOne: structuredClone }
    return new Items(format, read)
  }
  const library = { maxLength, hasState: useRecords, encoder, values }
  return messages<Message, unknown>(valueCodec('cbor', library), options)
}

export { cbor as default }

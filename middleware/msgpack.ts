import { type Options as MsgpackrOptions, Packr, Unpackr } from 'msgpackr'
import { defaultMaxLength } from '../src/messages/codec.ts'
import { type MessagesContext, type MessagesOptions, messages } from '../src/messages/messages.ts'
import type { Middleware } from '../src/pipeline/middleware.ts'
import { checkCount, checkFlag, checkOptionNames } from '../src/options.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import { valueCodec } from '../src/messages/value-codec.ts'
import { followers } from './msgpack/extensions.ts'
import { Values } from './msgpack/values.ts'

/** Options that Cio passes to msgpackr, with msgpackr's names and meanings. */
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

/** Options of {@link msgpack}: its own, and msgpackr's options for values. */
export interface MsgpackOptions<Message = unknown> extends MessagesOptions<Message>, PassedOn {
  /**
   * Maximum nesting depth of arrays, maps and records.
   *
   * @default 128
   */
  readonly maxDepth?: number
  /**
   * Sends and reads plain objects as records, an extension of msgpackr that sends the keys only
   * once per connection. Set it to false for standard MessagePack, which every implementation
   * reads.
   *
   * @default true
   */
  readonly useRecords?: boolean
}

const flags = [
  'copyBuffers',
  'encodeUndefinedAsNil',
  'largeBigIntToFloat',
  'largeBigIntToString',
  'mapsAsObjects',
  'moreTypes',
  'structuredClone',
  'useBigIntExtension',
  'useRecords',
  'useTimestamp32',
  'useToJSON',
  'variableMapSize',
] as const

const known = [
  ...flags,
  'useFloat32',
  'int64AsType',
  'maxDepth',
  'maxLength',
  'maxQueueSize',
  'onInvalidDate',
  'validate',
] as const

/** What {@link msgpack} adds. */
export interface MsgpackContext<Message = unknown> extends MessagesContext<Message, unknown> {}

/**
 * MessagePack messages, encoded and decoded by msgpackr.
 *
 * Values follow one another without a length prefix, records included, as in msgpackr's
 * `PackrStream` and `UnpackrStream`. For peers that know only standard MessagePack, set
 * `useRecords: false`. Maps become objects unless `mapsAsObjects` is false; a key named `__proto__`
 * becomes `__proto_`. Register your own extensions with msgpackr's `addExtension`.
 *
 * Bytes in a value are a view of the received chunk, and keep it in memory while you keep them;
 * `copyBuffers: true` copies them.
 *
 * Needs the package `msgpackr`: `npm install msgpackr`. The import is `cio/msgpack`.
 *
 * @pipelines connection, client
 * @order after `secure`, before what reads `ctx.messages`
 * @adds `ctx.messages`
 * @rejects `ERR_CIO_SYNTAX` (remote): the input is not MessagePack, is nested deeper than
 *   `maxDepth`, or has an unsupported extension; `ERR_CIO_MESSAGE_TOO_LONG` (remote): a value, or
 *   all record definitions together, are longer than `maxLength`; `ERR_CIO_TRUNCATED` (remote): the
 *   input ended within a value; `ERR_CIO_INVALID_MESSAGE` (remote): a value does not satisfy
 *   `validate`; `ERR_CIO_ENCODE` (local): MessagePack cannot represent the value to send
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
  checkOptionNames('msgpack', options, known)
  const {
    maxDepth = 128,
    maxLength = defaultMaxLength,
    maxQueueSize: _,
    validate: __,
    useRecords = true,
    mapsAsObjects = true,
    structuredClone = false,
    ...passedOn
  } = options
  checkCount('msgpack', 'maxDepth', maxDepth, 1)
  for (const name of flags) checkFlag('msgpack', name, options[name])
  const given = { ...passedOn, mapsAsObjects, structuredClone, useRecords }
  const read = {
    records: useRecords,
    mapsAsObjects,
    follows: followers(given.moreTypes || structuredClone, structuredClone),
  }
  const encoder = () => {
    // msgpackr modifies the options object that it receives.
    const packr = new Packr({ ...given, sequential: true })
    return (message: unknown) => packr.pack(message)
  }
  const values = () => {
    const unpackr = new Unpackr({ ...given, structures: [] })
    const decode = (region: Buffer): Message[] => unpackr.unpackMultiple(region) as Message[]
    const bounds = { maxLength, maxDepth }
    // An item must not refer to an earlier item.
    const oneByOne = structuredClone
    return new Values({ owner: 'msgpack', name: 'MessagePack', ...bounds, decode, oneByOne }, read)
  }
  const library = { maxLength, hasState: useRecords, encoder, values }
  return messages<Message, unknown>(valueCodec('msgpack', library), options)
}

export { msgpack as default }

import { type Options as MsgpackrOptions, Packr, Unpackr } from 'msgpackr'
import { FrameDecoder } from '../src/messages/frame-decoder.ts'
import {
  type MessagesContext,
  type MessagesOptions,
  defaultMaxLength,
  messages,
} from '../src/messages/messages.ts'
import type { Middleware } from '../src/pipeline/middleware.ts'
import { checkCount, checkOptionNames } from '../src/options.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import { statefulEncoder } from '../src/messages/self-delimiting-values.ts'
import { followers } from './msgpack/extensions.ts'
import { Values } from './msgpack/values.ts'

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

const known = [
  'copyBuffers',
  'encodeUndefinedAsNil',
  'int64AsType',
  'largeBigIntToFloat',
  'largeBigIntToString',
  'mapsAsObjects',
  'maxDepth',
  'maxLength',
  'maxQueueSize',
  'moreTypes',
  'onInvalidDate',
  'structuredClone',
  'useBigIntExtension',
  'useFloat32',
  'useRecords',
  'useTimestamp32',
  'useToJSON',
  'validate',
  'variableMapSize',
] as const

/** What {@link msgpack} adds. */
export interface MsgpackContext<Message = unknown> extends MessagesContext<Message, unknown> {}

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
 * @rejects `ERR_CIO_SYNTAX` (remote): what came is not MessagePack, is nested deeper than `maxDepth`,
 *   or has an extension that is not read; `ERR_CIO_MESSAGE_TOO_LONG` (remote): a value, or all record
 *   definitions together, are longer than `maxLength`; `ERR_CIO_TRUNCATED` (remote): the input ended
 *   within a value; `ERR_CIO_INVALID_MESSAGE` (remote): a value does not satisfy `validate`;
 *   `ERR_CIO_ENCODE` (local): what is sent has no form in MessagePack
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
    mapsAsObjects = true,
    structuredClone = false,
    ...passedOn
  } = options
  checkOptionNames('msgpack', options, known)
  checkCount('msgpack', 'maxDepth', maxDepth, 1)
  const given = { ...passedOn, mapsAsObjects, structuredClone, useRecords }
  const read = {
    records: useRecords,
    mapsAsObjects,
    follows: followers(given.moreTypes || structuredClone, structuredClone),
  }
  return messages<Message, unknown>(
    {
      name: 'msgpack',
      encoder: () =>
        statefulEncoder('msgpack', () => {
          // msgpackr writes to the options that it is given.
          const packr = new Packr({ ...given, sequential: true })
          return (message) => packr.pack(message)
        }),
      decoder() {
        const unpackr = new Unpackr({ ...given, structures: [] })
        const decode = (region: Buffer): Message[] => unpackr.unpackMultiple(region) as Message[]
        const format = {
          owner: 'msgpack',
          name: 'MessagePack',
          maxLength,
          maxDepth,
          decode,
          // An item must not refer to one before it.
          oneByOne: structuredClone,
        }
        return new FrameDecoder('msgpack', new Values(format, read))
      },
    },
    options,
  )
}

export { msgpack as default }

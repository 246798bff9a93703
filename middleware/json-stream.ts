import { CioError } from '../src/errors.ts'
import { defaultMaxLength } from '../src/messages/codec.ts'
import { type MessagesContext, type MessagesOptions, messages } from '../src/messages/messages.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkCount, checkObject, checkOptionNames, optionError } from '../src/options.ts'
import { Pump } from '../src/messages/pump.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import { ValueDecoder } from './json-stream/decoder.ts'

/** Handles a value; the next one waits for its promise. An error ends the connection. */
export type JsonHandler = (value: unknown, ctx: StreamContext & JsonStreamContext) => unknown

/** Options of {@link jsonStream}. */
export interface JsonStreamOptions<Message = unknown> extends MessagesOptions<Message> {
  /**
   * Handles each whole value at the root.
   *
   * @default without any handler, `ctx.messages` delivers them
   */
  readonly root?: JsonHandler
  /**
   * Handlers for these keys of the objects at the root; `*` is any key. A key must not contain a
   * full stop.
   *
   * @default nothing
   */
  readonly top?: Readonly<Record<string, JsonHandler>>
  /**
   * Handlers for the values at these paths: `$` is the root, and `$.orders.*.id` is the `id` of
   * each of its `orders`. Keys that contain a full stop have no path.
   *
   * @default nothing
   */
  readonly paths?: Readonly<Record<string, JsonHandler>>
  /**
   * The maximum nesting depth of objects and arrays. `Infinity` accepts any, for peers that you
   * trust: the time for each value grows with its depth.
   *
   * @default 64
   */
  readonly maxDepth?: number
  /**
   * Spaces of indentation for each level of sent values, for human readers; 0 sends one line.
   *
   * @default 0
   */
  readonly indent?: number
}

/** The context that {@link jsonStream} adds. */
export interface JsonStreamContext<Message = unknown> extends MessagesContext<Message, unknown> {}

const defaultMaxDepth = 64
const maxIndent = 10

/**
 * Streaming JSON: parses concatenated values, pretty-printed or not.
 *
 * With handlers, `jsonStream` reads the connection itself. It passes each matching value to its
 * handlers as soon as the value is complete, one after the other. It does not keep other values. So
 * you can read an endless array by its elements: `paths: { '$.*': … }`. `maxLength` limits each
 * value passed to a handler, not the value around it. Handlers send with `ctx.messages.send`. If
 * the input ends within a value, the error comes after the values before it.
 *
 * Cio skips a byte order mark at the beginning of the input.
 *
 * If each value is one line, `json` is several times as fast. Install the package
 * `@streamparser/json`, and import from `cio/json-stream`.
 *
 * @pipelines connection, client
 * @order after `secure`, before what reads `ctx.messages`
 * @adds `ctx.messages`
 * @rejects `ERR_CIO_SYNTAX` (remote): the input is not JSON, not UTF-8, or nested deeper than
 *   `maxDepth`; `ERR_CIO_MESSAGE_TOO_LONG` (remote): a value, or a skipped text, is longer than
 *   `maxLength`; `ERR_CIO_TRUNCATED` (remote): the input ended within a value;
 *   `ERR_CIO_INVALID_MESSAGE` (remote): a message does not satisfy `validate`; `ERR_CIO_ENCODE`
 *   (local): a sent message cannot be serialized as JSON; any error that a handler throws,
 *   unchanged
 * @throws `ERR_CIO_OPTION`: an option is of the wrong kind or out of its range
 * @see RFC 8259
 *
 * @example
 * import { Cio } from 'cio'
 * import { jsonStream } from 'cio/json-stream'
 *
 * const app = new Cio().useConnection(
 *   jsonStream({
 *     top: { header: (header) => console.log('header', header) },
 *     paths: { '$.items.*': (item, ctx) => ctx.messages.send({ took: item }) },
 *   }),
 * )
 * const server = await app.listen(0)
 * await server.close()
 */
export function jsonStream<Message = unknown>(
  options: JsonStreamOptions<Message> = {},
): Middleware<StreamContext, JsonStreamContext<Message>> {
  checkOptionNames('jsonStream', options, known)
  const { root, top = {}, paths = {}, indent = 0, validate } = options
  const { maxLength = defaultMaxLength, maxDepth = defaultMaxDepth } = options
  checkCount('jsonStream', 'maxDepth', maxDepth, 1)
  checkCount('jsonStream', 'indent', indent)
  if (indent > maxIndent) throw optionError('jsonStream', 'indent', `${maxIndent} at most`, indent)

  checkObject('jsonStream', 'top', top)
  checkObject('jsonStream', 'paths', paths)
  const handlers = [
    ...(root !== undefined ? [handlerOf('root', '$', root)] : []),
    ...Object.entries(top).map(([key, handler]) => {
      if (!key.includes('.')) return handlerOf('top', `$.${key}`, handler)
      throw optionError(
        'jsonStream',
        'top',
        'keys without dots; use `paths` for nested values',
        key,
      )
    }),
    ...Object.entries(paths).map(([path, handler]) => handlerOf('paths', path, handler)),
  ]
  const write = (message: unknown): string => encode(message, indent)
  const encoder = () => write
  const bounds = { maxLength, maxDepth }

  if (handlers.length === 0) {
    const decoder = () => new ValueDecoder(['$'], bounds, (value) => value as Message)
    return messages<Message, unknown>({ name: 'jsonStream', encoder, decoder }, options)
  }
  if (validate) {
    throw optionError(
      'jsonStream',
      'validate',
      'absent when there are handlers, since it validates only `ctx.messages`',
      validate,
    )
  }
  const selectors = handlers.map(({ path }) => path)
  const decoder = () =>
    new ValueDecoder<Found>(selectors, bounds, (value, keys) => ({
      value,
      takers: handlers.filter((handler) => matches(handler, keys)),
    }))
  const addMessages = messages<Found, unknown>(
    { name: 'jsonStream', encoder, decoder },
    options as MessagesOptions<never>,
  ) as unknown as Middleware<StreamContext, JsonStreamContext>

  return defineMiddleware<StreamContext, JsonStreamContext<Message>>(
    { name: 'jsonStream', pipelines: ['connection', 'client'] },
    async function jsonStream(ctx, next) {
      await addMessages(ctx, async () => {
        const take = (found: unknown): unknown => callHandlers(found as Found, ctx)
        const pump = new Pump(ctx, { owner: 'jsonStream', take, maxRunning: 1 })
        pump.start()
        await pump.run(next)
      })
    },
  )
}

const known = [
  'root',
  'top',
  'paths',
  'maxDepth',
  'maxLength',
  'maxQueueSize',
  'indent',
  'validate',
] as const

interface Handler {
  readonly path: string
  readonly keys: readonly string[]
  readonly take: JsonHandler
}

interface Found {
  readonly value: unknown
  readonly takers: readonly Handler[]
}

function handlerOf(option: string, path: string, take: unknown): Handler {
  if (typeof take !== 'function') throw optionError('jsonStream', option, 'functions', take)
  const [start, ...keys] = path.split('.')
  if (start !== '$' || keys.includes('')) {
    throw optionError('jsonStream', option, 'paths such as `$.items.*`, keys without dots', path)
  }
  return { path, keys, take: take as JsonHandler }
}

function matches({ keys }: Handler, to: readonly (string | number)[]): boolean {
  return keys.length === to.length && keys.every((key, at) => key === '*' || key === String(to[at]))
}

/** Returns no promise if no handler returns one. */
function callHandlers(
  { value, takers }: Found,
  ctx: StreamContext & JsonStreamContext,
  from = 0,
): Promise<void> | undefined {
  for (let at = from; at < takers.length; at++) {
    const taken = takers[at]!.take(value, ctx)
    if (taken instanceof Promise)
      return taken.then(() => callHandlers({ value, takers }, ctx, at + 1))
  }
  return undefined
}

function encode(message: unknown, indent: number): string {
  let text: string | undefined
  try {
    text = JSON.stringify(message, undefined, indent)
  } catch (cause) {
    const what = 'jsonStream: the message cannot be serialized as JSON'
    throw new CioError('ERR_CIO_ENCODE', what, { cause })
  }
  if (text !== undefined) return `${text}\n`
  throw new CioError(
    'ERR_CIO_ENCODE',
    `jsonStream: a ${typeof message} cannot be serialized as JSON`,
  )
}

export { jsonStream as default }

import { isPromise } from 'node:util/types'
import { CioError } from '../src/errors.ts'
import type { MessagesContext } from '../src/messages/messages.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkCount, checkOptionNames, optionError } from '../src/options.ts'
import { provide } from '../src/lifecycle/provide.ts'
import { Pump } from '../src/messages/pump.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'

/** Options of {@link events}. */
export interface EventsOptions {
  /**
   * Concurrency limit: how many promises of listeners may be pending before Cio stops reading. 1
   * handles one event after the other; `Infinity` never stops reading.
   *
   * @default 100
   */
  readonly maxRunning?: number
}

/** Events by their names, each with its arguments: `{ move: [x: number, y: number] }`. */
export type EventMap<Map> = Record<keyof Map, readonly unknown[]>

/** Any event with any arguments. */
export type AnyEvents = Record<string, unknown[]>

/** The context that {@link events} adds. */
export interface EventsContext<
  Incoming extends EventMap<Incoming> = AnyEvents,
  Outgoing extends EventMap<Outgoing> = AnyEvents,
> {
  /** The events of the connection, in both directions. */
  events: Events<Incoming, Outgoing>
}

type Name<Map> = keyof Map & string
type Listener<Args extends readonly unknown[] = readonly unknown[]> = (...args: Args) => unknown

interface Entry {
  readonly listener: Listener<never>
  readonly once: boolean
}

const reserved = 'error'
/** Far below the limit of arguments of a function call, which depends on the stack. */
const maxArguments = 10_000

/**
 * Typed events over messages, both ways, like an EventEmitter.
 *
 * Each event is an array of a name and its arguments. Over `json()` it is the wire format of the
 * npm package `duplex-emitter`. Cio begins to read one turn of the event loop after the first
 * listener is attached. On a server it also begins when the end of the pipeline is reached without
 * one. So attach listeners before the first `await`; Cio ignores events without a listener. The
 * types describe what the peer should send, and check nothing: give the codec a `validate`.
 *
 * A listener that throws or rejects ends the connection. The name `error` cannot be used here, and
 * is ignored from the peer. All other names are allowed, `__proto__` too.
 *
 * @pipelines connection, client
 * @order after a codec, before the listeners
 * @adds `ctx.events`
 * @needs `ctx.messages` that take any value: `json`, `msgpack`, `contentLength`
 * @rejects `ERR_CIO_SYNTAX` (remote): a message is not an array that begins with a name, or has
 *   more than 10_000 arguments; `ERR_CIO_EVENT_NAME` (local): the name is `error` or not a string;
 *   `ERR_CIO_NO_MESSAGES` (local): there is no codec before it; any error that a listener throws
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range
 * @see https://www.npmjs.com/package/duplex-emitter
 *
 * @example
 * import { Cio, events, json } from 'cio'
 *
 * interface Incoming { add: [a: number, b: number] }
 * interface Outgoing { sum: [sum: number] }
 *
 * const app = new Cio()
 *   .useConnection(json())
 *   .useConnection(events<Incoming, Outgoing>())
 *   .useConnection(async (ctx, next) => {
 *     ctx.events.on('add', (a, b) => ctx.events.emit('sum', a + b))
 *     await next()
 *   })
 * const server = await app.listen(0)
 * await server.close()
 */
export function events<
  Incoming extends EventMap<Incoming> = AnyEvents,
  Outgoing extends EventMap<Outgoing> = AnyEvents,
>(
  options: EventsOptions = {},
): Middleware<StreamContext & MessagesContext<unknown>, EventsContext<Incoming, Outgoing>> {
  checkOptionNames('events', options, ['maxRunning'])
  const { maxRunning = 100 } = options
  checkCount('events', 'maxRunning', maxRunning, 1)

  return defineMiddleware<
    StreamContext & MessagesContext<unknown>,
    EventsContext<Incoming, Outgoing>
  >({ name: 'events', pipelines: ['connection', 'client'] }, async function events(ctx, next) {
    const take = (message: unknown): void => dispatch(own, pump, ctx, message)
    const pump = new Pump(ctx, { owner: 'events', maxRunning, take })
    const own = new Events<Incoming, Outgoing>(pump)
    await provide(ctx, 'events', own, () => pump.run(next))
  })
}

/** The events of one connection. */
export class Events<
  Incoming extends EventMap<Incoming> = AnyEvents,
  Outgoing extends EventMap<Outgoing> = AnyEvents,
> {
  readonly #pump: Pump
  readonly #entries = new Map<string, readonly Entry[]>()
  #begun = false

  constructor(pump: Pump) {
    this.#pump = pump
  }

  /**
   * Attaches a listener for an event of the peer.
   *
   * @throws `ERR_CIO_EVENT_NAME` (local): the name is `error` or no string
   * @throws `ERR_CIO_OPTION` (local): the listener is no function
   */
  on<Event extends Name<Incoming>>(name: Event, listener: Listener<Incoming[Event]>): this {
    return this.#add(name, { listener, once: false })
  }

  /** Attaches a listener that is removed when it is called. */
  once<Event extends Name<Incoming>>(name: Event, listener: Listener<Incoming[Event]>): this {
    return this.#add(name, { listener, once: true })
  }

  /** Removes a listener; if it was attached several times, the last one. */
  off<Event extends Name<Incoming>>(name: Event, listener: Listener<Incoming[Event]>): this {
    const entries = this.#entries.get(name) ?? []
    return this.#remove(
      name,
      entries.findLast((entry) => entry.listener === listener),
    )
  }

  /**
   * Sends an event to the peer. Resolves when more may be sent; it does not mean that the peer has
   * received the event.
   *
   * @throws `ERR_CIO_CLOSED` (remote), `ERR_CIO_QUEUE_SIZE` (local): as `ctx.messages.send()`
   * @throws `ERR_CIO_EVENT_NAME` (local): the name is `error` or no string
   */
  emit<Event extends Name<Outgoing>>(name: Event, ...args: Outgoing[Event]): Promise<void> {
    checkName(name)
    return this.#pump.send([name, ...args])
  }

  /**
   * The listeners of an event, in their order; removes those attached by `once`. For the middleware
   * that created the object.
   */
  listeners(name: string): readonly Listener[] {
    const entries = this.#entries.get(name)
    if (!entries) return []
    for (const entry of entries) if (entry.once) this.#remove(name, entry)
    return entries.map(({ listener }) => listener as Listener)
  }

  #add(name: string, entry: Entry): this {
    checkName(name)
    const { listener } = entry
    if (typeof listener !== 'function') throw optionError('events', name, 'a function', listener)
    this.#entries.set(name, [...(this.#entries.get(name) ?? []), entry])
    // One turn later, so that other code can attach its listeners in this turn.
    if (!this.#begun) setImmediate(this.#pump.start)
    this.#begun = true
    return this
  }

  #remove(name: string, gone: Entry | undefined): this {
    const left = this.#entries.get(name)?.filter((entry) => entry !== gone) ?? []
    if (left.length > 0) this.#entries.set(name, left)
    else this.#entries.delete(name)
    return this
  }
}

/** `duplex-emitter` throws in the peer's process if an `error` event has no listener there. */
function checkName(name: unknown): void {
  if (typeof name === 'string' && name !== reserved) return
  const what = name === reserved ? 'is reserved; give it another name' : 'must be a string'
  throw new CioError('ERR_CIO_EVENT_NAME', `events: the name of an event ${what}`)
}

function dispatch(
  events: Pick<Events, 'listeners'>,
  pump: Pump,
  ctx: StreamContext,
  message: unknown,
): void {
  if (!Array.isArray(message) || typeof message[0] !== 'string') {
    const what = 'which is not an array that begins with a name'
    throw new CioError('ERR_CIO_SYNTAX', `events: ${ctx.remote} sent a message ${what}`, {
      fault: 'remote',
    })
  }
  if (message.length - 1 > maxArguments) {
    const what = `an event of ${message.length - 1} arguments, more than ${maxArguments}`
    throw new CioError('ERR_CIO_SYNTAX', `events: ${ctx.remote} sent ${what}`, { fault: 'remote' })
  }
  const listeners = events.listeners(message[0])
  if (listeners.length === 0) return
  const args: unknown[] = message.slice(1)
  for (const listener of listeners) {
    const done = listener(...args)
    if (isPromise(done)) pump.track(done)
  }
}

export { events as default }

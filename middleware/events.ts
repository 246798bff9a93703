import { isPromise } from 'node:util/types'
import { CioError } from '../src/errors.ts'
import type { MessagesContext } from '../src/messages/messages.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkCount, checkOptionNames } from '../src/options.ts'
import { provide } from '../src/lifecycle/provide.ts'
import { Pump } from '../src/messages/pump.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'

/** Options of {@link events}. */
export interface EventsOptions {
  /**
   * Listeners whose promises may be pending at once; then nothing more is read until one is done.
   * 1 takes one event after the other; `Infinity` reads on whatever they do.
   *
   * @default 100
   */
  readonly maxRunning?: number
}

/** Events by their names, each with its arguments: `{ move: [x: number, y: number] }`. */
export type EventMap<Map> = Record<keyof Map, readonly unknown[]>

/** Any event with any arguments. */
export type AnyEvents = Record<string, unknown[]>

/** What {@link events} adds. */
export interface EventsContext<
  Incoming extends EventMap<Incoming> = AnyEvents,
  Outgoing extends EventMap<Outgoing> = AnyEvents,
> {
  events: Events<Incoming, Outgoing>
}

type Name<Map> = keyof Map & string
type Listener<Args extends readonly unknown[] = readonly unknown[]> = (...args: Args) => unknown

interface Entry {
  readonly listener: Listener<never>
  readonly once: boolean
}

const reserved = 'error'
/** Far fewer than a call can have, which depends on the stack. */
const maxArguments = 10_000

/**
 * Makes events of messages, both ways: each is an array of a name and arguments.
 *
 * Over `json()` it is the wire format of the npm package `duplex-emitter`. Reading begins one turn
 * of the event loop after the first listener is attached, or when a server's pipeline has come to
 * its far end without one. So attach listeners before the first `await`; what comes without a
 * listener is passed over. The types say what is expected of the peer and check nothing: give the
 * codec a `validate`.
 *
 * A listener that throws or rejects ends the connection. The name `error` is refused here and
 * passed over from the peer; all other names are just names, `__proto__` too.
 *
 * @pipelines connection, client
 * @order after a codec, before the listeners
 * @adds `ctx.events`
 * @needs `ctx.messages` that take any value: `json`, `msgpack`, `contentLength`
 * @rejects `ERR_CIO_SYNTAX` (remote): a message is not an array that begins with a name, or has more
 *   than 10_000 arguments; `ERR_CIO_EVENT_NAME` (local): the name is `error` or no string;
 *   `ERR_CIO_NO_MESSAGES` (local): no codec stands before it; what a listener throws
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range
 * @see https://www.npmjs.com/package/duplex-emitter
 *
 * @example
 * import { Cio, events, json } from 'cio'
 *
 * interface Asked { add: [a: number, b: number] }
 * interface Told { sum: [sum: number] }
 *
 * const app = new Cio()
 *   .useConnection(json())
 *   .useConnection(events<Asked, Told>())
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
  >({ name: 'events' }, async function events(ctx, next) {
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
   * Attaches a listener for what the peer emits.
   *
   * @throws `ERR_CIO_EVENT_NAME` (local): the name is `error` or no string
   */
  on<Event extends Name<Incoming>>(name: Event, listener: Listener<Incoming[Event]>): this {
    return this.#add(name, { listener, once: false })
  }

  /** Attaches a listener that is taken off when it is called. */
  once<Event extends Name<Incoming>>(name: Event, listener: Listener<Incoming[Event]>): this {
    return this.#add(name, { listener, once: true })
  }

  /** Takes a listener off: of those that are the same, the one that came last. */
  off<Event extends Name<Incoming>>(name: Event, listener: Listener<Incoming[Event]>): this {
    const entries = this.#entries.get(name) ?? []
    return this.#remove(
      name,
      entries.findLast((entry) => entry.listener === listener),
    )
  }

  /**
   * Sends an event to the peer; fulfils when it may be followed by more. It says nothing about what
   * the peer has received.
   *
   * @throws `ERR_CIO_CLOSED` (remote), `ERR_CIO_QUEUE_SIZE` (local): as `ctx.messages.send()`
   * @throws `ERR_CIO_EVENT_NAME` (local): the name is `error` or no string
   */
  emit<Event extends Name<Outgoing>>(name: Event, ...args: Outgoing[Event]): Promise<void> {
    checkName(name)
    return this.#pump.send([name, ...args])
  }

  /** Who listens, in their order; those for once are taken off. For the middleware that made it. */
  listeners(name: string): readonly Listener[] {
    const entries = this.#entries.get(name)
    if (!entries) return []
    for (const entry of entries) if (entry.once) this.#remove(name, entry)
    return entries.map(({ listener }) => listener as Listener)
  }

  #add(name: string, entry: Entry): this {
    checkName(name)
    this.#entries.set(name, [...(this.#entries.get(name) ?? []), entry])
    // One turn later: others may attach theirs in this one.
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

/** `duplex-emitter` throws in the peer's process where nobody listens for its `error`. */
function checkName(name: unknown): void {
  if (typeof name === 'string' && name !== reserved) return
  const what = name === reserved ? 'is reserved; give it another name' : 'has to be a string'
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
  const [name, ...args] = message as [string, ...unknown[]]
  for (const listener of events.listeners(name)) {
    const done = listener(...args)
    if (isPromise(done)) pump.track(done)
  }
}

export { events as default }

/** The scenarios of `conforms()`. */

import { isDeepStrictEqual } from 'node:util'
import { isCioError } from '../errors.ts'
import { isEndOfConnection } from '../network-errors.ts'
import type { Middleware } from '../pipeline/middleware.ts'
import { chunksOf } from '../streams/chunks-of.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import type { ConformsOptions } from './conforms-options.ts'
import { type End, type Outcome, type Scenario, type Stage, runScenario } from './scenario.ts'
import { ResourceLeaks } from './resource-leaks.ts'
import { type MiddlewarePromise, type Invocation, nameOf, watch } from './instrument.ts'

const texts = ['hello', 'conforms', 'ünïcode', '']
const several = 8
const places = [0, 0.02, 0.2, 0.5, 0.8, 0.98]

/** A broken promise of the contract. */
export interface Break {
  readonly promise: MiddlewarePromise
  readonly where: string
  readonly what: string
}

/** All scenarios of one middleware. */
export class ConformanceRun {
  readonly breaks: Break[] = []
  readonly tried: Set<MiddlewarePromise> = new Set()
  readonly #make: () => Middleware<StreamContext>
  readonly #options: ConformsOptions
  readonly #timeout: number
  #visits: Invocation[] = []
  #where = ''

  constructor(make: () => Middleware<StreamContext>, options: ConformsOptions, timeout: number) {
    this.#make = make
    this.#options = options
    this.#timeout = timeout
  }

  async run(end: End): Promise<void> {
    this.#where = `in the ${end} pipeline`
    this.#check(
      'has a name',
      nameOf(this.#make()) !== '',
      'its function and its hints have no name',
    )

    const talk = this.#options.talk ?? ((ctx, connection) => this.#talk(ctx, connection))
    const plain = { inside: this.#options.answer ?? echo, outside: talk }
    const first = await this.#play(end, 'a conversation', plain, 'carries the conversation')
    const goesOn = this.#visits.some(({ nexts }) => nexts > 0)
    if (this.breaks.some(({ promise }) => promise === 'carries the conversation')) return
    await this.#play(end, 'the same conversation again', plain, 'works twice')
    const crowd = { ...plain, connections: several }
    await this.#play(end, `${several} at once`, crowd, 'works on several connections at once')
    if (goesOn) await this.#tryWhatIsInside(end)
    for (const how of ['destroyed', 'reset'] as const) {
      for (const place of places) {
        const cut = { after: Math.floor(first.bytes * place), how }
        const scene = `a peer that is ${how} after ${cut.after} of ${first.bytes} bytes`
        const { over } = await this.#play(
          end,
          scene,
          { ...plain, cut },
          'survives the peer leaving',
        )
        // After a timeout, stop: each further cut would take as long.
        if (!over) return
      }
    }
  }

  async #tryWhatIsInside(end: End): Promise<void> {
    const thrown = new Error('thrown by conforms()')
    const fail = async (): Promise<never> => {
      await new Promise(setImmediate)
      throw thrown
    }
    const wait = async (ctx: StreamContext): Promise<void> => drain(ctx)
    await this.#play(end, 'an error inside', { inside: fail, outside: wait })
    const passed = this.#visits.every(({ nexts, inner, end: how }) => {
      return nexts === 0 || (typeof how === 'object' && has(how.thrown, inner))
    })
    this.#check(
      'passes errors on',
      passed,
      'what next() rejected with was not what it rejected with',
    )

    if (this.#options.talk) return
    let heard = false
    const half = {
      inside: async (ctx: StreamContext) => {
        ctx.stream.end()
        await drain(ctx)
        heard = true
      },
      outside: async (ctx: StreamContext) => {
        await drain(ctx)
        ctx.stream.end()
      },
    }
    const { over } = await this.#play(end, 'an end from inside, before that of the peer', half)
    const what = 'an end on one side was not one on the other'
    this.#check('passes ends on', over && heard, what)
  }

  /** Runs a scenario. Its promise is broken if the scenario fails or does not end. */
  async #play(
    end: End,
    where: string,
    scene: Omit<Scenario, 'timeout'>,
    about?: MiddlewarePromise,
  ): Promise<Outcome> {
    const place = `in the ${end} pipeline, ${where}`
    this.#where = place
    this.#visits = []
    const traces = new ResourceLeaks()
    const stray: string[] = []
    const note = (thrown: unknown): void => void stray.push(String(thrown))
    process.on('uncaughtException', note)
    process.on('unhandledRejection', note)
    const outcome = await traces.during(() => {
      return runScenario(this.#stage(end), { ...scene, timeout: this.#timeout })
    })
    // Node reports an unhandled rejection one turn later.
    await new Promise(setImmediate)
    process.off('uncaughtException', note)
    process.off('unhandledRejection', note)
    for (const left of await traces.left()) this.#tell('leaves nothing behind', `it left ${left}`)
    traces.stop()
    for (const thrown of stray) {
      this.#tell('survives the peer leaving', `nothing handled a thrown value: ${thrown}`)
    }
    for (const left of outcome.piled) this.#tell('leaves nothing behind', `it left ${left}`)
    for (const promise of always) this.tried.add(promise)
    if (about) this.#judge(about, outcome, scene.cut !== undefined)
    return outcome
  }

  #judge(about: MiddlewarePromise, { over, errors, outside }: Outcome, gone: boolean): void {
    this.#check(about, over, `it was not over after ${this.#timeout} ms`)
    const bad = gone ? errors.filter((error) => !isOfThePeer(error)) : [...errors, ...outside]
    if (over && bad.length > 0) this.#tell(about, `it ended by ${bad[0]!.message}`)
  }

  #stage(end: End): Stage {
    const { counterpart, setUp = () => {}, listen = {}, connect = {} } = this.#options
    const other = counterpart === undefined ? this.#make : counterpart
    const subject = watch(this.#make(), this.#visits, (promise, what) => this.#tell(promise, what))
    return { end, subject, counterpart: other?.(), setUp, listen, connect } as Stage
  }

  /** Sends some bytes, ends, and expects them back. */
  async #talk(ctx: StreamContext, connection: number): Promise<void> {
    const { values = texts } = this.#options
    if (ctx.hasMessages) {
      const { messages } = ctx as StreamContext & Messaging
      const sent = [...values.slice(connection % values.length), ...values]
      const got: unknown[] = []
      const send = async (): Promise<void> => {
        for (const value of sent) await messages.send(value)
        ctx.stream.end()
      }
      const receive = async (): Promise<void> => {
        for await (const message of messages) got.push(message)
      }
      await Promise.all([send(), receive()])
      if (!isDeepStrictEqual(got, sent))
        throw new Error('the received data differs from the sent data')
      return
    }
    const sent = `connection ${connection}, `.repeat(50)
    ctx.stream.end(sent)
    let got = ''
    for await (const chunk of chunksOf(ctx.stream)) got += chunk.toString()
    if (got !== sent) throw new Error('the received data differs from the sent data')
  }

  #check(promise: MiddlewarePromise, kept: boolean, what: string): void {
    this.tried.add(promise)
    if (!kept) this.#tell(promise, what)
  }

  #tell(promise: MiddlewarePromise, what: string): void {
    const told = this.breaks.some((one) => one.promise === promise && one.what === what)
    if (!told) this.breaks.push({ promise, where: this.#where, what })
  }
}

const always = [
  'calls next() once',
  'waits for next()',
  'puts back what it replaces',
  'leaves nothing behind',
] as const

interface Messaging {
  readonly messages: AsyncIterable<unknown> & { send(message: unknown): Promise<void> }
}

/** An echo until the end of input. */
async function echo(ctx: StreamContext): Promise<void> {
  if (ctx.hasMessages) {
    const { messages } = ctx as StreamContext & Messaging
    for await (const message of messages) await messages.send(message)
    return
  }
  for await (const chunk of chunksOf(ctx.stream)) ctx.stream.write(chunk)
}

/** Reads and discards until the end. */
async function drain(ctx: StreamContext): Promise<void> {
  const source: AsyncIterable<unknown> = ctx.hasMessages
    ? (ctx as StreamContext & Messaging).messages
    : chunksOf(ctx.stream)
  // Until its end.
  for await (const _piece of source);
}

/** Whether an error is the other one, or has it as a cause. */
function has(error: unknown, wanted: unknown): boolean {
  if (error === wanted) return true
  return error instanceof Error && error.cause !== undefined && has(error.cause, wanted)
}

const over = new Set(['ERR_CIO_CLOSED', 'ERR_CIO_CLOSING'])

/** Whether a connection may end with this error after one side has ended it. */
function isOfThePeer(error: Error): boolean {
  if (isCioError(error)) return error.fault === 'remote' || over.has(error.code)
  return isEndOfConnection(error)
}

/**
 * The formats that two releases have to share (docs/guide/stability.md). test/fixtures/frozen/ holds what
 * the first release wrote: these files never change. Today's code writes the same bytes in the same
 * conversation, and today's server answers the recorded client as it was answered then.
 */

import test, { type ExecutionContext } from 'ava'
import { readFile } from 'node:fs/promises'
import type { Duplex } from 'node:stream'
import {
  Cio,
  type MuxedContext,
  events,
  json,
  multiplex,
  rpc,
  rpcError,
  sessionTickets,
} from '../src/index.ts'
import { identity } from './support/certificates.ts'
import { duplexPair } from './support/duplex-pair.ts'
import { everyCut } from './support/every-cut.ts'
import { serve } from './support/serve.ts'
import { nextEvent } from './support/transports.ts'

const folder = new URL('fixtures/frozen/', import.meta.url)
const frozen = async (name: string): Promise<unknown> =>
  JSON.parse(await readFile(new URL(`${name}.json`, folder), 'utf8'))

/** What each side of a conversation wrote, in hexadecimal digits. */
interface Conversation {
  readonly client: string
  readonly server: string
}

interface Calls {
  add(params: [a: number, b: number]): number
  fail(): never
  missing(): void
}

const shout = new Cio<MuxedContext>().useConnection(async ({ muxed, stream }) => {
  const { language = '' } = muxed.headers
  let text = ''
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    text += String(chunk)
    if (text === 'hello') stream.write(`${muxed.name} ${language} ${text.toUpperCase()}`)
  }
})

const apps = {
  multiplex: () => new Cio().useConnection(multiplex(shout)),
  events: () =>
    new Cio()
      .useConnection(json())
      .useConnection(events<{ move: [x: number, to: { y: number }] }, Record<string, unknown[]>>())
      .useConnection(async (ctx, next) => {
        ctx.events.on('move', (x, { y }) => ctx.events.emit('moved', x + y, null, 'é'))
        await next()
      }),
  rpc: () =>
    new Cio().useConnection(json()).useConnection(
      rpc<{}, Omit<Calls, 'missing'>>({
        methods: {
          add: ([a, b]) => a + b,
          fail: () => {
            throw rpcError(7, 'it failed', { why: 'é' })
          },
        },
      }),
    ),
}

/** Has a conversation over memory; passes what each side wrote. */
const talks: Record<keyof typeof apps, (wire: () => Duplex) => Promise<unknown>> = {
  async multiplex(wire) {
    const app = new Cio().useClient(multiplex(new Cio<MuxedContext>()))
    const client = await app.connect({ port: 1, createConnection: wire })
    const stream = await client.mux.open('greeting', { language: 'en' })
    stream.write('hello')
    const answer: Buffer[] = []
    for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
      answer.push(chunk as Buffer)
      stream.end()
    }
    await client.close()
    return String(Buffer.concat(answer))
  },
  async events(wire) {
    const app = new Cio()
      .useClient(json())
      .useClient(events<{ moved: unknown[] }, { move: [number, { y: number }] }>())
    const client = await app.connect({ port: 1, createConnection: wire })
    const moved = new Promise<unknown[]>((resolve) => {
      client.events.on('moved', (...args) => resolve(args))
    })
    await client.events.emit('move', 1, { y: 2 })
    const args = await moved
    await client.close()
    return args
  },
  async rpc(wire) {
    const app = new Cio().useClient(json()).useClient(rpc<Calls>())
    const client = await app.connect({ port: 1, createConnection: wire })
    const results: unknown[] = [await client.rpc.call('add', [1, 2])]
    await client.rpc.notify('add', [3, 4])
    for (const name of ['fail', 'missing'] as const) {
      results.push(await client.rpc.call(name).catch((error: Error) => error.message))
    }
    await client.close()
    return results
  },
}

/** Keeps what is written to a stream. */
function tap(stream: Duplex, into: Buffer[]): Duplex {
  const write = stream._write.bind(stream)
  stream._write = (chunk: Buffer, encoding, done) => {
    into.push(Buffer.from(chunk))
    write(chunk, encoding, done)
  }
  return stream
}

const hex = (chunks: readonly Buffer[]): string => Buffer.concat(chunks).toString('hex')

async function converse(name: keyof typeof apps): Promise<Conversation & { result: unknown }> {
  const client: Buffer[] = []
  const server: Buffer[] = []
  const app = apps[name]()
  const closed = nextEvent(app, 'close')
  const result = await talks[name](() => {
    const [near, far] = duplexPair()
    app.handle(tap(far, server))
    return tap(near, client)
  })
  await closed
  return { client: hex(client), server: hex(server), result }
}

/** What today's server answers to these bytes. */
async function answer(t: ExecutionContext, app: Cio, pieces: readonly Buffer[]): Promise<string> {
  const [near, far] = duplexPair()
  const written: Buffer[] = []
  const closed = nextEvent(app, 'close')
  app.handle(tap(far, written))
  near.resume()
  for (const piece of pieces) {
    near.write(piece)
    await new Promise(setImmediate)
  }
  near.end()
  const [, end] = await closed
  t.is(end.code, undefined)
  return hex(written)
}

for (const name of ['multiplex', 'events', 'rpc'] as const) {
  test(`${name} writes what the first release wrote, and understands it`, async (t) => {
    t.deepEqual(await converse(name), await frozen(name))
  })

  test(`${name} answers the client of the first release as it was answered, wherever it is cut`, async (t) => {
    const { client, server } = (await frozen(name)) as Conversation
    for (const pieces of everyCut(Buffer.from(client, 'hex'))) {
      const answered = await answer(t, apps[name](), pieces)
      t.is(answered, server, `the first piece has ${pieces[0]!.length} bytes`)
    }
  })
}

test('sessionTickets derives the keys of the first release', async (t) => {
  const { secret, ticketKeys, sessionIdContext } = (await frozen('session-tickets')) as Record<
    string,
    string
  >
  const ca = await readFile(new URL('ca.crt', folder))
  const app = new Cio().useServer(sessionTickets({ secret: secret!, rotateInterval: Infinity }))
  const server = await serve(t, app, { ...identity('server'), ca, requestCert: true })
  const { options } = server
  t.deepEqual(
    [options.ticketKeys?.toString('hex'), options.sessionIdContext],
    [ticketKeys, sessionIdContext],
  )
})

/** What `conforms()` finds in bad middleware, and that every middleware of ours passes. */

import test from 'ava'
import { AsyncResource } from 'node:async_hooks'
import { execFile } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { readdir } from 'node:fs/promises'
import { PassThrough } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { createGunzip, createGzip } from 'node:zlib'
import {
  Cio,
  type EventsContext,
  type Middleware,
  type MultiplexContext,
  type Next,
  type RpcContext,
  type StreamContext,
  defineMiddleware,
  json,
  lines,
} from '../../src/index.ts'
import { startDeadline } from '../../src/deadline.ts'
import { chunksOf } from '../../src/kit.ts'
import { type ConformsOptions, type MiddlewarePromise, conforms } from '../../src/testing.ts'
import { loaded, contents } from '../support/certificates.ts'
import { many } from '../support/long.ts'
import { middlewareOf } from '../support/middleware.ts'
import { built, flags } from '../support/typescript.ts'

const files = (await readdir(fileURLToPath(new URL('../../middleware', import.meta.url))))
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.slice(0, -'.ts'.length))

type Make = () => Middleware<StreamContext>

async function broken(make: Make, options: ConformsOptions = {}): Promise<string> {
  try {
    await conforms(make, { pipelines: ['connection'], timeout: 300, ...options })
    return ''
  } catch (error) {
    return (error as Error).message
  }
}

const bad: Record<Exclude<MiddlewarePromise, 'works twice'>, Make> = {
  'has a name': () => (_ctx, next) => next(),
  'carries the conversation': () =>
    async function deaf(ctx) {
      await ctx.stream.iterator().next()
    },
  'calls next() once': () =>
    async function again(_ctx, next) {
      await next()
      await next()
    },
  'waits for next()': () =>
    async function hasty(_ctx, next) {
      next().catch(() => {})
    },
  'passes errors on': () =>
    async function swallows(_ctx, next) {
      await next().catch(() => {})
    },
  'passes ends on': () =>
    async function open(ctx, next) {
      const { stream } = ctx
      const end = stream.end.bind(stream)
      let inside = true
      // Ends it only when all is done.
      stream.end = ((...given: Parameters<typeof end>) => {
        if (!inside) return end(...given)
        return stream
      }) as typeof stream.end
      try {
        await next()
      } finally {
        inside = false
      }
    },
  'puts back what it replaces': () =>
    async function replaces(ctx, next) {
      const { stream } = ctx
      ctx.stream = Object.create(stream) as typeof stream
      await next()
    },
  'leaves nothing behind': () =>
    async function timer(_ctx, next) {
      setTimeout(() => {}, 60_000).unref()
      await next()
    },
  'works on several connections at once': () => alone,
  'survives the peer leaving': () =>
    async function stays(ctx, next) {
      let came = false
      ctx.stream.once('end', () => (came = true))
      await next().catch(() => {})
      if (!came) await new Promise(() => {})
    },
}

let there = 0
const alone: Middleware<StreamContext> = async function alone(_ctx, next) {
  if (there++ > 0) throw new Error('there is room for one')
  try {
    await next()
  } finally {
    there--
  }
}

for (const [promise, make] of Object.entries(bad)) {
  test(`one that breaks "${promise}" is told so`, async (t) => {
    const message = await broken(make, { counterpart: null })
    t.regex(message, new RegExp(`^- ${promise.replace(/[()]/g, '\\$&')}: in the connection`, 'm'))
  })
}

test('one that is of use once in a process is told so', async (t) => {
  let used = false
  const once: Make = () =>
    async function once(_ctx, next) {
      if (used) throw new Error('it is used up')
      used = true
      await next()
    }
  t.regex(await broken(once), /^- works twice: /m)
})

test('a deadline that is left is told of, though a timer of its duration is kept from before', async (t) => {
  const duration = 123_456
  startDeadline(duration, () => {})!.stop()
  const cancels: Make = () =>
    async function cancels(_ctx, next) {
      const deadline = startDeadline(duration, () => {})!
      await next().finally(() => deadline.stop())
    }
  await conforms(cancels)
  const leaves: Make = () =>
    async function leaves(_ctx, next) {
      const deadline = startDeadline(duration, () => {})!
      t.teardown(() => deadline.stop())
      await next()
    }
  t.regex(await broken(leaves), /^- leaves nothing behind: .*it left a timer/m)
})

test('a handle, a listener on the stream and one on the process are told of', async (t) => {
  const handle: Make = () =>
    async function handle(_ctx, next) {
      const socket = createSocket('udp4').unref()
      t.teardown(() => socket.close())
      await next()
    }
  t.regex(await broken(handle), /^- leaves nothing behind: .*UDPWRAP \(.*conforms\.test\.ts/m)

  const onProcess: Make = () =>
    async function onProcess(_ctx, next) {
      const listener = (): void => {}
      process.on('SIGUSR2', listener)
      t.teardown(() => process.off('SIGUSR2', listener))
      await next()
    }
  t.regex(await broken(onProcess), /listener of `SIGUSR2` on process/)

  const onStream: Make = () =>
    async function onStream(ctx, next) {
      ctx.stream.on('pause', () => {})
      await next()
    }
  t.regex(await broken(onStream), /listener of `pause` on ctx\.stream/)
})

test('a listener on the app for each connection is told of, one for all of them is not', async (t) => {
  const each = (): Middleware<StreamContext> =>
    async function each(ctx, next) {
      ctx.app.on('close', () => {})
      await next()
    }
  const known = new WeakSet<object>()
  const once = (): Middleware<StreamContext> =>
    async function once(ctx, next) {
      if (!known.has(ctx.app)) ctx.app.on('close', () => {})
      known.add(ctx.app)
      await next()
    }
  t.regex(await broken(each), /leaves nothing behind: .* a listener of `close` on the app/)
  t.is(await broken(once), '')
})

test('what nobody handles is told of, and does not end the process', async (t) => {
  // In a process of its own: a test runner would see it, too.
  const kit = built(new URL('../../src/testing.ts', import.meta.url)).href
  const program = `
    import { conforms } from ${JSON.stringify(kit)}
    const throws = () => async function throws(ctx, next) {
      setImmediate(() => { throw new Error('of nobody') })
      await next()
    }
    await conforms(throws, { pipelines: ['connection'] }).catch((error) => console.log(error.message))
  `
  const words = [...flags, '--input-type=module', '--eval', program]
  const { stdout } = await promisify(execFile)(process.execPath, words)
  t.regex(stdout, /nothing handled a thrown value: Error: of nobody/)
})

test('one that declares `repeats` may call next() again', async (t) => {
  const repeats: Make = () =>
    defineMiddleware<StreamContext>({ repeats: true }, async function repeats(_ctx, next) {
      await next()
      await next()
    })
  t.notRegex(await broken(repeats), /calls next\(\) once/)
})

test('a promise that is excepted is not asked for', async (t) => {
  const except = ['passes errors on'] as const
  const { kept } = await conforms(bad['passes errors on'], { pipelines: ['connection'], except })
  t.false(kept.includes('passes errors on'))
  t.true(kept.includes('waits for next()'))
})

test('a broken promise names its code, the middleware and the scene', async (t) => {
  const error = await t.throwsAsync(conforms(bad['passes errors on']), {
    code: 'ERR_CIO_NONCONFORMING',
  })
  t.regex(
    error.message,
    /`swallows`.*\n- passes errors on: in the connection pipeline, an error inside/,
  )
})

// Alone: those of the other tests would count.
test.serial('it leaves no storage behind that the promises of the process pay for', async (t) => {
  // Node 20 writes the value of each enabled AsyncLocalStorage on each resource.
  const stores = () => Object.getOwnPropertySymbols(new AsyncResource('probe')).length
  const before = stores()
  await conforms(lines, { pipelines: ['connection'] })
  t.is(stores(), before)
})

test('what is no middleware, and unknown options, are refused', async (t) => {
  await t.throwsAsync(conforms('lines' as never), { code: 'ERR_CIO_OPTION' })
  await t.throwsAsync(conforms(lines, { time: 1 } as ConformsOptions), { code: 'ERR_CIO_OPTION' })
})

// Our own, each by its file.

const tls = {
  listen: { ...loaded('server'), ca: contents('root.crt') },
  connect: { ...loaded('alice'), ca: contents('root.crt'), servername: 'localhost' },
}
const gzip = { decode: () => createGunzip(), encode: () => createGzip() }
const withJson = { setUp: (app: Cio) => void app.useConnection(json()).useClient(json()) }
const oneWay = {
  pipelines: ['connection'],
  counterpart: null,
  answer: (_ctx: StreamContext, next: Next) => next(),
} as const

interface Trial extends ConformsOptions {
  readonly given?: readonly unknown[]
}

const trials: Record<string, Trial | string> = {
  'allow-list': { given: [['alice', 'localhost']], ...tls },
  cbor: {},
  certs: 'it is of the server, and stands before there is a connection',
  codec: { given: [{ encode: JSON.stringify, decode: JSON.parse }] },
  'content-length': {},
  'deny-list': { given: [['mallory']], ...tls },
  drain: 'it is of the server',
  events: {
    ...withJson,
    answer: (ctx, next) => {
      const { events } = ctx as StreamContext & EventsContext
      events.on('ping', (value) => events.emit('pong', value))
      return next()
    },
    talk: async (ctx, connection) => {
      const { events } = ctx as StreamContext & EventsContext
      const answer = new Promise((resolve) => events.on('pong', resolve))
      await events.emit('ping', connection)
      const gone = new Promise((resolve) => ctx.stream.once('close', resolve))
      const value = await Promise.race([answer, gone])
      ctx.stream.end()
      if (value !== connection) throw new Error(String(value))
    },
  },
  'certificate-expiry': tls,
  frames: { values: [Buffer.from('one'), Buffer.alloc(70_000), Buffer.alloc(0)] },
  http: {
    given: [(_request: unknown, response: PassThrough) => response.end('hello')],
    ...oneWay,
    // Node's server has timers of its own, as long as there is one.
    except: ['leaves nothing behind'],
    talk: async (ctx) => {
      ctx.stream.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
      let answer = ''
      for await (const chunk of chunksOf(ctx.stream)) answer += chunk.toString()
      if (!answer.endsWith('hello')) throw new Error(answer)
    },
  },
  heartbeat: 'it sends messages of its own, on a timer that all share: its own test',
  'http-connect': 'it stands before there is a connection, and needs a proxy',
  json: { values: [{ a: [1, 'ü'] }, null, 'x'] },
  'json-stream': { values: [{ a: [1, 'ü'] }, [], { b: null }] },
  limit: { pipelines: ['connection'], counterpart: null },
  lines: {},
  log: 'it takes no part in a conversation, and stands in the server and the client: its own test',
  msgpack: { values: [{ a: [1, 'ü'] }, null, 'x'] },
  multiplex: {
    given: [new Cio().useConnection(({ stream }, next) => (stream.pipe(stream), next()))],
    answer: (_ctx, next) => next(),
    talk: async (ctx, connection) => {
      const stream = await (ctx as StreamContext & MultiplexContext).mux.open('echo')
      stream.end(`connection ${connection}`)
      let heard = ''
      for await (const chunk of chunksOf(stream)) heard += chunk.toString()
      ctx.stream.end()
      if (heard !== `connection ${connection}`) throw new Error(heard)
    },
  },
  forward: 'it connects to another server: test/middleware/forward.test.ts',
  'proxy-protocol': 'it trusts by address, and a pair has none: its own test',
  protobuf: 'it needs a schema: test/middleware/protobuf.test.ts has the contract of codecs',
  'rate-limit': 'it sees the messages of a codec: its own test',
  record: 'it writes files, and replaces parts of the stream until it closes: its own test',
  requests: 'it reads the messages of a codec: its own test',
  rooms: 'it stands after a codec: test/contracts/rooms.ts has what it keeps',
  reconnect: 'it stands before there is a connection: test/contracts has what it keeps',
  inherited: 'it is of the server',
  relisten: 'it is of the server',
  rpc: {
    ...withJson,
    given: [{ methods: { double: ([value]: [number]) => value * 2 } }],
    answer: (_ctx, next) => next(),
    talk: async (ctx, connection) => {
      const { rpc } = ctx as StreamContext & RpcContext
      const value = await rpc.call('double', [connection])
      ctx.stream.end()
      if (value !== connection * 2) throw new Error(String(value))
    },
  },
  route: 'it decides by address or by first bytes, and needs routes: its own test',
  'send-proxy-protocol': 'what it needs at the other end is proxyProtocol: its own test',
  socks5: 'it stands before there is a connection, and needs a proxy',
  'start-tls': 'it needs the certificates of a server: its own test',
  'session-tickets': 'it is of the server',
  timeout: {},
  transform: { given: [() => new PassThrough()], ...oneWay },
  websocket: 'it answers WebSocket clients alone: test/middleware/websocket.test.ts',
  layer: { given: [gzip] },
}

test('every middleware is tried here, or says why it is not', (t) => {
  t.deepEqual(
    files.filter((file) => !(file in trials)),
    [],
  )
})

/** Over TLS as `allow-list` is, each trial makes some hundred handshakes. */
const dear = new Set(['certificate-expiry', 'deny-list'])

for (const file of many(
  files,
  files.filter((one) => !dear.has(one)),
)) {
  const trial = trials[file]
  if (trial === undefined || typeof trial === 'string') continue
  test(`${file} conforms`, async (t) => {
    const { given = [], ...options } = trial
    const make = (): Middleware<never> => middlewareOf(file)(...given) as Middleware<never>
    const { kept } = await conforms(make, options)
    t.true(kept.includes('survives the peer leaving'))
  })
}

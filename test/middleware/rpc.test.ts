import test, { type ExecutionContext } from 'ava'
import { expectTypeOf } from 'expect-type'
import { once } from 'node:events'
import { connect as connectNet, createServer } from 'node:net'
import type { Duplex } from 'node:stream'
import {
  Cio,
  type CioError,
  type ListenOptions,
  type Middleware,
  type OwnMethods,
  type RpcContext,
  type RpcOptions,
  type RpcRequest,
  type StandardSchema,
  type StreamContext,
  contentLength,
  json,
  lines,
  reconnect,
  requests,
  rpc,
  rpcError,
  rpcFailure,
} from '../../src/index.ts'
import { cbor } from '../../middleware/cbor.ts'
import { msgpack } from '../../middleware/msgpack.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { closeAfter, dial, listenBare, readAll, serve } from '../support/serve.ts'
import {
  type Transport,
  deferred,
  networks,
  open,
  reset,
  transports,
} from '../support/transports.ts'
import { many } from '../support/long.ts'

interface Arithmetic {
  add(params: [a: number, b: number]): number
  subtract(params: { minuend: number; subtrahend: number }): number
  divide(params: [number, number]): number
  now(): string
  forever(params: [name: string]): never
}

interface Seen {
  readonly running: Map<string, RpcRequest>
  readonly started: (name: string) => Promise<RpcRequest>
}

/** The methods that most tests call. */
function arithmetic(): Required<RpcOptions<Arithmetic>>['methods'] & Seen {
  const running = new Map<string, RpcRequest>()
  const waiting = new Map<string, (request: RpcRequest) => void>()
  return {
    running,
    started: (name) => new Promise((resolve) => waiting.set(name, resolve)),
    add: ([a, b]) => a + b,
    subtract: async ({ minuend, subtrahend }) => minuend - subtrahend,
    divide([a, b]) {
      if (b === 0) throw rpcError(1, 'division by zero', { a })
      return a / b
    },
    now: () => 'now',
    forever([name], request) {
      running.set(name, request)
      waiting.get(name)?.(request)
      return new Promise((_resolve, reject) => {
        request.signal.addEventListener('abort', () => reject(request.signal.reason))
      })
    },
  }
}

function server(options: RpcOptions<Arithmetic> = {}) {
  const { running: _running, started: _started, ...methods } = arithmetic()
  return new Cio().useConnection(json()).useConnection(rpc<{}, Arithmetic>({ methods, ...options }))
}

/** The errors that an app emits. */
function faults(app: Pick<Cio, 'on'>): { event: string; error: CioError }[] {
  const told: { event: string; error: CioError }[] = []
  for (const event of ['error', 'remoteError', 'reject'] as const) {
    app.on(event, (error: Error) => told.push({ event, error: error as CioError }))
  }
  return told
}

/** Sends lines to a server and half-closes; returns the parsed responses. */
async function ask(
  t: ExecutionContext,
  app: Parameters<typeof serve>[1],
  ...messages: unknown[]
): Promise<unknown[]> {
  const socket = await dial(t, await serve(t, app))
  socket.end(
    messages
      .map((message) => `${typeof message === 'string' ? message : JSON.stringify(message)}\n`)
      .join(''),
  )
  const text = await readAll(socket)
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as unknown)
}

const request = (id: unknown, method: string, params?: unknown): unknown => ({
  jsonrpc: '2.0',
  id,
  method,
  params,
})
const answered = (id: unknown, result: unknown): unknown => ({ jsonrpc: '2.0', id, result })
const refused = (id: unknown, code: number, message: string, data?: unknown): unknown => ({
  jsonrpc: '2.0',
  id,
  error: { code, message, ...(data !== undefined && { data }) },
})

for (const transport of transports) {
  test(`requests are answered over ${transport}, after a half-close too`, async (t) => {
    const far = await open(t, server(), transport)
    far.write(`${JSON.stringify(request(1, 'add', [1, 2]))}\n`)
    far.end(`${JSON.stringify(request('b', 'subtract', { minuend: 5, subtrahend: 3 }))}\n`)
    const text = await readAll(far)
    t.deepEqual(
      text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown),
      [answered(1, 3), answered('b', 2)],
    )
  })
}

async function pair(
  t: ExecutionContext,
  { near = {}, far = {} }: { near?: object; far?: RpcOptions } = {},
) {
  const served = arithmetic()
  const { running: _running, started: _started, ...methods } = served
  const contexts: (StreamContext & RpcContext<{ hello(params: [string]): string }>)[] = []
  const app = new Cio()
    .useConnection(json())
    .useConnection(rpc<{ hello(params: [string]): string }, Arithmetic>({ methods, ...near }))
    .useConnection(async (ctx, next) => {
      contexts.push(ctx)
      await next()
    })
    .useClient(json())
    .useClient(
      rpc<Arithmetic & { missing(): void; toString(): void }>({
        methods: { hello: ([name]: [string]) => `hello ${name}` },
        ...far,
      }),
    )
  const { port } = await serve(t, app)
  const client = await app.connect(port)
  return { app, client, served, contexts }
}

test('both sides call each other', async (t) => {
  const { client, contexts } = await pair(t)
  t.is(await client.rpc.call('add', [1, 2]), 3)
  t.is(await client.rpc.call('now'), 'now')
  t.is(await contexts[0]!.rpc.call('hello', ['you']), 'hello you')
  await client.close()
})

for (const [name, codec] of Object.entries({ msgpack, cbor })) {
  test(`requests go both ways over ${name}`, async (t) => {
    const app = new Cio()
      .useConnection(codec())
      .useConnection(
        rpc<{ name(): string }, { greet(params: [string]): string }>({
          methods: {
            greet: async ([word], { ctx }) => `${word} ${await ctx.rpc.call('name')}`,
          },
        }),
      )
      .useClient(codec())
      .useClient(
        rpc<{ greet(params: [string]): string; missing(): void }>({
          methods: { name: () => 'you' },
        }),
      )
    const client = await app.connect((await serve(t, app)).port)
    t.is(await client.rpc.call('greet', ['hello']), 'hello you')
    t.is(rpcFailure(await t.throwsAsync(client.rpc.call('missing')))?.code, -32_601)
  })
}

test('many concurrent calls each get their own response', async (t) => {
  const { client } = await pair(t)
  const sums = await Promise.all(
    Array.from({ length: 1_000 }, (_, index) => client.rpc.call('add', [index, 1])),
  )
  t.deepEqual(
    sums,
    Array.from({ length: 1_000 }, (_, index) => index + 1),
  )
})

test('an error thrown with rpcError reaches its caller with code, message and data', async (t) => {
  const { app, client } = await pair(t)
  const told = faults(app)
  const error = await t.throwsAsync(client.rpc.call('divide', [1, 0]), { code: 'ERR_CIO_RPC' })
  t.deepEqual(rpcFailure(error), { code: 1, message: 'division by zero', data: { a: 1 } })
  t.is(rpcFailure(new Error('other')), undefined)
  t.deepEqual(told, [])
})

test('any other error of a method reaches the application and not the caller', async (t) => {
  for (const method of [
    () => {
      throw new Error('secret')
    },
    () => Promise.reject(new Error('secret')),
    () => 1n,
  ]) {
    const app = new Cio().useConnection(json()).useConnection(rpc({ methods: { method } }))
    const told = faults(app)
    const answers = await ask(t, app, request(1, 'method'), request(2, 'method'))
    t.deepEqual(answers, [
      refused(1, -32_603, 'Internal error'),
      refused(2, -32_603, 'Internal error'),
    ])
    t.deepEqual(
      told.map(({ event }) => event),
      ['error', 'error'],
    )
  }
})

test('an error from another peer is not passed on', async (t) => {
  const { client } = await pair(t, {
    far: {
      methods: {
        hello: () => {
          throw rpcError(7, 'secret')
        },
      },
    },
    near: {
      methods: {
        add: ([_a]: unknown[], { ctx }: RpcRequest<StreamContext & RpcContext>) =>
          ctx.rpc.call('hello', ['x']),
      },
    },
  })
  faults(client.app)
  const error = await t.throwsAsync(client.rpc.call('add', [1, 2]))
  t.is(rpcFailure(error)?.code, -32_603)
})

test('malformed messages get the error codes of the specification', async (t) => {
  const invalid = refused(null, -32_600, 'Invalid Request')
  t.deepEqual(
    await ask(
      t,
      server(),
      1,
      null,
      'null',
      '"text"',
      {},
      { jsonrpc: '2.0' },
      { jsonrpc: '2.0', method: 5, id: null },
      { jsonrpc: '1.0', method: 'add', params: [1, 2], id: 1 },
      { jsonrpc: '2.0', method: 'add', params: 'x', id: 2 },
      { jsonrpc: '2.0', method: 'add', params: [1, 2], id: {} },
      request(3, 'missing'),
      request(null, 'add', [1, 1]),
    ),
    [
      ...Array<unknown>(7).fill(invalid),
      refused(1, -32_600, 'Invalid Request'),
      refused(2, -32_600, 'Invalid Request'),
      invalid,
      refused(3, -32_601, 'Method not found'),
      answered(null, 2),
    ],
  )
})

test('a response to no call of ours is ignored, so that two peers never answer responses', async (t) => {
  const error = { code: 1, message: 'no' }
  const answers = await ask(
    t,
    server(),
    { jsonrpc: '2.0', id: 'never', error },
    { jsonrpc: '2.0', id: 99, error },
    { jsonrpc: '2.0', id: 'never', result: 1 },
    [{ jsonrpc: '2.0', id: 'never', error }],
    request(1, 'add', [1, 2]),
  )
  t.deepEqual(answers, [answered(1, 3)])
})

test('input that is not JSON is answered with -32700 before the connection closes', async (t) => {
  const app = server()
  const told = faults(app)
  const over = once(app, 'close')
  const answers = await ask(t, app, request(1, 'add', [1, 2]), '{"jsonrpc": "2.0", "met', '[1]')
  await over
  t.deepEqual(answers, [answered(1, 3), refused(null, -32_700, 'Parse error')])
  t.deepEqual(
    told.map(({ event, error }) => [event, error.code]),
    [['remoteError', 'ERR_CIO_SYNTAX']],
  )
})

test('inherited names cannot be called', async (t) => {
  const names = ['toString', 'constructor', '__proto__', 'hasOwnProperty', 'valueOf']
  const service = Object.create({ inherited: () => 'reached' }) as Record<string, () => string>
  service['own'] = () => 'own'
  const app = new Cio().useConnection(json()).useConnection(rpc({ methods: service }))
  const answers = await ask(
    t,
    app,
    ...[...names, 'inherited'].map((name) => request(1, name, [])),
    request(2, 'own'),
  )
  t.deepEqual(answers, [
    ...Array<unknown>(6).fill(refused(1, -32_601, 'Method not found')),
    answered(2, 'own'),
  ])
})

test('notifications run their method and are never answered', async (t) => {
  const seen: unknown[] = []
  const app = new Cio().useConnection(json()).useConnection(
    rpc({
      methods: {
        note: (params: unknown, { id }: RpcRequest) => seen.push([params, id]),
        fail: () => {
          throw rpcError(1, 'mine')
        },
      },
    }),
  )
  const answers = await ask(
    t,
    app,
    request(undefined, 'note', ['x']),
    request(undefined, 'missing'),
    request(undefined, 'fail'),
    request(undefined, '$/cancelRequest'),
    request(undefined, '$/cancelRequest', { id: 5 }),
    request(1, 'note'),
  )
  t.deepEqual(answers, [answered(1, 2)])
  t.deepEqual(seen, [
    [['x'], undefined],
    [undefined, 1],
  ])
})

test('notify sends a notification without a response', async (t) => {
  const heard = deferred<unknown>()
  const { client } = await pair(t, { near: { methods: { now: (p: unknown) => heard.resolve(p) } } })
  await client.rpc.notify('now')
  t.is(await heard.promise, undefined)
})

test('a batch is answered by one array, without its notifications', async (t) => {
  const [answers, ...rest] = await ask(
    t,
    server({ maxRequests: 1 }),
    [
      request(1, 'add', [1, 2]),
      request(undefined, 'add', [1, 2]),
      request(2, 'missing'),
      5,
      request(3, 'subtract', { minuend: 2, subtrahend: 1 }),
    ],
    [request(undefined, 'now')],
  )
  t.deepEqual(
    new Set(answers as unknown[]),
    new Set([
      answered(1, 3),
      refused(2, -32_601, 'Method not found'),
      refused(null, -32_600, 'Invalid Request'),
      answered(3, 1),
    ]),
  )
  t.deepEqual(rest, [])
})

test('an empty batch and one above maxBatch are invalid', async (t) => {
  const invalid = refused(null, -32_600, 'Invalid Request')
  const three = [1, 2, 3].map((id) => request(id, 'now'))
  t.deepEqual(await ask(t, server({ maxBatch: 2 }), [], three, three.slice(1)), [
    invalid,
    invalid,
    [answered(2, 'now'), answered(3, 'now')],
  ])
})

test('a batch has one response for each request, whatever one of them returns (kanboard/kanboard#3879)', async (t) => {
  let done = 0
  const methods = {
    done: () => ++done,
    big: () => 10n,
    small: () => 1,
    late: async () => ({ deep: 10n }),
  }
  for (const [name, carrier] of Object.entries({ json, contentLength })) {
    done = 0
    const app = new Cio()
      .useConnection(carrier())
      .useConnection(rpc({ methods }))
      .useClient(carrier())
    const told = faults(app)
    const client = await app.connect((await serve(t, app)).port)
    const batch = ['done', 'big', 'small', 'missing', 'late'].map((method, id) =>
      request(id, method),
    )
    await client.messages.send(batch)
    const { value } = (await client.messages.next()) as { value: unknown[] }
    t.is(value.length, 5, name)
    t.deepEqual(
      new Set(value),
      new Set([
        answered(0, 1),
        refused(1, -32_603, 'Internal error'),
        answered(2, 1),
        refused(3, -32_601, 'Method not found'),
        refused(4, -32_603, 'Internal error'),
      ]),
      name,
    )
    t.deepEqual(
      told.map(({ event, error }) => [event, error.code]),
      [
        ['error', 'ERR_CIO_ENCODE'],
        ['error', 'ERR_CIO_ENCODE'],
      ],
    )
    await client.close()
  }
})

test('params of null count as absent (ebkalderon/tower-lsp#40)', async (t) => {
  const seen: unknown[] = []
  const any: StandardSchema<unknown> = {
    '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) },
  }
  const methods = { see: (params: unknown) => seen.push(params) }
  for (const params of [{}, { see: any }]) {
    const app = new Cio().useConnection(json()).useConnection(rpc({ methods, params }))
    seen.length = 0
    const answers = await ask(
      t,
      app,
      request(1, 'see', null),
      [request(2, 'see', null)],
      request(undefined, 'see', null),
      request(undefined, '$/cancelRequest', null),
    )
    t.deepEqual(answers, [answered(1, 1), [answered(2, 2)]])
    t.deepEqual(seen, [undefined, undefined, undefined])
  }
  let sent: { id?: unknown; params?: unknown } = {}
  const strict = await listenBare(
    t,
    createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', (line) => {
        sent = JSON.parse(String(line)) as typeof sent
        socket.write(`${JSON.stringify({ jsonrpc: '2.0', id: sent.id, result: 1 })}\n`)
      })
    }),
  )
  const client = await new Cio().useClient(json()).useClient(rpc()).connect(strict)
  t.is(await client.rpc.call('see', null), 1)
  // A strict server would reject null.
  t.false('params' in sent)
  await client.close()
})

test('a result that JSON omits is -32603, and never a response without a result (microsoft/vscode-languageserver-node#21)', async (t) => {
  const values: [name: string, value: unknown][] = [
    ['function', () => {}],
    ['symbol', Symbol('x')],
    ['toJSON to undefined', { toJSON: () => undefined }],
    ['toJSON to a function', { toJSON: () => () => {} }],
    [
      'toJSON that throws',
      {
        toJSON: () => {
          throw new Error('secret')
        },
      },
    ],
  ]
  for (const [name, value] of values) {
    const methods = { now: () => value, later: async () => value }
    const app = new Cio().useConnection(json()).useConnection(rpc({ methods }))
    const told = faults(app)
    const internal = (id: number): unknown => refused(id, -32_603, 'Internal error')
    const answers = await ask(t, app, request(1, 'now'), request(2, 'later'), [request(3, 'now')])
    // The batch may be answered before later requests.
    const byDepth = answers.toSorted((a, b) => Number(Array.isArray(a)) - Number(Array.isArray(b)))
    t.deepEqual(byDepth, [internal(1), internal(2), [internal(3)]], name)
    t.deepEqual(
      told.map(({ event, error }) => [event, error.code]),
      Array.from({ length: 3 }, () => ['error', 'ERR_CIO_ENCODE']),
      name,
    )
  }
})

test('absent results are null, and results with toJSON keep their form', async (t) => {
  const at = new Date(0)
  const methods = { none: () => undefined, date: () => at, bytes: () => Buffer.from('a') }
  const app = new Cio().useConnection(json()).useConnection(rpc({ methods }))
  const asked = Object.keys(methods).map((name) => request(name, name))
  t.deepEqual(await ask(t, app, ...asked), [
    answered('none', null),
    answered('date', at.toJSON()),
    answered('bytes', { type: 'Buffer', data: [97] }),
  ])
})

test('an error whose code is not an integer is -32603', async (t) => {
  for (const failure of [
    ['ENOENT', 'no'],
    [1.5, 'no'],
    [Number.NaN, 'no'],
    [1, undefined],
  ]) {
    const methods = {
      fail: () => {
        throw rpcError(...(failure as [number, string]))
      },
    }
    const app = new Cio().useConnection(json()).useConnection(rpc({ methods }))
    const told = faults(app)
    t.deepEqual(await ask(t, app, request(1, 'fail')), [refused(1, -32_603, 'Internal error')])
    t.is(told[0]?.event, 'error')
  }
})

for (const [name, response, expected] of [
  ['with neither a result nor an error', {}, -32_603],
  ['with an error that is null and no result', { error: null }, -32_603],
  ['with an error without a code', { error: {} }, -32_603],
  ['with an error that is a text', { error: 'no' }, -32_603],
  ['with both, of which the error counts', { result: 1, error: { code: 5, message: 'no' } }, 5],
  ['with a result that is null beside an error', { result: null, error: { code: 5 } }, 5],
  ['with a method that is null', { method: null, error: { code: 5 } }, 5],
] as const) {
  test(`a response ${name} rejects the call (microsoft/vscode-languageserver-node#21)`, async (t) => {
    const { call } = await answering(t, response)
    const error = await t.throwsAsync(call, { code: 'ERR_CIO_RPC' })
    t.is(rpcFailure(error)?.code, expected)
  })
}

for (const response of [
  { result: null },
  { result: null, error: null },
  { result: null, method: null, params: null },
]) {
  test(`a response of ${JSON.stringify(response)} fulfils the call with null`, async (t) => {
    t.is(await (await answering(t, response)).call, null)
  })
}

/** A call that a bare Node peer answers with these members, beside the version and the id. */
async function answering(
  t: ExecutionContext,
  response: object,
): Promise<{ readonly call: Promise<unknown> }> {
  const port = await listenBare(
    t,
    createServer((socket) => {
      socket.on('error', () => {})
      socket.on('data', () =>
        socket.write(`${JSON.stringify({ jsonrpc: '2.0', id: 1, ...response })}\n`),
      )
    }),
  )
  const app = new Cio().useClient(json()).useClient(rpc())
  closeAfter(t, app)
  const client = await app.connect(port)
  const call = client.rpc.call('x')
  call.catch(() => {})
  return { call }
}

/** Far more than a stream holds, also in the short form. */
const thousand = many(1_000, 120)

for (const transport of transports) {
  test.serial(
    `${thousand} calls that are answered with 200 kB each all arrive, over ${transport}, with all defaults`,
    async (t) => {
      const big = 'x'.repeat(200_000)
      let most = 0
      const queued = (stream: Duplex): void => void (most = Math.max(most, stream.writableLength))
      const app = new Cio().useConnection(json()).useConnection(
        rpc({
          methods: {
            now: (_params: unknown, { ctx }: RpcRequest) => (queued(ctx.stream), big),
            later: async (_params: unknown, { ctx }: RpcRequest) => {
              await new Promise((resolve) => setImmediate(resolve))
              queued(ctx.stream)
              return big
            },
          },
        }),
      )
      const told = faults(app)
      const far = await open(t, app, transport)
      // The time that a busy machine needs is not under test.
      const caller = new Cio().useConnection(json()).useConnection(rpc({ timeout: Infinity }))
      closeAfter(t, caller)
      const { rpc: remote } = caller.handle(far) as unknown as RpcContext
      const calls = Array.from({ length: thousand }, (_, index) =>
        remote.call(index % 2 ? 'now' : 'later'),
      )
      for (const call of calls) if ((await call) !== big) t.fail()
      t.deepEqual(told, [])
      // One response, and the stream's own buffer.
      t.true(most < 1024 * 1024, `${most}`)
    },
  )
}

/** Two apps that serve the same methods over one connection, and call each other. */
async function peers(
  t: ExecutionContext,
  transport: Transport,
  methods: NonNullable<RpcOptions<OwnMethods, StreamContext & RpcContext>['methods']>,
) {
  // The time that a busy machine needs is not under test.
  const side = () =>
    new Cio().useConnection(json()).useConnection(rpc({ methods, timeout: Infinity }))
  const contexts: (StreamContext & RpcContext)[] = []
  const begun = deferred()
  const app = side().useConnection(async (ctx, next) => {
    contexts.push(ctx)
    begun.resolve()
    await next()
  })
  const told = faults(app)
  const far = await open(t, app, transport)
  const other = side()
  closeAfter(t, other)
  contexts.push(other.handle(far))
  await begun.promise
  return { contexts, told }
}

for (const transport of ['memory', 'tcp', 'TLS 1.3'] as const) {
  for (const count of new Set([120, thousand])) {
    test.serial(
      `${count} calls with answers of 200 kB each, both ways at once, all arrive over ${transport}`,
      async (t) => {
        const big = 'x'.repeat(200_000)
        let most = 0
        const { contexts, told } = await peers(t, transport, {
          async later(_params: unknown, { ctx }: RpcRequest) {
            await new Promise((resolve) => setImmediate(resolve))
            most = Math.max(most, ctx.stream.writableLength)
            return big
          },
        })
        const calls = contexts.flatMap(({ rpc: remote }) =>
          Array.from({ length: count }, () => remote.call('later')),
        )
        for (const call of calls) if ((await call) !== big) t.fail()
        t.deepEqual(told, [])
        // One response, and the stream's own buffer.
        t.true(most < 1024 * 1024, `${most}`)
      },
    )
  }

  test.serial(
    `calls with parameters of 200 kB each wait for room, both ways at once, over ${transport}`,
    async (t) => {
      const big = 'x'.repeat(200_000)
      let most = 0
      const { contexts, told } = await peers(t, transport, {
        length([text]: [string], { ctx }: RpcRequest) {
          most = Math.max(most, ctx.stream.writableLength)
          return text.length
        },
      })
      const calls = contexts.flatMap(({ rpc: remote }) =>
        Array.from({ length: many(300, 60) }, () => remote.call('length', [big])),
      )
      for (const call of calls) if ((await call) !== big.length) t.fail()
      t.deepEqual(told, [])
      t.true(most < 1024 * 1024, `${most}`)
    },
  )
}

test('methods that call the peer get their answers, though as many run as maxRequests allows', async (t) => {
  const { contexts } = await peers(t, 'tcp', {
    outer: (_params: unknown, { ctx }: RpcRequest<StreamContext & RpcContext>) =>
      ctx.rpc.call('inner'),
    inner: () => 'inner',
  })
  const calls = Array.from({ length: 300 }, () => contexts[0]!.rpc.call('outer'))
  t.deepEqual(new Set(await Promise.all(calls)), new Set(['inner']))
})

test('a notification does not overtake a call that waits for room, nor an answer a notification', async (t) => {
  const big = 'x'.repeat(200_000)
  const seen: string[] = []
  const { contexts } = await peers(t, 'memory', {
    call: () => void seen.push('call'),
    note: () => void seen.push('note'),
    noting(_params: unknown, { ctx }: RpcRequest) {
      const { rpc: remote } = ctx as unknown as RpcContext
      for (let count = 0; count < 3; count++) void remote.call('call', [big])
      t.true(ctx.stream.writableNeedDrain)
      void remote.notify('note')
      return 'noted'
    },
  })
  await contexts[0]!.rpc.call('noting').then(() => seen.push('answer'))
  t.deepEqual(seen, ['call', 'call', 'call', 'note', 'answer'])
})

test('a request that waits for room is cancelled before it begins', async (t) => {
  let called = 0
  const big = 'x'.repeat(16 * 1024 * 1024)
  const methods = { big: () => big, count: () => ++called }
  const app = new Cio().useConnection(json()).useConnection(rpc({ methods }))
  const [near, far] = duplexPair()
  far.on('error', () => {})
  closeAfter(t, app)
  app.handle(near)
  const waits = [
    request(1, 'big'),
    request(2, 'count'),
    request(undefined, '$/cancelRequest', { id: 2 }),
  ]
  far.write(waits.map((message) => `${JSON.stringify(message)}\n`).join(''))
  far.end()
  const answers = (await readAll(far))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { id: number })
  t.is(called, 0)
  t.deepEqual(answers[1], refused(2, -32_800, 'Request cancelled') as never)
})

for (const transport of networks) {
  test(`a caller that disconnects aborts the signal of its request, over ${transport}`, async (t) => {
    const served = arithmetic()
    const { running: _running, started: _started, ...methods } = served
    const app = server({ methods })
    faults(app)
    const over = once(app, 'close')
    const far = await open(t, app, transport)
    const started = served.started('gone')
    // After the session tickets: if their write meets the reset, Node treats it as an end.
    far.write(`${JSON.stringify(request(0, 'now'))}\n`)
    await once(far, 'data')
    far.write(`${JSON.stringify(request(1, 'forever', ['gone']))}\n`)
    const { signal } = await started
    reset(far)
    if (!signal.aborted) await once(signal, 'abort')
    t.is((signal.reason as CioError).code, 'ERR_CIO_CLOSED')
    await over
  })
}

test('closing a connection with a half-closed caller aborts its requests, waiting ones too', async (t) => {
  const served = arithmetic()
  const { running: _running, started: _started, ...methods } = served
  const app = server({ methods })
  faults(app)
  const [near, far] = duplexPair()
  far.on('error', () => {})
  closeAfter(t, app)
  const ctx = app.handle(near)
  const started = served.started('gone')
  far.end(`${JSON.stringify(request(1, 'forever', ['gone']))}\n`)
  const { signal } = await started
  // As the limits of a half-closed connection do.
  ctx.destroy()
  await ctx.closed
  t.true(signal.aborted)
})

test('parameters that do not satisfy their schema are answered with -32602', async (t) => {
  const pairOfNumbers: StandardSchema<[a: number, b: number]> = {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate: (value) =>
        Array.isArray(value) && value.every((one) => typeof one === 'number')
          ? { value: value as [number, number] }
          : { issues: [{ message: 'not two numbers' }] },
    },
  }
  t.deepEqual(
    await ask(
      t,
      server({ params: { add: pairOfNumbers } }),
      request(1, 'add', ['1', 2]),
      request(2, 'add', [1, 2]),
    ),
    [refused(1, -32_602, 'Invalid params', ['not two numbers']), answered(2, 3)],
  )
})

test('a result that its schema refuses is -32603 and an error of the app, and the caller gets what the schema returns', async (t) => {
  interface User {
    readonly name: string
  }
  interface Users {
    find(params: [id: number]): User
    later(params: [id: number]): Promise<User>
    all(params: { partialResultToken: number }): AsyncIterable<User>
  }
  const user: StandardSchema<User> = {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate: (value) => {
        const { name } = value as { name?: unknown }
        return typeof name === 'string' ? { value: { name } } : { issues: [{ message: 'no name' }] }
      },
    },
  }
  const users = [{ name: 'a', password: 'secret' }, {}] as unknown as User[]
  const app = new Cio().useConnection(json()).useConnection(
    rpc<{}, Users>({
      methods: {
        find: ([id]) => users[id]!,
        later: async ([id]) => users[id]!,
        async *all() {
          yield* users
        },
      },
      results: { find: user, later: user, all: user },
    }),
  )
  const told = faults(app)
  const responses = await ask(
    t,
    app,
    request(1, 'find', [0]),
    request(2, 'find', [1]),
    request(3, 'later', [0]),
    request(4, 'later', [1]),
    request(5, 'all', { partialResultToken: 5 }),
  )
  t.deepEqual(responses.toSorted(byId), [
    { jsonrpc: '2.0', method: '$/progress', params: { token: 5, value: { name: 'a' } } },
    answered(1, { name: 'a' }),
    refused(2, -32_603, 'Internal error'),
    answered(3, { name: 'a' }),
    refused(4, -32_603, 'Internal error'),
    refused(5, -32_603, 'Internal error'),
  ])
  t.deepEqual(
    told.map(({ event, error }) => [
      event,
      error.code,
      /`(\w+)`.*no name/.exec(error.message)?.[1],
    ]),
    ['find', 'later', 'all'].map((method) => ['error', 'ERR_CIO_ENCODE', method]),
  )
  t.throws(() => rpc({ results: { find: user } }), { code: 'ERR_CIO_OPTION', message: /find/ })
})

function byId(one: unknown, other: unknown): number {
  const idOf = (message: unknown): number => (message as { id?: number }).id ?? 0
  return idOf(one) - idOf(other)
}

test('an abort by the caller aborts the signal of the method', async (t) => {
  const { client, served } = await pair(t)
  const aborting = new AbortController()
  const started = served.started('a')
  const call = client.rpc.call('forever', ['a'], { signal: aborting.signal })
  const { signal } = await started
  const aborted = once(signal, 'abort')
  aborting.abort(new Error('enough'))
  await t.throwsAsync(call, { message: 'enough' })
  await aborted
  t.is((signal.reason as CioError).code, 'ERR_CIO_CANCELLED')
  // Its late response has no effect.
  t.is(await client.rpc.call('add', [1, 1]), 2)
})

test('a call with an aborted signal is not sent', async (t) => {
  const { client, served } = await pair(t)
  const signal = AbortSignal.abort(new Error('before'))
  await t.throwsAsync(client.rpc.call('forever', ['a'], { signal }), { message: 'before' })
  await client.rpc.call('now')
  t.is(served.running.size, 0)
})

test('a call without a response in time rejects, and is cancelled at the callee', async (t) => {
  const { client, served } = await pair(t)
  const started = served.started('late')
  const call = client.rpc.call('forever', ['late'], { timeout: 50 })
  const error = await t.throwsAsync(call, { code: 'ERR_CIO_CALL_TIMEOUT' })
  t.regex(error.message, /`forever` within 50 ms/)
  const { signal } = await started
  if (!signal.aborted) await once(signal, 'abort')
  t.is((signal.reason as CioError).code, 'ERR_CIO_CANCELLED')
})

test('pending calls reject when the connection is lost, and their methods are aborted', async (t) => {
  const { app, client, served } = await pair(t)
  faults(app)
  const started = served.started('lost')
  const call = client.rpc.call('forever', ['lost'], { timeout: Infinity })
  const { signal } = await started
  const aborted = once(signal, 'abort')
  client.socket!.resetAndDestroy()
  await t.throwsAsync(call, { code: 'ERR_CIO_ANSWER_LOST' })
  await t.throwsAsync(client.rpc?.call('now') ?? call, { code: 'ERR_CIO_CLOSED' })
  await aborted
})

test('pending calls reject when the peer half-closes, and unawaited ones do no harm', async (t) => {
  const port = await listenBare(
    t,
    createServer((socket) => socket.resume().end()),
  )
  const app = new Cio().useClient(json()).useClient(rpc())
  const client = await app.connect(port)
  void client.rpc.call('not awaited')
  await t.throwsAsync(client.rpc.call('x'), { code: 'ERR_CIO_ANSWER_LOST' })
  await t.throwsAsync(client.rpc.call('x'), { code: 'ERR_CIO_CLOSED' })
  await client.closed
})

test('no more than maxCalls wait for a response', async (t) => {
  const { client } = await pair(t, { far: { maxCalls: 2 } })
  const aborting = new AbortController()
  const { signal } = aborting
  const calls = ['a', 'b'].map((name) => client.rpc.call('forever', [name], { signal }))
  await t.throwsAsync(client.rpc.call('now'), { code: 'ERR_CIO_TOO_MANY_CALLS' })
  aborting.abort()
  await Promise.allSettled(calls)
  t.is(await client.rpc.call('now'), 'now')
})

test('no more than maxRequests run, and the peer has to wait', async (t) => {
  let running = 0
  let most = 0
  const work = async (): Promise<void> => {
    most = Math.max(most, ++running)
    await new Promise((resolve) => setImmediate(resolve))
    running--
  }
  const app = new Cio()
    .useConnection(json())
    .useConnection(rpc({ methods: { work }, maxRequests: 3 }))
  const single = Array.from({ length: 30 }, (_, id) => request(id, 'work'))
  const answers = await ask(t, app, ...single, single.slice(0, 20))
  t.is(answers.length, 31)
  t.is(most, 3)
})

test('Cio stops reading from a peer that sends requests and does not read', async (t) => {
  let called = 0
  const big = 'x'.repeat(100_000)
  const methods = { big: () => (called++, big) }
  const app = new Cio().useConnection(json()).useConnection(rpc({ methods, maxRequests: 10 }))
  const told = faults(app)
  const socket = await dial(t, await serve(t, app))
  // Far more than the kernel's buffers hold.
  const all = 400
  for (let id = 0; id < all; id++) socket.write(`${JSON.stringify(request(id, 'big'))}\n`)
  await new Promise((resolve) => socket.write('', resolve))
  let before = -1
  while (before !== called) {
    before = called
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  t.true(called < all / 2, `${called}`)
  socket.end()
  t.is((await readAll(socket)).split('\n').length - 1, all)
  t.deepEqual(told, [])
})

test('close() of a client waits for its calls', async (t) => {
  const gate = deferred()
  const begun = deferred()
  const { client } = await pair(t, {
    near: { methods: { now: async () => (begun.resolve(), await gate.promise, 'now') } },
  })
  const call = client.rpc.call('now')
  await begun.promise
  const closed = client.close({ timeout: Infinity })
  gate.resolve()
  t.is(await call, 'now')
  t.deepEqual(await closed, { forced: 0 })
})

test('a draining server finishes running requests and their calls, and refuses new ones', async (t) => {
  const begun = deferred()
  const app = new Cio().useConnection(json()).useConnection(
    rpc({
      methods: {
        slow: async (_params: unknown, { ctx }: RpcRequest) => {
          begun.resolve()
          await once(ctx.draining, 'abort')
          return (ctx as unknown as RpcContext).rpc.call('name')
        },
      },
    }),
  )
  const socket = await dial(t, await serve(t, app))
  socket.write(`${JSON.stringify(request(1, 'slow'))}\n`)
  await begun.promise
  const closed = app.close({ timeout: Infinity })
  socket.write(`${JSON.stringify(request(2, 'slow'))}\n`)
  const heard: unknown[] = []
  for await (const chunk of socket) {
    for (const line of String(chunk).trim().split('\n')) {
      const message = JSON.parse(line) as { id: unknown; method?: string }
      heard.push(message)
      if (message.method) socket.write(`${JSON.stringify(answered(message.id, 'peer'))}\n`)
    }
  }
  t.deepEqual(await closed, { forced: 0 })
  t.deepEqual(
    new Set(heard),
    new Set([
      { jsonrpc: '2.0', id: 1, method: 'name' },
      refused(2, -32_000, 'Server error: closing'),
      answered(1, 'peer'),
    ]),
  )
})

test('a method that fails without a listener for error is printed once per connection', async (t) => {
  const printed: unknown[] = []
  const print = console.error
  console.error = (error: unknown) => printed.push((error as Error).message)
  t.teardown(() => (console.error = print))
  const methods = {
    fail: () => {
      throw new Error('printed once')
    },
  }
  const app = new Cio().useConnection(json()).useConnection(rpc({ methods }))
  await ask(t, app, request(1, 'fail'), request(2, 'fail'))
  t.deepEqual(printed.filter((message) => message === 'printed once').length, 1)
})

test('the listeners of a connection are removed at its end', async (t) => {
  const { client } = await pair(t)
  await client.rpc.call('now')
  const { stream } = client
  await client.close()
  t.is(stream.listenerCount('readable') + stream.listenerCount('removeListener'), 0)
})

test('the calls of a closed connection reject with an error', async (t) => {
  const { client } = await pair(t)
  await client.close()
  await t.throwsAsync(client.rpc.call('now'), { code: 'ERR_CIO_CLOSED' })
  await t.throwsAsync(client.rpc.notify('now'), { code: 'ERR_CIO_CLOSED' })
})

test('a client that reconnects rejects calls while it is offline, and calls again after', async (t) => {
  const { connections, port } = await serve(t, server())
  const app = new Cio()
    .useClient(reconnect({ delay: 20 }))
    .useClient(json())
    .useClient(rpc<Arithmetic>())
  const client = await app.connect(port)
  t.teardown(() => client.close({ timeout: 0 }))
  const away = once(app, 'disconnect')
  const again = once(app, 'connect')
  for (const connection of connections) connection.destroy()
  await away
  await t.throwsAsync(client.rpc.call('now'), { code: 'ERR_CIO_CLOSED' })
  await again
  t.is(await client.rpc.call('now'), 'now')
})

test('options that are unknown or out of range are refused', (t) => {
  for (const options of [
    { maxCalls: 0 },
    { maxRequests: 0 },
    { maxBatch: 0 },
    { maxParts: 0 },
    { timeout: -1 },
    { method: {} },
    { methods: { add: 5 } },
    { methods: { '$/cancelRequest': () => {} } },
    { methods: { 'rpc.x': () => {} } },
    { params: { add: {} } },
  ]) {
    t.throws(() => rpc(options as RpcOptions), { code: 'ERR_CIO_OPTION' })
  }
})

test('a call with an invalid timeout is refused', async (t) => {
  const { client } = await pair(t)
  t.throws(() => client.rpc.call('now', undefined, { timeout: -1 }), { code: 'ERR_CIO_OPTION' })
})

test('a server without methods notices that the peer has left', async (t) => {
  const app = new Cio().useConnection(json()).useConnection(rpc())
  const closed = once(app, 'close')
  const { port } = await serve(t, app)
  const socket = connectNet(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.end()
  await closed
  t.pass()
})

test('calls have the types of the remote interface, and methods those of the local one', (t) => {
  const attach = async (): Promise<void> => {
    // @ts-expect-error: no codec has added messages
    new Cio().useConnection(rpc())
    // @ts-expect-error: lines accepts no objects
    new Cio().useConnection(lines()).useConnection(rpc())

    const app = new Cio().useClient(json()).useClient(rpc<Arithmetic>())
    const { rpc: typed } = await app.connect(1)
    expectTypeOf(typed.call('add', [1, 2])).toEqualTypeOf<Promise<number>>()
    expectTypeOf(typed.call('now')).toEqualTypeOf<Promise<string>>()
    // @ts-expect-error: no such method
    void typed.call('multiply', [1, 2])
    // @ts-expect-error: its parameters are missing
    void typed.call('add')
    // @ts-expect-error: not its parameters
    void typed.call('add', ['1', 2])
    // @ts-expect-error: not all methods of the interface
    rpc<{}, Arithmetic>({ methods: { now: () => 'now' } })
    rpc<{}, { now(): string }>({
      // @ts-expect-error: not its result
      methods: { now: () => 5 },
    })

    interface User {
      user: string
    }
    const greeting = rpc<{ shown(params: [string]): void }, { greet(): string }, User>({
      methods: {
        greet(_params, { ctx }) {
          void ctx.rpc.notify('shown', [ctx.user])
          // @ts-expect-error: no such method of the caller
          void ctx.rpc.notify('hidden')
          return ctx.user
        },
      },
    })
    // @ts-expect-error: nothing has added the user
    new Cio().useConnection(json()).useConnection(greeting)
    new Cio<User>().useConnection(json()).useConnection(greeting)
    const login: Middleware<StreamContext, User> = async (ctx, next) => {
      Object.assign(ctx, { user: 'ada' })
      await next()
    }
    new Cio().useConnection(json()).useConnection(login).useConnection(greeting)
  }
  t.is(typeof attach, 'function')
})

interface Streaming {
  count(params: { to: number }): AsyncIterable<number>
  chunks(): AsyncIterable<string>
  list(): string[]
  ping(): string
}

/** A server that streams, what its generators have done, and a client. */
async function streaming(
  t: ExecutionContext,
  options: RpcOptions = {},
  listening: ListenOptions = {},
) {
  const made = { values: 0, ended: deferred() }
  const chunk = 'x'.repeat(64 * 1024)
  const app = new Cio().useConnection(json()).useConnection(
    rpc<{}, Streaming>({
      methods: {
        async *count({ to }, { signal }) {
          try {
            for (let number = 1; number <= to; number++) {
              made.values += 1
              yield number
            }
            if (to === 2) throw rpcError(7, 'only two')
            // Waits for the end of a caller that wants more than there is.
            if (to === 3) await once(signal, 'abort')
          } finally {
            made.ended.resolve()
          }
        },
        async *chunks() {
          try {
            for (;;) {
              made.values += 1
              yield chunk
            }
          } finally {
            made.ended.resolve()
          }
        },
        list: () => ['a', 'b'],
        ping: () => 'pong',
      },
    }),
  )
  const { port } = await serve(t, app, listening)
  const own = new Cio().useClient(json()).useClient(rpc<Streaming>(options as RpcOptions<{}>))
  closeAfter(t, own)
  const client = await own.connect({ host: '127.0.0.1', port })
  return { made, port, client }
}

test('a method that returns an async iterable sends each value by $/progress, and then null', async (t) => {
  const { port } = await streaming(t)
  const socket = await dial(t, { port })
  const request = { jsonrpc: '2.0', id: 9, method: 'count' }
  socket.end(`${JSON.stringify({ ...request, params: { to: 1, partialResultToken: 'a' } })}\n`)
  const lines = (await readAll(socket)).trim().split('\n')
  t.deepEqual(
    lines.map((line) => JSON.parse(line) as unknown),
    [
      { jsonrpc: '2.0', method: '$/progress', params: { token: 'a', value: 1 } },
      { jsonrpc: '2.0', id: 9, result: null },
    ],
  )
})

test('stream() yields the values, and call() is refused, since all values together have no bound', async (t) => {
  const { client } = await streaming(t)
  const values: number[] = []
  for await (const value of client.rpc.stream('count', { to: 100 })) values.push(value)
  t.is(values.length, 100)
  t.is(values.at(-1), 100)
  const error = await t.throwsAsync(client.rpc.call('count', { to: 4 }), { code: 'ERR_CIO_RPC' })
  t.is(rpcFailure(error)?.code, -32602)
  const list: string[] = []
  for await (const value of client.rpc.stream('list')) list.push(value)
  t.deepEqual(list, ['a', 'b'], 'of a method that does not stream')
})

test('leaving the loop cancels the request, and the generator ends', async (t) => {
  const { client, made } = await streaming(t)
  for await (const value of client.rpc.stream('count', { to: 3 })) if (value === 3) break
  await made.ended.promise
  t.is(await client.rpc.call('ping'), 'pong')
})

test('a caller that does not take values holds the method back, and gets all of them later', async (t) => {
  const { client, made } = await streaming(t, { maxParts: 2 })
  const values = client.rpc.stream('chunks')
  await values.next()
  // Nothing more is made once the buffers of the system are full.
  let before = -1
  while (made.values !== before) {
    before = made.values
    await new Promise((resolve) => setTimeout(resolve, 300))
  }
  t.true(before < 1_000, `${before} chunks of 64 KiB`)
  for (let count = 0; count < before; count++) await values.next()
  t.true(made.values > before)
  await values.return()
  await made.ended.promise
})

test('an error after some values is thrown by the loop, and so is a lost connection', async (t) => {
  // The generator ends when its connection does.
  const { client, made } = await streaming(t, {}, { halfOpenTimeout: 100 })
  const values: number[] = []
  const failing = async (): Promise<void> => {
    for await (const value of client.rpc.stream('count', { to: 2 })) values.push(value)
  }
  const error = await t.throwsAsync(failing(), { code: 'ERR_CIO_RPC' })
  t.is(rpcFailure(error)?.code, 7)
  t.deepEqual(values, [1, 2])

  made.ended = deferred()
  const losing = async (): Promise<void> => {
    for await (const value of client.rpc.stream('count', { to: 3 })) {
      if (value === 3) client.destroy()
    }
  }
  await t.throwsAsync(losing(), { code: 'ERR_CIO_ANSWER_LOST' })
  await made.ended.promise
})

test('a streamed value that JSON omits ends the result with -32603 (microsoft/vscode-languageserver-node#21)', async (t) => {
  for (const omitted of [() => 1, Symbol('x'), { toJSON: () => undefined }]) {
    const ended = deferred()
    const app = new Cio().useConnection(json()).useConnection(
      rpc({
        methods: {
          async *values() {
            try {
              yield 1
              yield omitted
              yield 2
            } finally {
              ended.resolve()
            }
          },
        },
      }),
    )
    const told = faults(app)
    const { port } = await serve(t, app)
    const own = new Cio().useClient(json()).useClient(rpc())
    closeAfter(t, own)
    const client = await own.connect({ host: '127.0.0.1', port })
    const values: unknown[] = []
    const failing = async (): Promise<void> => {
      for await (const value of client.rpc.stream('values')) values.push(value)
    }
    const error = await t.throwsAsync(failing(), { code: 'ERR_CIO_RPC' })
    t.is(rpcFailure(error)?.code, -32_603)
    t.deepEqual(values, [1])
    await ended.promise
    t.deepEqual(
      told.map(({ error }) => error.code),
      ['ERR_CIO_ENCODE'],
    )
  }
})

test('any number may listen to the signal of a request, and many calls may share a signal (nodejs/undici#3157)', async (t) => {
  const warnings: string[] = []
  const warn = ({ name }: Error): void => void warnings.push(name)
  process.on('warning', warn)
  t.teardown(() => process.off('warning', warn))
  const listen = ({ signal }: { readonly signal: AbortSignal }): void => {
    for (let count = 0; count < 15; count++) signal.addEventListener('abort', () => {})
  }
  const all = deferred()
  let begun = 0
  const app = new Cio().useConnection(json()).useConnection(
    rpc({
      methods: {
        async wait(_params: unknown, request: RpcRequest) {
          listen(request)
          if (++begun === 15) all.resolve()
          await all.promise
          return begun
        },
      },
    }),
  )
  const { port } = await serve(t, app)
  const own = new Cio().useClient(json()).useClient(rpc())
  closeAfter(t, own)
  const client = await own.connect({ host: '127.0.0.1', port })
  const { signal } = new AbortController()
  const calls = Array.from({ length: 15 }, () => client.rpc.call('wait', undefined, { signal }))
  t.deepEqual(new Set(await Promise.all(calls)), new Set([15]))

  const inOrder = new Cio()
    .useConnection(json())
    .useConnection(requests({ match: 'order', serve: (_asked, request) => (listen(request), 1) }))
  const asking = await dial(t, await serve(t, inOrder))
  asking.end('1\n')
  t.is(await readAll(asking), '1\n')
  // Node emits a warning in a later turn.
  await new Promise(setImmediate)
  t.false(warnings.includes('MaxListenersExceededWarning'))
})

test('an iterator whose return() throws or is no promise ends no process', async (t) => {
  const gone = deferred()
  const endless = (leave: () => unknown): object => ({
    [Symbol.asyncIterator]: () => ({
      next: () => Promise.resolve({ done: false, value: 1 }),
      return: () => {
        gone.resolve()
        return leave()
      },
    }),
  })
  const app = new Cio().useConnection(json()).useConnection(
    rpc({
      methods: {
        none: () => endless(() => undefined),
        throwing: () =>
          endless(() => {
            throw new Error('left')
          }),
        ping: () => 'pong',
      },
    }),
  )
  const { port } = await serve(t, app)
  const own = new Cio().useClient(json()).useClient(rpc())
  closeAfter(t, own)
  const client = await own.connect({ host: '127.0.0.1', port })
  for (const method of ['none', 'throwing']) {
    for await (const value of client.rpc.stream(method)) if (value === 1) break
    await gone.promise
    t.is(await client.rpc.call('ping'), 'pong')
  }
})

test('$/progress with the id of a call that does not stream leaves its deadline as it is', async (t) => {
  const far = new Cio().useConnection(json<{ id: number }>()).useConnection(async (ctx) => {
    const { value } = await ctx.messages.next()
    const params = { token: value!.id, value: 1 }
    const part = { jsonrpc: '2.0', method: '$/progress', params }
    const sending = setInterval(() => void ctx.messages.send(part as never), 20)
    await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve))
    clearInterval(sending)
  })
  const { port } = await serve(t, far)
  const own = new Cio().useClient(json()).useClient(rpc())
  closeAfter(t, own)
  const client = await own.connect({ host: '127.0.0.1', port })
  const late = client.rpc.call('wait', undefined, { timeout: 300 })
  await t.throwsAsync(late, { code: 'ERR_CIO_CALL_TIMEOUT' })
  client.destroy()
})

test('stream() takes no parameters by position', async (t) => {
  const { client } = await streaming(t)
  t.throws(() => client.rpc.stream('count', [1] as never), { code: 'ERR_CIO_OPTION' })
})

test('a streamed result is typed by its values', (t) => {
  const attach = async (): Promise<void> => {
    const { rpc: typed } = await new Cio().useClient(json()).useClient(rpc<Streaming>()).connect(1)
    expectTypeOf(typed.stream('count', { to: 1 })).toEqualTypeOf<
      AsyncGenerator<number, void, undefined>
    >()
    expectTypeOf(typed.call('count', { to: 1 })).toEqualTypeOf<Promise<never>>()
    // @ts-expect-error: its parameters are missing
    void typed.stream('count')
  }
  t.is(typeof attach, 'function')
})

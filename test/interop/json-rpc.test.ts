/** JSON-RPC 2.0: the examples of the specification, jayson and vscode-jsonrpc; OpenRPC's own validator. */

import test, { type ExecutionContext } from 'ava'
import { parseOpenRPCDocument, validateOpenRPCDocument } from '@open-rpc/schema-utils-js'
import jayson from 'jayson'
import { type Socket, createServer } from 'node:net'
import {
  CancellationTokenSource,
  type MessageConnection,
  ResponseError,
  createMessageConnection,
} from 'vscode-jsonrpc/node'
import { z } from 'zod'
import {
  Cio,
  type RpcContext,
  type RpcOptions,
  type RpcRequest,
  contentLength,
  json,
  openRpc,
  rpc,
  rpcError,
  rpcFailure,
} from '../../src/index.ts'
import { dial, listenBare, readAll, serve } from '../support/serve.ts'
import { deferred } from '../support/transports.ts'

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

const answered = (id: unknown, result: unknown): unknown => ({ jsonrpc: '2.0', id, result })
const refused = (id: unknown, code: number, message: string, data?: unknown): unknown => ({
  jsonrpc: '2.0',
  id,
  error: { code, message, ...(data !== undefined && { data }) },
})

test('a jayson client is answered, with results, errors, batches and notifications', async (t) => {
  const { port } = await serve(t, server())
  const client = jayson.Client.tcp({ port, host: '127.0.0.1' })
  const call = (method: string, params: object): Promise<unknown> =>
    new Promise((resolve, reject) => {
      client.request(method, params, (error: unknown, answer: unknown) =>
        error ? reject(new Error(JSON.stringify(error))) : resolve(answer),
      )
    })
  const like = (answer: unknown): unknown => ({ ...(answer as object), id: 0 })
  t.deepEqual(like(await call('add', [1, 2])), answered(0, 3))
  t.deepEqual(like(await call('missing', [])), refused(0, -32_601, 'Method not found'))
  t.deepEqual(like(await call('divide', [1, 0])), refused(0, 1, 'division by zero', { a: 1 }))
  const batch = [client.request('add', [1, 2], 1), client.request('now', [], 2)]
  const answers = await new Promise((resolve, reject) => {
    client.request(batch as never, (error: unknown, answer: unknown) =>
      error ? reject(new Error(JSON.stringify(error))) : resolve(answer),
    )
  })
  t.deepEqual(answers, [answered(1, 3), answered(2, 'now')])
  await new Promise((resolve) => client.request('now', [], null as never, resolve))
})

test('a jayson server answers a Cio client', async (t) => {
  const methods = {
    add: ([a, b]: [number, number], done: (error: unknown, sum?: number) => void) =>
      done(null, a + b),
    fail: (_params: unknown, done: (error: unknown) => void) =>
      done({ code: 9, message: 'no', data: [1] }),
  }
  const port = await listenBare(t, new jayson.Server(methods).tcp())
  const app = new Cio()
    .useClient(json())
    .useClient(rpc<{ add(params: [number, number]): number; fail(): void; missing(): void }>())
  const client = await app.connect(port)
  const sums = await Promise.all([1, 2, 3].map((n) => client.rpc.call('add', [n, n])))
  t.deepEqual(sums, [2, 4, 6])
  const failed = await t.throwsAsync(client.rpc.call('fail', undefined))
  t.deepEqual(rpcFailure(failed), { code: 9, message: 'no', data: [1] })
  t.is(rpcFailure(await t.throwsAsync(client.rpc.call('missing')))?.code, -32_601)
  await client.close()
})

/** What vscode-jsonrpc makes of a socket. */
function code(t: ExecutionContext, socket: Socket): MessageConnection {
  const connection = createMessageConnection(socket, socket)
  t.teardown(() => connection.dispose())
  connection.onError(() => {})
  return connection
}

test('a vscode-jsonrpc client and a Cio server call and cancel each other', async (t) => {
  const served = arithmetic()
  const { running: _running, started: _started, ...methods } = served
  const contexts: RpcContext<{ ask(params: [string]): string; wait(): void }>[] = []
  const app = new Cio()
    .useConnection(contentLength())
    .useConnection(rpc<{ ask(params: [string]): string; wait(): void }, Arithmetic>({ methods }))
    .useConnection(async (ctx, next) => {
      contexts.push(ctx)
      await next()
    })
  const socket = await dial(t, await serve(t, app))
  const client = code(t, socket)
  client.onRequest('ask', (text: string) => `${text}é?`)
  const waiting = deferred()
  const cancelled = deferred()
  client.onRequest('wait', (token) => {
    waiting.resolve()
    return new Promise((resolve) => {
      token.onCancellationRequested(() => {
        cancelled.resolve()
        resolve(null)
      })
    })
  })
  client.listen()
  t.is(await client.sendRequest('add', 1, 2), 3)
  t.is(await client.sendRequest('subtract', { minuend: 5, subtrahend: 1 }), 4)
  const failed = await t.throwsAsync(client.sendRequest('divide', 1, 0), {
    instanceOf: ResponseError,
  })
  t.deepEqual((failed as ResponseError<unknown>).toJson(), {
    code: 1,
    message: 'division by zero',
    data: { a: 1 },
  })
  await t.throwsAsync(client.sendRequest('missing'), { code: -32_601 } as never)

  const source = new CancellationTokenSource()
  const started = served.started('x')
  const forever = client.sendRequest('forever', 'x', source.token)
  await started
  source.cancel()
  await t.throwsAsync(forever, { code: -32_800 } as never)

  const [ctx] = contexts
  t.is(await ctx!.rpc.call('ask', ['who']), 'whoé?')
  const aborting = new AbortController()
  const wait = ctx!.rpc.call('wait', undefined, { signal: aborting.signal })
  await waiting.promise
  aborting.abort(new Error('enough'))
  await t.throwsAsync(wait, { message: 'enough' })
  await cancelled.promise
})

test('a Cio client and a vscode-jsonrpc server call each other', async (t) => {
  const noted = deferred<unknown>()
  const port = await listenBare(
    t,
    createServer((socket) => {
      const server = code(t, socket)
      server.onRequest('add', (a: number, b: number) => a + b)
      server.onRequest('twice', async (text: string) => {
        return `${text} ${await server.sendRequest<string>('hello', text)}`
      })
      server.onNotification('note', (value: unknown) => noted.resolve(value))
      server.listen()
    }),
  )
  interface Remote {
    add(params: [number, number]): number
    twice(params: [string]): string
    note(params: { deep: number[] }): void
    missing(): void
  }
  const app = new Cio()
    .useClient(contentLength())
    .useClient(rpc<Remote>({ methods: { hello: ([name]: [string]) => `hello ${name}` } }))
  const client = await app.connect(port)
  t.is(await client.rpc.call('add', [1, 2]), 3)
  t.is(await client.rpc.call('twice', ['é']), 'é hello é')
  await client.rpc.notify('note', { deep: [1] })
  t.deepEqual(await noted.promise, { deep: [1] })
  t.is(rpcFailure(await t.throwsAsync(client.rpc.call('missing')))?.code, -32_601)
  await client.close()
})

/**
 * The examples of section 7 of the specification, each with the text that is sent and the answer, if
 * there is one. A batch may be answered in any order.
 */
const examples: readonly (readonly [string, string, unknown])[] = [
  [
    'positional parameters',
    '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
    answered(1, 19),
  ],
  [
    'positional parameters, the other way round',
    '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
    answered(2, -19),
  ],
  [
    'named parameters',
    '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
    answered(3, 19),
  ],
  [
    'named parameters in another order',
    '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
    answered(4, 19),
  ],
  ['a notification', '{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', undefined],
  ['a notification without parameters', '{"jsonrpc": "2.0", "method": "foobar"}', undefined],
  [
    'a method that is not there',
    '{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
    refused('1', -32_601, 'Method not found'),
  ],
  [
    'a request that is none',
    '{"jsonrpc": "2.0", "method": 1, "params": "bar"}',
    refused(null, -32_600, 'Invalid Request'),
  ],
  ['an empty batch', '[]', refused(null, -32_600, 'Invalid Request')],
  ['a batch of one that is no request', '[1]', [refused(null, -32_600, 'Invalid Request')]],
  [
    'a batch of three that are no requests',
    '[1,2,3]',
    [1, 2, 3].map(() => refused(null, -32_600, 'Invalid Request')),
  ],
  [
    'a batch',
    `[
      {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
      {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
      {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
      {"foo": "boo"},
      {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
      {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
    ]`,
    [
      answered('1', 7),
      answered('2', 19),
      refused(null, -32_600, 'Invalid Request'),
      refused('5', -32_601, 'Method not found'),
      answered('9', ['hello', 5]),
    ],
  ],
  [
    'a batch of notifications',
    `[
      {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
      {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}
    ]`,
    undefined,
  ],
]

/** The methods of the specification's examples. */
const methods = {
  subtract: (params: [number, number] | { minuend: number; subtrahend: number }) =>
    Array.isArray(params) ? params[0] - params[1] : params.minuend - params.subtrahend,
  sum: (numbers: number[]) => numbers.reduce((total, number) => total + number, 0),
  get_data: () => ['hello', 5],
  update: () => {},
  notify_hello: () => {},
  notify_sum: () => {},
}

/** Sends a text as a line, then a call as the last one, and gives the answers before that. */
async function exchange(t: ExecutionContext, text: string): Promise<unknown[]> {
  const app = new Cio().useConnection(json()).useConnection(rpc({ methods }))
  app.on('remoteError', () => {})
  const socket = await dial(t, await serve(t, app))
  socket.end(`${text.replaceAll('\n', ' ')}\n`)
  const lines = (await readAll(socket)).trim().split('\n')
  return lines.filter(Boolean).map((line) => JSON.parse(line) as unknown)
}

const sorted = (answers: unknown): unknown =>
  Array.isArray(answers) ? answers.map((one) => JSON.stringify(one)).toSorted() : answers

for (const [title, text, expected] of examples) {
  test(`section 7 of the specification: ${title}`, async (t) => {
    const answers = await exchange(t, text)
    t.deepEqual(answers.map(sorted), expected === undefined ? [] : [sorted(expected)])
  })
}

const about = { title: 'Trees', version: '1.0.0' }
const nothing = () => null

test('the parser of OpenRPC accepts what openRpc() makes, and finds what its references name', async (t) => {
  const place = z.object({ where: z.enum(['top', 'end']).meta({ id: 'Where' }) })
  const document = openRpc(
    {
      methods: { none: nothing, pair: nothing, named: nothing, 'place/put': nothing },
      params: {
        pair: z.tuple([z.number(), z.string().optional()]),
        named: z.object({ limit: z.number().optional(), text: z.string() }),
        'place/put': z.object({ place }),
      },
    },
    { ...about, results: { pair: z.number(), 'place/put': place } },
  )
  t.true(JSON.stringify(document).includes('$ref'))
  // It puts what they name in the place of references, and throws where there is nothing.
  const parsed = await parseOpenRPCDocument(structuredClone(document) as never)
  t.is(parsed.methods.length, 4)
  const broken = { ...document, info: { title: 'Trees' } }
  await t.throwsAsync(parseOpenRPCDocument(broken as never), { any: true })
})

test('the validator of OpenRPC accepts a schema that refers to itself', (t) => {
  const tree = z.object({
    name: z.string(),
    get children() {
      return z.array(tree)
    },
  })
  const document = openRpc({ methods: { put: nothing }, params: { put: tree } }, about)
  t.true(validateOpenRPCDocument(document as never))
  t.not(validateOpenRPCDocument({ ...document, methods: [{}] } as never), true)
})

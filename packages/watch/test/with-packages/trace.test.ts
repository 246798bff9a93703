import { SpanKind, SpanStatusCode, context, propagation, trace as api } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import {
  CompositePropagator,
  W3CBaggagePropagator,
  W3CTraceContextPropagator,
} from '@opentelemetry/core'
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base'
import test, { type ExecutionContext } from 'ava'
import { Cio, CioError, certs, json, rpc } from 'cio'
import { testCertificates } from 'cio/testing'
import { once } from 'node:events'
import { connect } from 'node:tls'
import { trace } from '../../src/trace.ts'
import { closeAfter, dial, ended } from '../support.ts'

context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
propagation.setGlobalPropagator(
  new CompositePropagator({
    propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator()],
  }),
)

function recorder(t: ExecutionContext) {
  const exporter = new InMemorySpanExporter()
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
  t.teardown(() => provider.shutdown())
  const spans = (name: string): ReadableSpan[] =>
    exporter.getFinishedSpans().filter((span) => span.name === name)
  return { tracer: provider.getTracer('test'), spans }
}

interface Methods {
  where(): string
  fail(): string
}

function callingApp() {
  return new Cio()
    .useConnection(json())
    .useConnection(
      rpc<{}, Methods>({
        methods: {
          async where() {
            await Promise.resolve()
            return api.getActiveSpan()?.spanContext().spanId ?? 'none'
          },
          fail() {
            throw new TypeError('broken')
          },
        },
      }),
    )
    .useClient(json())
    .useClient(rpc<Methods>())
}

test('a connection has a short root span, which is over while it is open, with its steps', async (t) => {
  const { tracer, spans } = recorder(t)
  const app = new Cio()
    .useConnection(async function pass(_ctx, next) {
      await next()
    })
    .useConnection(async function handler({ stream }) {
      stream.write('here')
      await once(stream, 'end')
    })
  trace(app, { steps: true, tracer })
  closeAfter(t, app)
  const server = await app.listen({ host: '127.0.0.1', port: 0 })
  const socket = await dial(t, server)
  await once(socket, 'data')
  const [span, ...others] = spans('cio.accept')
  t.deepEqual(others, [])
  t.is(span!.parentSpanContext, undefined)
  t.is(span!.attributes['server.port'], server.port)
  const children = ['secure', 'pass'].map((name) => spans(`cio.step ${name}`)[0]!)
  for (const child of children) {
    t.is(child.parentSpanContext?.spanId, span!.spanContext().spanId, child.name)
  }
})

test('a refused connection has an error, and the step that refused it', async (t) => {
  const { tracer, spans } = recorder(t)
  const app = new Cio()
    .on('remoteError', () => {})
    .useConnection(async function gate() {
      throw new CioError('ERR_TEST', 'no', { fault: 'remote' })
    })
    .useConnection(async function handler() {})
  trace(app, { tracer })
  closeAfter(t, app)
  const end = ended(app)
  await dial(t, await app.listen({ host: '127.0.0.1', port: 0 }))
  await end
  const [span] = spans('cio.accept')
  t.is(span!.status.code, SpanStatusCode.ERROR)
  t.is(span!.attributes['cio.step.name'], 'gate')
  t.is(span!.attributes['error.type'], 'ERR_TEST')
})

test('a call has a span on each side, which links to its connection, and its method runs inside', async (t) => {
  const { tracer, spans } = recorder(t)
  const app = callingApp()
  trace(app, { tracer, propagate: true })
  closeAfter(t, app)
  const server = await app.listen({ host: '127.0.0.1', port: 0 })
  const client = await app.connect({ host: '127.0.0.1', port: server.port })
  const parent = tracer.startSpan('of the caller')
  const inside = await context.with(api.setSpan(context.active(), parent), () =>
    client.rpc.call('where'),
  )
  const of = (name: string, kind: SpanKind): ReadableSpan =>
    spans(name).find((span) => span.kind === kind)!
  const [called, calling] = [of('where', SpanKind.SERVER), of('where', SpanKind.CLIENT)]
  t.is(inside, called.spanContext().spanId)
  t.is(called.parentSpanContext?.spanId, calling.spanContext().spanId)
  t.is(calling.parentSpanContext?.spanId, parent.spanContext().spanId)
  t.is(called.spanContext().traceId, parent.spanContext().traceId)
  t.is(called.links[0]!.context.spanId, spans('cio.accept')[0]!.spanContext().spanId)
  t.is(calling.links[0]!.context.spanId, spans('cio.connect')[0]!.spanContext().spanId)
  t.is(called.attributes['rpc.system.name'], 'jsonrpc')
  t.is(called.attributes['rpc.method'], 'where')

  app.on('error', () => {})
  await t.throwsAsync(client.rpc.call('fail'))
  t.is(of('fail', SpanKind.SERVER).attributes['rpc.status_code'], '-32603')
  t.is(of('fail', SpanKind.SERVER).status.code, SpanStatusCode.ERROR)
})

for (const [what, meta] of [
  ['a traceparent that is an array', { traceparent: [1] }],
  ['a traceparent with a line feed', { traceparent: '00-\n' }],
  ['a traceparent of 1 MB', { traceparent: 'a'.repeat(1_000_000) }],
  ['baggage that is a number', { baggage: 5 }],
  ['baggage that is an object', { baggage: { split: 1 } }],
  ['baggage of 1 MB', { baggage: 'a=b,'.repeat(250_000) }],
  [
    'a tracestate that is a number',
    { traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`, tracestate: 7 },
  ],
] as const) {
  test(`a peer is answered, and makes no error of the application, by ${what}`, async (t) => {
    const { tracer, spans } = recorder(t)
    const app = callingApp()
    trace(app, { tracer, propagate: true })
    closeAfter(t, app)
    app.on('error', (error) => t.fail(error.message))
    const { port } = await app.listen({ host: '127.0.0.1', port: 0 })
    const client = await new Cio()
      .useClient(json({ maxLength: 4_000_000 }))
      .connect({ host: '127.0.0.1', port })
    t.teardown(() => client.destroy())
    const { messages } = client
    await messages.send({ jsonrpc: '2.0', id: 1, method: 'where', params: { _meta: meta } })
    for await (const answer of messages) {
      t.regex(String((answer as { result: unknown }).result), /^[0-9a-f]{16}$/)
      break
    }
    const [span] = spans('where')
    t.is(span!.parentSpanContext?.traceId, 'tracestate' in meta ? '1'.repeat(32) : undefined)
  })
}

test('without propagate, the trace of a caller is neither sent nor taken', async (t) => {
  const { tracer, spans } = recorder(t)
  let received: unknown
  const app = new Cio()
    .useConnection(json())
    .useConnection(rpc({ methods: { take: (params: object) => void (received = params) } }))
    .useClient(json())
    .useClient(rpc())
  trace(app, { tracer })
  closeAfter(t, app)
  const server = await app.listen({ host: '127.0.0.1', port: 0 })
  const client = await app.connect({ host: '127.0.0.1', port: server.port })
  const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
  await client.rpc.call('take', { _meta: { traceparent } })
  t.deepEqual(received, { _meta: { traceparent } })
  const called = spans('take').find(({ kind }) => kind === SpanKind.SERVER)!
  t.not(called.spanContext().traceId, 'a'.repeat(32))
})

test('a method that the peer made up is _OTHER', async (t) => {
  const { tracer, spans } = recorder(t)
  const app = callingApp()
  trace(app, { tracer })
  closeAfter(t, app)
  const server = await app.listen({ host: '127.0.0.1', port: 0 })
  const socket = await dial(t, server)
  socket.write('{"jsonrpc":"2.0","id":1,"method":"random-123"}\n')
  await once(socket, 'data')
  t.is(spans('random-123').length, 0)
  t.is(spans('_OTHER')[0]!.attributes['rpc.status_code'], '-32601')
})

test('over TLS, the span has the version; after dispose there are no more spans', async (t) => {
  const { tracer, spans } = recorder(t)
  const { clients, server: identity } = await testCertificates('alice')
  const app = new Cio().useServer(certs(identity)).useConnection(async function hello({ stream }) {
    stream.end('hello')
  })
  const tracing = trace(app, { tracer })
  closeAfter(t, app)
  const server = await app.listen({ host: '127.0.0.1', port: 0 })
  const come = async (): Promise<void> => {
    const end = ended(app)
    const { port } = server
    const socket = connect({ port, host: '127.0.0.1', ...clients.alice })
    await once(socket.resume(), 'close')
    await end
  }
  await come()
  t.is(spans('cio.accept')[0]!.attributes['tls.protocol.version'], '1.3')
  tracing[Symbol.dispose]()
  await come()
  t.is(spans('cio.accept').length, 1)
})

test('a wrong option is refused', (t) => {
  const app = new Cio()
  for (const options of [{ steps: 1 }, { propagate: 'yes' }, { tracer: {} }, { step: true }]) {
    t.throws(() => trace(app, options as never), { code: 'ERR_CIO_OPTION' })
  }
})

/**
 * `@cio/watch/trace`: traces over `@opentelemetry/api`. A connection has a short span, from accept to its last
 * middleware; each call of `rpc` has a span of its own, which links to it.
 *
 * A span of a whole connection would be exported when it closes, which may be days later.
 */

import {
  type Attributes,
  type Context,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  context,
  propagation,
  trace as api,
} from '@opentelemetry/api'
import type { App, ClientContext, Cio, ConnectionContext, ConnectionEnd, StreamContext } from 'cio'
import { type Probe, type ProbedCall, checkOptionNames, optionError } from 'cio/kit'
import { TLSSocket } from 'node:tls'
import { pipe, placeOfClient, placeOfServer } from './places.ts'
import { clean, codeLabel } from './text.ts'

/** Options of {@link trace}. */
export interface TraceOptions {
  /**
   * Whether each middleware that a connection passes has a span inside that of the connection.
   *
   * @default false
   */
  readonly steps?: boolean
  /**
   * Whether calls pass on the trace, in both directions, as `params._meta.traceparent`. Works only
   * if `params` is an object or absent. A peer that you do not trust can choose the trace of its
   * calls.
   *
   * @default false
   */
  readonly propagate?: boolean
  /**
   * The tracer that makes the spans.
   *
   * @default that of the global provider, with the name `@cio/watch`
   */
  readonly tracer?: Tracer
}

/** The spans of one context, under a separate symbol. */
interface Admission {
  readonly span: Span
  /** For a span of the next step. */
  passed: number
  isOver: boolean
}

/**
 * Traces the connections, clients and calls of an app with OpenTelemetry. Dispose the result to stop.
 *
 * @throws `ERR_CIO_OPTION`: an option is unknown or wrong
 */
export function trace<Connection extends object, Client extends object, Server extends object>(
  app: Cio<Connection, Client, Server>,
  options: TraceOptions = {},
): Disposable {
  checkOptionNames('trace', options, ['steps', 'propagate', 'tracer'])
  const { steps = false, propagate = false, tracer = api.getTracer('@cio/watch') } = options
  for (const [name, value] of Object.entries({ steps, propagate })) {
    if (typeof value !== 'boolean') throw optionError('trace', name, 'true or false', value)
  }
  if (typeof tracer?.startSpan !== 'function') {
    throw optionError('trace', 'tracer', 'a tracer of OpenTelemetry', tracer)
  }
  return (app as unknown as App).observe(new Tracing(tracer, steps, propagate))
}

class Tracing implements Probe {
  readonly #tracer: Tracer
  readonly #steps: boolean
  readonly #propagate: boolean
  readonly #admissions = new WeakMap<StreamContext, Admission>()
  readonly #calls = new WeakMap<ProbedCall, Span>()

  constructor(tracer: Tracer, steps: boolean, propagate: boolean) {
    this.#tracer = tracer
    this.#steps = steps
    this.#propagate = propagate
  }

  begin(ctx: StreamContext): void {
    const span = this.#tracer.startSpan(ctx.kind === 'client' ? 'cio.connect' : 'cio.accept', {
      root: true,
      attributes: { ...attributesOf(ctx), 'cio.connection.id': ctx.id },
    })
    this.#admissions.set(ctx, { span, passed: Date.now(), isOver: false })
  }

  step(ctx: StreamContext, name: string, duration: number): void {
    const admission = this.#admissions.get(ctx)
    if (!admission || admission.isOver) return
    if (this.#steps) {
      const parent = api.setSpan(context.active(), admission.span)
      const now = Date.now()
      const startTime = Math.max(admission.passed, now - duration)
      const attributes = { 'cio.step.name': name, 'cio.pipeline': ctx.kind }
      this.#tracer.startSpan(`cio.step ${name}`, { startTime, attributes }, parent).end(now)
      admission.passed = now
    }
    if (isLast(ctx, name)) finish(ctx, admission)
  }

  end(ctx: StreamContext, end: ConnectionEnd): void {
    const admission = this.#admissions.get(ctx)
    if (!admission || admission.isOver) return
    admission.span.setAttributes({ 'cio.end.reason': end.reason, 'cio.step.name': end.step })
    if (end.code !== undefined || end.refusal) {
      admission.span.setAttribute('error.type', codeLabel(end.code ?? end.reason))
      admission.span.setStatus({ code: SpanStatusCode.ERROR, message: end.reason })
    }
    finish(ctx, admission)
  }

  call(ctx: StreamContext, call: ProbedCall, run: () => void): void {
    const admission = this.#admissions.get(ctx)
    if (admission && !admission.isOver) finish(ctx, admission)
    const isServer = call.side === 'server'
    const parent = isServer && this.#propagate ? extracted(call.params) : context.active()
    const name = call.isKnown ? call.method : '_OTHER'
    const span = this.#tracer.startSpan(
      name,
      {
        kind: isServer ? SpanKind.SERVER : SpanKind.CLIENT,
        attributes: { ...attributesOf(ctx), ...attributesOfCall(call, name) },
        ...(admission && { links: [{ context: admission.span.spanContext() }] }),
      },
      parent,
    )
    this.#calls.set(call, span)
    const inside = api.setSpan(parent, span)
    if (!isServer && this.#propagate) call.params = injected(inside, call.params)
    context.with(inside, run)
  }

  called(_ctx: StreamContext, call: ProbedCall): void {
    const span = this.#calls.get(call)
    if (!span) return
    const { code, error } = call
    if (code !== undefined) span.setAttribute('rpc.status_code', String(code))
    if (error) {
      const named = (error as NodeJS.ErrnoException).code
      span.setAttribute(
        'error.type',
        code === undefined ? codeLabel(named ?? '_OTHER') : String(code),
      )
      span.setStatus({ code: SpanStatusCode.ERROR })
    }
    span.end()
  }
}

function finish(ctx: StreamContext, admission: Admission): void {
  admission.isOver = true
  const { socket } = ctx
  if (socket instanceof TLSSocket) {
    const version = socket.getProtocol()?.replace('TLSv', '')
    if (version !== undefined) admission.span.setAttribute('tls.protocol.version', version)
  }
  admission.span.end()
}

/** The last two steps by pipeline: a connection that has passed one of them is in the handler, or past it. */
const lastPassed = new WeakMap<object, { readonly generation: number; readonly names: string[] }>()

function isLast(ctx: StreamContext, name: string): boolean {
  const pipeline = ctx.app.pipelines[ctx.kind]
  let last = lastPassed.get(pipeline)
  if (last?.generation !== pipeline.generation) {
    last = { generation: pipeline.generation, names: pipeline.names.slice(-2) }
    lastPassed.set(pipeline, last)
  }
  return last.names.includes(name)
}

function attributesOf(ctx: StreamContext): Attributes {
  if (ctx.kind === 'client') return placeOfClient(ctx as ClientContext).attributes
  const { server } = ctx as ConnectionContext
  return server ? placeOfServer(server).attributes : pipe.attributes
}

function attributesOfCall({ id }: ProbedCall, method: string): Attributes {
  return {
    'rpc.system.name': 'jsonrpc',
    'rpc.method': method,
    'jsonrpc.protocol.version': '2.0',
    ...(id !== undefined && id !== null && { 'jsonrpc.request.id': clean(String(id), 64) }),
  }
}

/** The trace that a caller has sent; the active one if it sent none. */
function extracted(params: unknown): Context {
  const meta: unknown = isRecord(params) ? params._meta : undefined
  return isRecord(meta) ? propagation.extract(context.active(), meta) : context.active()
}

/** The parameters with the trace, if they can hold it. */
function injected(inside: Context, params: unknown): unknown {
  if (params !== undefined && params !== null && !isRecord(params)) return params
  const { _meta: meta, ...others } = params ?? {}
  const carrier: Record<string, unknown> = isRecord(meta) ? { ...meta } : {}
  propagation.inject(inside, carrier)
  return Object.keys(carrier).length === 0 ? params : { ...others, _meta: carrier }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/** Open connections as rows: sorted and filtered here, so that a page gets only what it shows. */

import type { ConnectionContext } from 'cio'
import { bytesOf, checkCount, checkOptionNames, optionError } from 'cio/kit'
import { TLSSocket } from 'node:tls'
import type { Collector } from './collector.ts'
import { type PassedStep, passedSteps } from './ways.ts'
import { checkText, clean } from './text.ts'

/** An open connection. */
export interface ConnectionRow {
  readonly id: number
  readonly server: string
  /** The verified name. */
  readonly peer: string | null
  readonly address: string | null
  readonly step: string
  /** Seconds since accept, or since the watch found it. */
  readonly age: number
  /** Bytes a second, in both directions; 0 before the second look. */
  readonly rate: number
  readonly rx: number
  readonly tx: number
  /** Bytes written and not yet sent. */
  readonly queued: number
  /** Seconds without a byte, as far as the looks show; null before the first look. */
  readonly idle: number | null
  readonly generation: number
}

/** One open connection, in full. */
export interface ConnectionDetail extends ConnectionRow {
  readonly wireRx: number
  readonly wireTx: number
  readonly tls: string | null
  readonly cipher: string | null
  readonly resumed: boolean
  readonly alpn: string | null
  readonly certificate: {
    readonly issuer: string
    readonly serialNumber: string
    readonly expires: number
    readonly fingerprint256: string
  } | null
  /** The steps that it has passed; dropped a minute after accept. */
  readonly steps: readonly PassedStep[]
}

/** The query for open connections. */
export interface ConnectionQuery {
  /** @default 'rate' */
  readonly sort?: 'rate' | 'bytes' | 'age' | 'idle' | 'queued' | 'step'
  /** A part of a name, an address, or `generation 3`. Without it, all. */
  readonly filter?: string
  /** The step in which they are. Without it, all. */
  readonly step?: string
  /** @default 50 */
  readonly limit?: number
  /** How many to skip. @default 0 */
  readonly after?: number
}

/** A part of the open connections. */
export interface ConnectionPage {
  /** How many there are, and how many of them the query matches. */
  readonly open: number
  readonly matching: number
  readonly rows: readonly ConnectionRow[]
}

export const sorts = ['rate', 'bytes', 'age', 'idle', 'queued', 'step'] as const

/** Chooses among the open connections. */
export function connectionPage(collector: Collector, query: ConnectionQuery): ConnectionPage {
  checkOptionNames('connections', query, ['sort', 'filter', 'step', 'limit', 'after'])
  const { sort = 'rate', filter = '', step, limit = 50, after = 0 } = query
  checkCount('connections', 'limit', limit)
  checkCount('connections', 'after', after)
  checkText('connections', 'filter', filter)
  checkText('connections', 'step', step)
  if (!sorts.includes(sort)) throw optionError('connections', 'sort', sorts.join(', '), sort)
  const now = performance.now()
  const all = [...collector.open()]
  const matches = matcher(collector, filter)
  const chosen = all.filter((ctx) => (step === undefined || ctx.step === step) && matches(ctx))
  const sorted =
    sort === 'step'
      ? chosen.toSorted((a, b) => (a.step < b.step ? -1 : Number(a.step > b.step)) || a.id - b.id)
      : byWeight(chosen, weights[sort](collector, now))
  const rows = sorted.slice(after, after + limit).map((ctx) => rowOf(collector, ctx, now))
  return { open: all.length, matching: chosen.length, rows }
}

/** An open connection by its number. */
export function connectionDetail(collector: Collector, id: number): ConnectionDetail | undefined {
  for (const ctx of collector.open()) if (ctx.id === id) return detailOf(collector, ctx)
  return undefined
}

function matcher(collector: Collector, filter: string): (ctx: ConnectionContext) => boolean {
  const word = filter.trim()
  if (word === '') return () => true
  const [, generation] = /^generation (\d+)$/.exec(word) ?? []
  if (generation !== undefined) return (ctx) => ctx.generation === Number(generation)
  return (ctx) =>
    [collector.identities.nameOf(ctx), collector.identities.addressOf(ctx), String(ctx.id)].some(
      (one) => one?.includes(word),
    )
}

type Weigh = (collector: Collector, now: number) => (ctx: ConnectionContext) => number

const weights: Readonly<Record<Exclude<(typeof sorts)[number], 'step'>, Weigh>> = {
  rate: (collector) => (ctx) => collector.seen.get(ctx)?.rate ?? 0,
  bytes: () => (ctx) => {
    const { rx, tx } = bytesOf(ctx)
    return rx + tx
  },
  age: (_, now) => (ctx) => now - ctx.acceptedAt,
  idle: (collector, now) => (ctx) => now - (collector.seen.get(ctx)?.moved ?? now),
  queued: () => (ctx) => ctx.stream.writableLength,
}

/** The heaviest first, each weighed once; the oldest first among equals. */
function byWeight(
  all: readonly ConnectionContext[],
  weigh: (ctx: ConnectionContext) => number,
): ConnectionContext[] {
  return all
    .map((ctx) => ({ ctx, weight: weigh(ctx) }))
    .toSorted((a, b) => b.weight - a.weight || a.ctx.id - b.ctx.id)
    .map(({ ctx }) => ctx)
}

function rowOf(collector: Collector, ctx: ConnectionContext, now: number): ConnectionRow {
  const record = collector.recordOf(ctx)
  const { rx, tx } = bytesOf(ctx)
  const seen = collector.seen.get(ctx)
  return {
    id: ctx.id,
    server: record?.place.key ?? '',
    peer: collector.identities.nameOf(ctx) ?? null,
    address: collector.identities.addressOf(ctx),
    step: ctx.step,
    age: (now - ctx.acceptedAt) / 1_000,
    rate: seen?.rate ?? 0,
    rx,
    tx,
    queued: ctx.stream.writableLength,
    idle: seen ? (now - seen.moved) / 1_000 : null,
    generation: ctx.generation,
  }
}

function detailOf(collector: Collector, ctx: ConnectionContext): ConnectionDetail {
  const { socket, peer } = ctx
  const record = collector.recordOf(ctx)
  const { wireRx, wireTx } = bytesOf(ctx)
  const tls = socket instanceof TLSSocket && !socket.destroyed ? socket : undefined
  return {
    ...rowOf(collector, ctx, performance.now()),
    wireRx,
    wireTx,
    tls: tls?.getProtocol() ?? null,
    cipher: tls?.getCipher()?.name ?? null,
    resumed: tls?.isSessionReused() ?? false,
    alpn: ctx.alpnProtocol,
    certificate: peer && {
      issuer: clean(peer.issuer.replaceAll('\n', ', ')),
      serialNumber: peer.serialNumber,
      expires: Number(peer.validTo),
      fingerprint256: peer.fingerprint256,
    },
    steps: record ? passedSteps(record) : [],
  }
}

import { TLSSocket } from 'node:tls'
import type { ClientContext } from '../../src/client/client.ts'
import type { ConnectionEnd } from '../../src/connection-end.ts'
import { quote } from '../../src/errors.ts'
import { bytesOf } from '../../src/lifecycle/bytes-of.ts'
import type { ConnectionContext } from '../../src/lifecycle/connection.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { type Endpoint, networkOf } from '../../src/streams/endpoint.ts'
import { keepRemote, keptRemote } from '../../src/streams/kept-remote.ts'
import type { Attributes } from './json-line.ts'

/** The part of an address that a line shows. */
export type AddressDetail = 'full' | 'network' | 'none'
/** The attributes of a peer in a line. */
export type PeerDetail = 'name' | 'spki' | 'none'

/**
 * The attributes that must be read while a connection is open, since Node loses them when it
 * destroys the socket.
 */
export interface Facts {
  readonly began: number
  /** When its last line was written, or it began. */
  lastLine: number
  /** The port of the server; 0 without one. */
  readonly port: number
  tls?: { readonly version: string; readonly resumed: boolean }
  peer?: string
}

/** The options about personal data. */
export interface Details {
  readonly address: AddressDetail
  readonly peer: PeerDetail
}

export function factsOf(ctx: StreamContext, port: number, { address }: Details): Facts {
  if (ctx.kind === 'client') {
    const now = performance.now()
    return { began: now, lastLine: now, port }
  }
  const { acceptedAt } = ctx as ConnectionContext
  if (address !== 'none') keepRemote(ctx as ConnectionContext)
  return { began: acceptedAt, lastLine: acceptedAt, port }
}

/** Adds the attributes that are known after a handshake. */
export function noteHandshake(facts: Facts, ctx: StreamContext, { peer }: Details): void {
  const { socket } = ctx
  if (!(socket instanceof TLSSocket)) return
  const version = (socket.getProtocol() ?? '').replace('TLSv', '')
  facts.tls = { version, resumed: socket.isSessionReused() }
  if (peer === 'none' || !ctx.peer) return
  const identity = peer === 'spki' ? ctx.peer.spki : ctx.peer.name
  if (identity !== null) facts.peer = safe(identity)
}

/** Adds the attributes of both kinds of lines. */
export function addFacts(
  found: Attributes,
  ctx: StreamContext,
  facts: Facts,
  details: Details,
  now: number,
): void {
  const { socket } = ctx
  found['cio.connection.id'] = ctx.id
  if (ctx.kind === 'connection') addClient(found, ctx as ConnectionContext, facts, details)
  else addTarget(found, ctx as ClientContext)
  if (facts.tls) {
    found['tls.protocol.version'] = facts.tls.version
    found['tls.resumed'] = facts.tls.resumed
  }
  if (facts.peer !== undefined) found[`cio.peer.${details.peer}`] = facts.peer
  found['cio.connection.duration'] = seconds(now - facts.began)
  if (socket) {
    const { rx, tx } = bytesOf(ctx)
    found['cio.connection.received.size'] = rx
    found['cio.connection.sent.size'] = tx
  }
  found['cio.pipeline.generation'] = ctx.generation
}

/** The client of a server, and the proxy through which it came. */
function addClient(
  found: Attributes,
  ctx: ConnectionContext,
  { port }: Facts,
  { address: detail }: Details,
): void {
  const { server, forwardedFor } = ctx
  const remote = keptRemote(ctx)
  const place = server?.options
  if (port > 0) found['server.port'] = port
  else if (place?.path !== undefined) found['server.address'] = safe(place.path)
  if (forwardedFor === null) return addEndpoint(found, 'client', remote, detail)
  if (forwardedFor !== 'unknown') addEndpoint(found, 'client', forwardedFor, detail)
  addEndpoint(found, 'network.peer', remote, detail)
}

function addEndpoint(
  found: Attributes,
  prefix: string,
  endpoint: Endpoint | null,
  detail: AddressDetail,
): void {
  if (!endpoint || detail === 'none') return
  if (detail === 'network') {
    found[`${prefix}.address`] = safe(networkOf(endpoint.address))
    return
  }
  found[`${prefix}.address`] = safe(endpoint.address)
  if (endpoint.port > 0) found[`${prefix}.port`] = endpoint.port
}

/** The target of a client. It is not personal data, so it is always shown in full. */
function addTarget(found: Attributes, { options }: ClientContext): void {
  const { host, port, path } = options
  if (path !== undefined) found['server.address'] = safe(path)
  else if (host !== undefined) found['server.address'] = safe(host)
  if (port !== undefined) found['server.port'] = port
}

/** Adds the attributes of its end. */
export function addEnd(found: Attributes, end: ConnectionEnd, { peer: detail }: Details): void {
  const { reason, by, why, step, code, error, refusal, handshake } = end
  found['cio.end.reason'] = reason
  found['cio.end.by'] = by
  add(found, 'cio.end.why', why)
  add(found, 'cio.step.name', step)
  add(found, 'error.type', code ?? error?.name)
  if (refusal) {
    add(found, 'cio.refusal.reason', refusal.why)
    add(found, 'cio.refusal.at', refusal.at)
    add(found, 'cio.refusal.verdict', refusal.verdict)
    const { peer } = refusal
    if (detail === 'name' && peer && !peer.verified) {
      add(found, 'cio.peer.claimed_name', peer.name ?? undefined)
    }
  }
  if (!handshake) return
  add(found, 'cio.tls.server_name', handshake.serverName ?? undefined)
  add(found, 'cio.tls.reason', handshake.reason)
  add(found, 'cio.tls.alert', handshake.alert)
}

function add(found: Attributes, name: string, value: string | undefined): void {
  if (value !== undefined && value !== '') found[name] = safe(value)
}

const isHarmless = /^[\w .:/@*+=-]{0,64}$/

/**
 * A text from outside, cut and escaped. The value itself is escaped, and not only its JSON: a tool
 * that decodes the line must not send an escape sequence to a terminal either.
 */
export function safe(text: string): string {
  return isHarmless.test(text) ? text : quote(text).slice(1, -1)
}

function seconds(milliseconds: number): number {
  return Math.round(milliseconds * 1_000) / 1_000_000
}

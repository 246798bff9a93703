/** The table of metrics: names and units as OpenTelemetry writes them. */

import type { Metric } from './instruments.ts'
import { type ProcessKey, ofProcess } from './metrics/of-process.ts'

// Kestrel's, and four more: connections of devices live for days.
const durations = [
  0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3_600, 14_400, 86_400,
]
const handshakes = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
]
/** The names of OpenTelemetry's convention for rpc. */
const calls = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
const steps = [0.0001, 0.001, 0.01, 0.1, 1, 10]

export type MetricKey =
  | 'active'
  | 'opened'
  | 'duration'
  | 'refused'
  | 'dropped'
  | 'io'
  | 'queued'
  | 'stepDuration'
  | 'stepActive'
  | 'handshake'
  | 'handshakeActive'
  | 'clientActive'
  | 'clientDuration'
  | 'clientConnect'
  | 'clientReconnects'
  | 'rpcServer'
  | 'rpcClient'
  | 'limitUsage'
  | 'limitLimit'
  | 'logSuppressed'
  | 'logDropped'
  | ProcessKey

/** All of them, in the order of the output. */
export const metrics: Readonly<Record<MetricKey, Metric>> = {
  active: {
    name: 'cio.connection.active',
    kind: 'updown',
    unit: '{connection}',
    help: 'Open connections of a server, from accept to close.',
  },
  opened: {
    name: 'cio.connection.opened',
    kind: 'counter',
    unit: '{connection}',
    help: 'Connections, counted once their TLS handshake is done, has failed, or is not needed.',
  },
  duration: {
    name: 'cio.connection.duration',
    kind: 'histogram',
    unit: 's',
    help: 'Time from accept to close, by the reason of the end.',
    buckets: durations,
  },
  refused: {
    name: 'cio.connection.refused',
    kind: 'counter',
    unit: '{connection}',
    help: 'Connections that a step refused, by the step and its reason.',
  },
  dropped: {
    name: 'cio.connection.dropped',
    kind: 'counter',
    unit: '{connection}',
    help: 'Connections that Cio closed at accept, because too few file descriptors were left.',
  },
  io: {
    name: 'cio.connection.io',
    kind: 'counter',
    unit: 'By',
    help: 'Bytes over connections: on the wire, and plain, which is above TLS.',
  },
  queued: {
    name: 'cio.connection.queued.size',
    kind: 'gauge',
    unit: 'By',
    help: 'Bytes that were written to open connections and are not sent yet.',
  },
  stepDuration: {
    name: 'cio.step.duration',
    kind: 'histogram',
    unit: 's',
    help: 'Own time of a middleware until it calls next(), without what is inside it.',
    buckets: steps,
  },
  stepActive: {
    name: 'cio.step.active',
    kind: 'gauge',
    unit: '{connection}',
    help: 'Open connections whose innermost entered middleware is this one.',
  },
  handshake: {
    name: 'cio.tls.handshake.duration',
    kind: 'histogram',
    unit: 's',
    help: 'Time of a handshake in the step secure, by TLS version, or by the error of one that failed.',
    buckets: handshakes,
  },
  handshakeActive: {
    name: 'cio.tls.handshake.active',
    kind: 'updown',
    unit: '{handshake}',
    help: 'Open connections in the TLS handshake.',
  },
  clientActive: {
    name: 'cio.client.connection.active',
    kind: 'updown',
    unit: '{connection}',
    help: 'Connected clients, by their target.',
  },
  clientDuration: {
    name: 'cio.client.connection.duration',
    kind: 'histogram',
    unit: 's',
    help: 'Time from connected to closed of a client, by its target.',
    buckets: durations,
  },
  clientConnect: {
    name: 'cio.client.connect.duration',
    kind: 'histogram',
    unit: 's',
    help: 'Time of an attempt to connect, name look-up included; with the error of one that failed.',
    buckets: handshakes,
  },
  clientReconnects: {
    name: 'cio.client.reconnects',
    kind: 'counter',
    unit: '{attempt}',
    help: 'Further attempts of clients after a failure or a loss, by their target.',
  },
  rpcServer: {
    name: 'rpc.server.call.duration',
    kind: 'histogram',
    unit: 's',
    help: 'Time of a method that a peer has called, by method and error code.',
    buckets: calls,
  },
  rpcClient: {
    name: 'rpc.client.call.duration',
    kind: 'histogram',
    unit: 's',
    help: 'Time from a call of this side to its response, by method and error code.',
    buckets: calls,
  },
  limitUsage: {
    name: 'cio.limit.usage',
    kind: 'gauge',
    unit: '{item}',
    help: 'What counts towards a limit now, by the option of limit().',
  },
  limitLimit: {
    name: 'cio.limit.limit',
    kind: 'gauge',
    unit: '{item}',
    help: 'The limit that limit() sets, by its option.',
  },
  logSuppressed: {
    name: 'cio.log.suppressed',
    kind: 'counter',
    unit: '{record}',
    help: 'Lines above the rate of log(), which one line sums up, by the reason of the end.',
  },
  logDropped: {
    name: 'cio.log.dropped',
    kind: 'counter',
    unit: '{record}',
    help: 'Lines that log() dropped, because the reader of the log was too slow.',
  },
  ...ofProcess,
}

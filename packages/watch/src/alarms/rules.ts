/** The alarms: what each measures, at which value it is raised, and what to do. */

import type { Snapshot } from '../snapshot.ts'
import type { AlarmName } from './alarm.ts'

/** Figures of one look that are not in the snapshot. */
export interface Look {
  readonly snapshot: Snapshot
  /** Busy share of the event loop since the last look. */
  readonly utilization: number
  /** Refusals of the last minute over those of an average minute before; 0 for few of them. */
  readonly refusalRatio: number
  /** Lines that the log has dropped in the last minute. */
  readonly logDropped: number
}

/** When an alarm is raised and cleared. */
export interface AlarmBounds {
  /** Raised at this value. */
  readonly raise?: number
  /**
   * Cleared at this value. It differs from `raise`, so that a value near them does not change the
   * alarm all the time.
   */
  readonly clear?: number
  /** Milliseconds for which the value must last, both ways. */
  readonly duration?: number
}

export interface Rule extends Required<AlarmBounds> {
  /** Whether low values raise the alarm. */
  readonly isBelow?: boolean
  /** Undefined where there is nothing to measure. */
  readonly value: (look: Look) => number | undefined
  readonly advice: string
}

const day = 86_400_000

const shareOf =
  (name: string) =>
  ({ snapshot: { bounds } }: Look): number | undefined => {
    const bound = bounds.find((one) => one.name === name)
    return bound && bound.usage / bound.limit
  }

const lately =
  (reason: string) =>
  ({ snapshot: { ended } }: Look): number =>
    ended[reason]?.lately ?? 0

export const rules: Readonly<Record<AlarmName, Rule>> = {
  descriptors: {
    raise: 0.9,
    clear: 0.8,
    duration: 0,
    value: shareOf('descriptors'),
    advice:
      'Raise the limit of file descriptors (ulimit -n, LimitNOFILE=), or cap clients with limit().',
  },
  connections: {
    raise: 0.9,
    clear: 0.8,
    duration: 0,
    value: shareOf('connections'),
    advice: 'Raise limit({ connections }), or add a server.',
  },
  handshakes: {
    raise: 500,
    clear: 250,
    duration: 5_000,
    value: ({ snapshot: { servers } }) =>
      servers.reduce((sum, { handshakes }) => sum + handshakes, 0),
    advice:
      'Clients connect faster than handshakes are done: look at the CPU, and at limit({ handshakes }).',
  },
  refusals: {
    raise: 5,
    clear: 2,
    duration: 10_000,
    value: ({ refusalRatio }) => refusalRatio,
    advice: 'The panel Refused says which step refuses, and at which line it was registered.',
  },
  localFaults: {
    raise: 1,
    clear: 0,
    duration: 0,
    value: lately('local_fault'),
    advice: 'The application failed: the event error, and the panel Ended, have the errors.',
  },
  stuck: {
    raise: 1,
    clear: 0,
    duration: 0,
    value: lately('stuck'),
    advice:
      'A middleware did not return after its connection had closed: have it observe ctx.signal.',
  },
  eventLoop: {
    raise: 0.9,
    clear: 0.7,
    duration: 10_000,
    value: ({ utilization }) => utilization,
    advice: 'One CPU is fully used: add a process, or take a CPU profile.',
  },
  certificates: {
    raise: 14 * day,
    clear: 15 * day,
    duration: 0,
    isBelow: true,
    value: ({ snapshot: { certificates, time } }) =>
      certificates.length === 0
        ? undefined
        : Math.min(...certificates.map(({ expires }) => expires - time)),
    advice:
      'Renew the certificate that expires first, and call server.reload(), or have certs() watch it.',
  },
  queued: {
    raise: 256 * 1024 * 1024,
    clear: 128 * 1024 * 1024,
    duration: 5_000,
    value: ({ snapshot: { servers } }) => servers.reduce((sum, { queued }) => sum + queued, 0),
    advice: 'Clients read too slowly: see timeout({ write }) and limit({ queued }).',
  },
  logDropped: {
    raise: 1,
    clear: 0,
    duration: 0,
    value: ({ logDropped }) => logDropped,
    advice: 'The reader of the log is too slow; lines are lost.',
  },
}

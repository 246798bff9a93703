/** Metrics of the process and of its apps as a whole. */

import type { Metric } from '../instruments.ts'

export type ProcessKey =
  | 'descriptorUsage'
  | 'descriptorLimit'
  | 'certificateRemaining'
  | 'generation'
  | 'peerIo'
  | 'alarmActive'
  | 'loopUtilization'
  | 'loopDelay'

export const ofProcess: Readonly<Record<ProcessKey, Metric>> = {
  descriptorUsage: {
    name: 'cio.descriptor.usage',
    kind: 'gauge',
    unit: '{descriptor}',
    help: 'Open file descriptors of the process.',
  },
  descriptorLimit: {
    name: 'cio.descriptor.limit',
    kind: 'gauge',
    unit: '{descriptor}',
    help: 'File descriptors that the process may have.',
  },
  certificateRemaining: {
    name: 'cio.certificate.remaining',
    kind: 'gauge',
    unit: 's',
    help: 'Time until a certificate of a server expires; negative afterwards.',
  },
  generation: {
    name: 'cio.pipeline.generation',
    kind: 'gauge',
    unit: '{change}',
    help: 'How many times a pipeline has changed.',
  },
  peerIo: {
    name: 'cio.peer.io',
    kind: 'gauge',
    unit: 'By',
    help: 'Bytes in the last whole minute of the peers with most, by verified name.',
  },
  alarmActive: {
    name: 'cio.alarm.active',
    kind: 'gauge',
    unit: '{alarm}',
    help: 'Whether an alarm is raised: 1 or 0.',
  },
  loopUtilization: {
    name: 'nodejs.eventloop.utilization',
    kind: 'gauge',
    unit: '1',
    help: 'Share of the time since the last look in which the event loop was busy.',
  },
  loopDelay: {
    name: 'nodejs.eventloop.delay.p99',
    kind: 'gauge',
    unit: 's',
    help: 'How late a timer of 500 ms was, 99th percentile of the last minute.',
  },
}

import type { Writable } from 'node:stream'
import { quietReasons } from '../../src/connection-end.ts'
import type { EndReason } from '../../src/end-reason.ts'
import type { Rate } from '../../src/rates/token-bucket.ts'
import type { Details } from './attributes.ts'
import type { Level } from './json-line.ts'
import type { Logger } from './sink.ts'

/** The options with their defaults. */
export interface Settings extends Details {
  readonly to: Logger | Writable | undefined
  readonly ordinary: number
  readonly healthChecks: boolean
  readonly openInterval: number
  readonly rate: Rate
  readonly maxBuffer: number
}

const ordinary: ReadonlySet<EndReason> = new Set<EndReason>([
  ...quietReasons,
  'served',
  'drained',
  'too_old',
])
const ofApp: ReadonlySet<EndReason> = new Set<EndReason>(['local_fault', 'stuck', 'upstream'])

/** The level of a line: `info` only for ordinary ends. */
export function levelOf(reason: EndReason): Level {
  if (ordinary.has(reason)) return 'info'
  return ofApp.has(reason) ? 'error' : 'warn'
}

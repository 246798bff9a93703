/** The public form of an alarm. */

/** The names of all alarms. */
export type AlarmName =
  | 'descriptors'
  | 'connections'
  | 'handshakes'
  | 'refusals'
  | 'localFaults'
  | 'stuck'
  | 'eventLoop'
  | 'certificates'
  | 'queued'
  | 'logDropped'

/** An alarm, as in the event `alarm`. */
export interface Alarm {
  readonly name: AlarmName
  readonly active: boolean
  /** The value that was measured; undefined where nothing can be measured. */
  readonly value: number | undefined
  /** When it was raised or cleared, in milliseconds since 1970. */
  readonly since: number
  /** Advice: what to do about it. */
  readonly advice: string
}

/** The alarms of a watch. Dispose it to stop. */
export interface Alarms extends Disposable {
  /** All alarms that are on, raised or not. */
  readonly list: readonly Alarm[]
}

/**
 * `alarms(watching)`: raises an alarm when the figures of a watch need the attention of an
 * operator.
 */

import type { App } from 'cio'
import { checkDuration, checkOptionNames, emitSafely, optionError } from 'cio/kit'
import { type EventLoopUtilization, performance } from 'node:perf_hooks'
import { AlarmState } from './alarms/alarm-state.ts'
import type { Alarm, AlarmName, Alarms } from './alarms/alarm.ts'
import { RefusalRate } from './alarms/refusal-rate.ts'
import { type AlarmBounds, type Look, type Rule, rules } from './alarms/rules.ts'
import { type Watch, appsOf, collectorOf } from './watch.ts'

/** Options of `alarms`: bounds for each alarm, or `false` for none. */
export type AlarmsOptions = {
  /** @default the bounds in the README */
  readonly [Name in AlarmName]?: AlarmBounds | false
} & {
  /**
   * Milliseconds from one change of an alarm to the next.
   *
   * @default 5_000
   */
  readonly cooldown?: number
}

declare module 'cio' {
  interface AppEvents {
    /** An alarm of `@cio/watch` was raised or cleared. */
    alarm: [alarm: Alarm]
  }
}

const minute = 60_000

/**
 * Checks the figures of a watch once a second, and emits `alarm` on its apps when an alarm is
 * raised or cleared.
 *
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range
 */
export function alarms(watching: Watch, options: AlarmsOptions = {}): Alarms {
  collectorOf(watching)
  checkOptionNames('alarms', options, [...Object.keys(rules), 'cooldown'])
  const { cooldown = 5_000 } = options
  checkDuration('alarms', 'cooldown', cooldown)
  const states = new Map<AlarmName, [Rule, AlarmState]>()
  for (const name of Object.keys(rules) as AlarmName[]) {
    const rule = ruleOf(name, options[name])
    if (rule) states.set(name, [rule, new AlarmState(rule, cooldown)])
  }
  return new Alarming(watching, states)
}

function ruleOf(name: AlarmName, bounds: AlarmBounds | false | undefined): Rule | undefined {
  if (bounds === false) return undefined
  const rule = { ...rules[name], ...bounds }
  if (bounds === undefined) return rule
  checkOptionNames(`alarms: ${name}`, bounds, ['raise', 'clear', 'duration'])
  const { raise, clear, isBelow = false } = rule
  checkDuration('alarms', `${name}.duration`, rule.duration)
  const isApart = isBelow ? clear > raise : clear < raise
  if (!Number.isFinite(raise) || !Number.isFinite(clear) || !isApart) {
    const order = isBelow ? '`clear` above `raise`' : '`clear` below `raise`'
    throw optionError('alarms', name, `two numbers, ${order}`, bounds)
  }
  return rule
}

class Alarming implements Alarms {
  readonly #watching: Watch
  readonly #apps: readonly App[]
  readonly #states: ReadonlyMap<AlarmName, [Rule, AlarmState]>
  readonly #stop: () => void
  readonly #refusals: RefusalRate
  #minuteBegan: number = performance.now()
  #droppedBefore: number
  #droppedLately = 0
  #busy: EventLoopUtilization = performance.eventLoopUtilization()

  constructor(watching: Watch, states: ReadonlyMap<AlarmName, [Rule, AlarmState]>) {
    this.#watching = watching
    this.#apps = appsOf(watching)
    this.#states = states
    this.#refusals = new RefusalRate(watching.snapshot().totals.refused, this.#minuteBegan)
    this.#droppedBefore = this.#dropped
    collectorOf(watching).alarms = this
    this.#stop = watching.look(() => this.#look())
  }

  get list(): Alarm[] {
    return [...this.#states].map(([name, [rule, state]]) => alarmOf(name, rule, state))
  }

  [Symbol.dispose](): void {
    this.#stop()
    const collector = collectorOf(this.#watching)
    if (collector.alarms === this) collector.alarms = undefined
  }

  get #dropped(): number {
    return collectorOf(this.#watching).options.log?.counts.dropped ?? 0
  }

  #look(): void {
    const now = performance.now()
    const look = this.#figures(now)
    for (const [name, [rule, state]] of this.#states) {
      if (!state.take(rule.value(look), now)) continue
      const alarm = alarmOf(name, rule, state)
      for (const app of this.#apps) emitSafely(app, 'alarm', alarm)
    }
  }

  #figures(now: number): Look {
    const snapshot = this.#watching.snapshot()
    const busy = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(busy, this.#busy)
    this.#busy = busy
    const refusalRatio = this.#refusals.take(snapshot.totals.refused, now)
    const dropped = this.#dropped
    this.#droppedLately = Math.max(this.#droppedLately, dropped - this.#droppedBefore)
    if (now - this.#minuteBegan >= minute) {
      this.#minuteBegan = now
      this.#droppedLately = dropped - this.#droppedBefore
      this.#droppedBefore = dropped
    }
    return { snapshot, utilization, refusalRatio, logDropped: this.#droppedLately }
  }
}

function alarmOf(name: AlarmName, { advice }: Rule, { active, value, since }: AlarmState): Alarm {
  return { name, active, value, since, advice }
}

/**
 * Explains why a connection ended, or where it is now: its path through the pipeline, step by step.
 */

import type { App, ConnectionContext } from 'cio'
import { canonicalAddress, networkOf, optionError } from 'cio/kit'
import type { Collector } from './collector.ts'
import type { ClosedConnection } from './ended.ts'
import { type PassedStep, passedSteps } from './ways.ts'
import { type ConnectionDetail, connectionDetail } from './rows.ts'

/** The connection to be explained: by its number, a verified or claimed name, or an address. */
export type Subject = number | { readonly name: string } | { readonly address: string }

/**
 * Refuses what is no subject: it would match nothing, as if there were no such connection.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkSubject(subject: Subject): void {
  const { name, address } = { ...(subject as { readonly name?: unknown; address?: unknown }) }
  const given = [name, address].filter((one) => one !== undefined)
  if (typeof subject === 'number') return
  if (given.length === 1 && typeof given[0] === 'string') return
  throw optionError('explain', 'subject', 'a number, `{ name }` or `{ address }`', subject)
}

/** One step on the way of a connection. */
export interface ExplainedStep {
  readonly name: string
  /** The file and line that registered it. */
  readonly at: string
  readonly outcome: 'passed' | 'is here' | 'ended here' | 'refused here' | 'not reached'
  /** Milliseconds to pass it; undefined if that is no longer known. */
  readonly duration: number | undefined
}

/** The history of one connection. */
export interface Explanation {
  /** Set if it is open. */
  readonly open: ConnectionDetail | undefined
  /** Set if it is over. */
  readonly ended: ClosedConnection | undefined
  /** In the current order of the pipeline, if the connection ran on that; otherwise empty. */
  readonly steps: readonly ExplainedStep[]
  /**
   * How many more connections of the same subject are open, and how many are remembered as ended.
   */
  readonly others: { readonly open: number; readonly ended: number }
}

/**
 * Explains the newest connection of a subject: the last one that is open, or else the last that ended. A
 * refused connection that is newer than an open one comes first.
 */
export function explain(
  apps: readonly App[],
  collector: Collector,
  subject: Subject,
): Explanation | undefined {
  const open = [...collector.open()].filter((ctx) => isOpenOf(collector, ctx, subject))
  const ended = collector.ended.last().filter((one) => isOf(one, subject))
  const newest = open.at(-1)
  const [last] = ended
  const isNewer = last?.refusal !== undefined && newest !== undefined && last.id > newest.id
  if (newest && !isNewer) {
    const { step } = newest
    return {
      open: connectionDetail(collector, newest.id),
      ended: undefined,
      steps: steps([newest.app], newest.generation, step, 'is here', passedOf(collector, newest)),
      others: { open: open.length - 1, ended: ended.length },
    }
  }
  if (!last) return undefined
  const outcome = last.refusal ? 'refused here' : 'ended here'
  const { step, generation } = last
  return {
    open: undefined,
    ended: last,
    steps: last.kind === 'client' ? [] : steps(apps, generation, step, outcome, last.steps),
    others: { open: open.length, ended: ended.length - 1 },
  }
}

function steps(
  apps: readonly App[],
  generation: number,
  last: string,
  outcome: ExplainedStep['outcome'],
  passed: readonly PassedStep[] = [],
): ExplainedStep[] {
  const app = apps.find(({ pipelines: { connection } }) => {
    return connection.generation === generation && connection.has(last)
  })
  const entries = [...(app?.pipelines.connection ?? [])].filter(({ enabled }) => enabled)
  const place = entries.findIndex(({ name }) => name === last)
  return entries.map(({ name, at }, index) => {
    return {
      name,
      at,
      outcome: index < place ? 'passed' : index === place ? outcome : 'not reached',
      duration: passed.find((one) => one.name === name)?.duration,
    }
  })
}

function passedOf(collector: Collector, ctx: ConnectionContext): PassedStep[] {
  const record = collector.recordOf(ctx)
  return record ? passedSteps(record) : []
}

function isOpenOf(collector: Collector, ctx: ConnectionContext, subject: Subject): boolean {
  if (typeof subject === 'number') return ctx.id === subject
  if ('name' in subject) return collector.identities.nameOf(ctx) === subject.name
  return isFrom(collector.identities.addressOf(ctx), subject.address)
}

function isOf(one: ClosedConnection, subject: Subject): boolean {
  if (typeof subject === 'number') return one.id === subject
  if ('name' in subject) return one.peer === subject.name || one.claimed === subject.name
  return isFrom(one.address, subject.address)
}

/** Perhaps only its network was kept. */
function isFrom(kept: string | null, address: string): boolean {
  const own = canonicalAddress(address)
  return kept === own || kept === networkOf(own)
}

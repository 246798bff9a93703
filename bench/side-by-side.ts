/** What the benches share: two servers in turns, and ratios of medians. */

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { type Socket, connect as connectNet } from 'node:net'
import { extname } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { Figures, ServerSettings } from './echo-server.ts'
import { median, middleOfPairs, quantile, record } from './results.ts'
import { selfSigned } from './self-signed.ts'

const host = '127.0.0.1'
// No bench outlives it, whatever hangs.
const longest = 10 * 60_000
const afterglow = 20
setTimeout(() => process.exit(1), longest).unref()

export const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    launches: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '21' },
  },
})
const launches = Number(values.launches)
const rounds = Number(values.rounds)

/** A server of one side, at work in its own process. */
export interface Side {
  readonly port: number
  /** Its processor time in microseconds, and what is open. */
  cpu(): Promise<Figures>
  /** The same, with its heap, after a collection. */
  heap(): Promise<Figures>
  stop(): void
}

/** One question: what a unit of work costs a server on Cio, against one on bare Node. */
export interface Question {
  readonly title: string
  /** What is counted, for the table: `connection`, `MiB`. */
  readonly per: string
  readonly tls: boolean
  /** Whether the clients have certificates, and Cio a list of names. */
  readonly mutual?: boolean
  /** Whether Cio has `limit`, `timeout` and four listeners of its events. */
  readonly guarded?: boolean
  /** Rounds that are not counted, until what runs has been compiled. */
  readonly warmUp: number
  /** The environment of both servers, beside that of this process. */
  readonly env?: Readonly<Record<string, string>>
  /** The ratio that it should not exceed. */
  readonly target: number
  /** Does a bounded amount of work against a server; fulfils with how many units it was. */
  load(port: number, identity?: string): Promise<number>
}

/** Starts a server and waits until it listens. */
export async function start(
  settings: ServerSettings,
  env: Readonly<Record<string, string>> = {},
): Promise<Side> {
  const file = `echo-server${extname(import.meta.url)}`
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), [JSON.stringify(settings)], {
    execArgv: [...process.execArgv, '--expose-gc'],
    env: { ...process.env, ...env },
  })
  const [port] = (await once(child, 'message')) as [number]
  const ask = async (question: 'cpu' | 'heap'): Promise<Figures> => {
    child.send(question)
    const [figures] = (await once(child, 'message')) as [Figures]
    return figures
  }
  return { port, cpu: () => ask('cpu'), heap: () => ask('heap'), stop: () => child.disconnect() }
}

/** A connection to a server, TLS or plain, once it is ready to be used. With a session it is resumed. */
export async function dial(
  port: number,
  tls: boolean,
  identity?: string,
  session?: Buffer,
): Promise<Socket> {
  const options = { port, host, noDelay: true, allowHalfOpen: true }
  const own = identity ? { key: identity, cert: identity } : {}
  const socket = tls
    ? connectTls({ ...options, ...own, ...(session && { session }), rejectUnauthorized: false })
    : connectNet({ ...options })
  await once(socket, tls ? 'secureConnect' : 'connect')
  return socket
}

/**
 * Asks the questions whose titles contain the words of the command line, and prints the answers.
 *
 * Each launch starts both servers afresh, since what the compiler makes of a process differs from
 * one to the next. In a launch the sides take turns, so that what else the machine does hits both.
 */
export async function ask(questions: readonly Question[]): Promise<void> {
  const pem = selfSigned()
  for (const question of questions) {
    if (!positionals.every((word) => question.title.includes(word))) continue
    const costs = { bare: [] as number[], again: [] as number[], cio: [] as number[] }
    const collections = { bare: [] as number[], again: [] as number[], cio: [] as number[] }
    const faults = { bare: [] as number[], again: [] as number[], cio: [] as number[] }
    for (let launch = 0; launch < launches; launch++) {
      const { mutual, guarded, env } = question
      const common = { pem: question.tls ? pem : undefined, echo: true, mutual, guarded }
      const bare = { ...common, side: 'bare', passThrough: 0 } as const
      const cio = { ...common, side: 'cio', passThrough: guarded ? 0 : 5 } as const
      const sides = [
        ['bare', await start(bare, env)],
        ['cio', await start(cio, env)],
        ['again', await start(bare, env)],
      ] as const
      for (let round = 0; round < question.warmUp + rounds; round++) {
        for (const [name, side] of round % 2 ? sides : sides.toReversed()) {
          const { cost, markCompacts, pageFaults } = await measure(
            question,
            side,
            mutual ? pem : undefined,
          )
          if (round < question.warmUp) continue
          costs[name].push(cost)
          collections[name].push(markCompacts)
          faults[name].push(pageFaults)
        }
      }
      for (const [, side] of sides) side.stop()
    }
    const perSecond = ([collections.bare, collections.cio] as const).map(mean)
    const each = [median(faults.bare), median(faults.cio)] as const
    report(question, costs, perSecond as [number, number], each)
  }
}

interface Measured {
  /** Microseconds of processor time for each unit. */
  readonly cost: number
  /** Full collections a second. */
  readonly markCompacts: number
  /** Page faults for each unit. */
  readonly pageFaults: number
}

async function measure(question: Question, side: Side, identity?: string): Promise<Measured> {
  const before = await side.cpu()
  const began = performance.now()
  const units = await question.load(side.port, identity)
  // What a server does after the peer has gone is part of the cost; asking it is, too.
  await delay(afterglow)
  const after = await side.cpu()
  if (after.open > 0) throw new Error(`${after.open} connections are still open`)
  const seconds = (performance.now() - began) / 1_000
  return {
    cost: (after.cpu - before.cpu) / units,
    markCompacts: (after.markCompacts - before.markCompacts) / seconds,
    pageFaults: (after.pageFaults - before.pageFaults) / units,
  }
}

function report(
  { title, per, tls, target }: Question,
  { bare, cio, again }: Readonly<Record<'bare' | 'cio' | 'again', number[]>>,
  markCompacts: [bare: number, cio: number],
  pageFaults: readonly [bare: number, cio: number],
): void {
  const ratio = median(cio) / median(bare)
  const pairs = cio.map((cost, index) => cost / bare[index]!)
  const [low, middle, high] = [0.25, 0.5, 0.75].map((at) => quantile(pairs, at).toFixed(3))
  const self = middleOfPairs(again, bare)
  const beside = `half-open \`${tls ? 'tls' : 'net'}\``
  const [least, most] = middleOfPairs(cio, bare)
  const [ofBare, ofCio] = pageFaults.map((count) => count.toFixed(0))
  const faultsNote = `page faults for each ${per}: ${ofBare}; with Cio ${ofCio}`
  record({
    what: title,
    beside,
    unit: 'times',
    figure: ratio,
    low: least,
    high: most,
    target,
    self,
    markCompacts,
    ...(per === 'MiB' && { note: faultsNote }),
  })
  console.log(`${title} (server CPU, ${launches} launches of ${rounds} rounds)`)
  console.log(`  bare   ${line(bare, per)}`)
  console.log(`  cio    ${line(cio, per)}`)
  console.log(`  Mark-Compacts a second: ${markCompacts.map((each) => each.toFixed(1)).join('; ')}`)
  console.log(`  ${faultsNote}`)
  const verdict = `target ${target.toFixed(2)}: ${ratio <= target ? 'met' : 'missed'}`
  console.log(`  ratio  ${ratio.toFixed(3)} of medians; ${verdict}`)
  console.log(`  pairs  median ${middle}, middle half ${low} to ${high}`)
  console.log(
    `  itself bare beside bare, middle half ${self.map((at) => at.toFixed(3)).join(' to ')}`,
  )
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

function line(costs: number[], per: string): string {
  const figures = [median(costs), Math.min(...costs), Math.max(...costs)]
  const [middle, least, most] = figures.map((cost) => cost.toFixed(1))
  return `median ${middle} µs per ${per}, min ${least}, max ${most}`
}

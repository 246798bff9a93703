// node bench/build/bench/watch.js [cpu|open] [seconds]
//
// What it costs to watch a server.
//
// cpu: the microseconds that a probe or a log adds to one run of a pipeline in memory, and the CPU of a
// short plain connection over loopback at a server that is not watched. Their quotient is the ratio
// that counts. Each variant has a process of its own, since V8 would compile code that several
// apps share for all of them, which no server pays for; they run in turns, and medians of the
// differences within a turn count.
//
// open: with 10,000 idle plain connections, the heap of each above that of a server that is not
// watched, two minutes after accept; and how long a scrape blocks the event loop, first and later.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { type Socket, connect } from 'node:net'
import { Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { Cio, type Middleware, type StreamContext, log } from 'cio'
import { duplexPair } from 'cio/testing'
import { setTimeout as delay } from 'node:timers/promises'
import { type Watch, watch } from '../packages/watch/src/index.ts'
import { median } from './results.ts'

const layers = 7
const batch = 100
const warmUp = 200

function stack(app: Cio): Cio {
  for (let index = 0; index < layers; index++) {
    const pass: Middleware = async (_ctx, next) => {
      await next()
    }
    app.useConnection(pass, { name: `layer${index}` })
  }
  return app.useConnection(({ stream }) => void stream.end('bye'))
}

/** A server of short connections, which says at its end how much CPU each took. */
async function serve(): Promise<void> {
  const app = stack(new Cio())
  const server = await app.listen({ host: '127.0.0.1', port: 0 })
  process.send!({ port: server.port })
  let before = process.cpuUsage()
  process.on('message', (count: number) => {
    const { user, system } = process.cpuUsage(before)
    before = process.cpuUsage()
    process.send!({ each: count === 0 ? 0 : (user + system) / count })
  })
  process.once('disconnect', () => void app.close({ timeout: 0 }))
}

async function connection(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1')
  socket.resume()
  await once(socket, 'close')
}

async function overLoopback(): Promise<number> {
  const child = fork(fileURLToPath(import.meta.url), ['server'])
  const [{ port }] = (await once(child, 'message')) as [{ port: number }]
  const run = async (count: number): Promise<number> => {
    child.send(0)
    await once(child, 'message')
    for (let left = count; left > 0; left -= 10) {
      await Promise.all(Array.from({ length: 10 }, () => connection(port)))
    }
    child.send(count)
    const [{ each }] = (await once(child, 'message')) as [{ each: number }]
    return each
  }
  await run(1_000)
  const rounds: number[] = []
  for (let round = 0; round < 5; round++) rounds.push(await run(1_000))
  child.disconnect()
  return median(rounds)
}

const seen = Symbol('seen')
const variants: Record<string, () => Cio> = {
  unwatched: () => stack(new Cio()),
  'unwatched again': () => stack(new Cio()),
  'begin and end': () => {
    const app = stack(new Cio())
    app.observe({
      begin: (ctx: StreamContext & { [seen]?: number }) => void (ctx[seen] = 1),
      end() {},
    })
    return app
  },
  steps: () => {
    const app = stack(new Cio())
    const times = new Map<string, number>()
    app.observe({
      begin() {},
      end() {},
      step: (_ctx, name, duration) => void times.set(name, (times.get(name) ?? 0) + duration),
    })
    return app
  },
  '@cio/watch': () => {
    const app = stack(new Cio())
    watch(app)
    return app
  },
  '… without steps': () => {
    const app = stack(new Cio())
    watch(app, { steps: false })
    return app
  },
  log: () => {
    const to = new Writable({ write: (_chunk, _encoding, done) => done() })
    return stack(new Cio()).useServer(log({ to, rate: { count: Infinity, per: 1_000 } }))
  },
}

/** Runs a variant in memory, and says what CPU each run took. */
async function runInMemory(variant: string): Promise<void> {
  const app = variants[variant]!()
  // Not bound: it accepts streams in memory, as a server does sockets.
  const server = await app.listen({ bind: false })
  const measure = async (): Promise<void> => {
    const before = process.cpuUsage()
    for (let index = 0; index < batch; index++) {
      const [near, far] = duplexPair()
      near.resume()
      near.on('end', () => near.end())
      await server.accept(far).closed
    }
    const { user, system } = process.cpuUsage(before)
    process.send!({ value: (user + system) / batch })
  }
  process.on('message', () => void measure())
  process.once('disconnect', () => process.exit())
  process.send!({ value: 0 })
}

/** The CPU time of one run, and what each variant adds to it. */
async function inMemory(seconds: number): Promise<Map<string, number>> {
  const runs = new Map<string, { readonly child: ChildProcess; readonly rounds: number[] }>()
  for (const name of Object.keys(variants)) {
    const child = fork(fileURLToPath(import.meta.url), ['memory', name])
    await once(child, 'message')
    runs.set(name, { child, rounds: [] })
  }
  const until = performance.now() + seconds * 1_000
  for (let round = 0; performance.now() < until || round < warmUp * 2; round++) {
    // In both directions, so that none is always the first.
    const inTurn = round % 2 === 0 ? [...runs.values()] : [...runs.values()].toReversed()
    for (const { child, rounds } of inTurn) {
      const each = await asked(child, 'run')
      if (round >= warmUp) rounds.push(each)
    }
  }
  for (const { child } of runs.values()) child.disconnect()
  const base = runs.get('unwatched')!.rounds
  return new Map(
    [...runs].map(([name, { rounds }]) => {
      return [name, median(rounds.map((each, round) => each - base[round]!))]
    }),
  )
}

const idle = 10_000
const dialledAtOnce = 100
/** Connections before the first figure, so that code that is compiled for many is not among their cost. */
const warmedBy = 4_000
const openRounds = 3
const warming = [...Array<string>(20).fill('scrape'), 'settle']
const kept: Record<string, (app: Cio) => Watch | undefined> = {
  unwatched: () => undefined,
  'unwatched again': () => undefined,
  'without addresses': (app) => watch(app, { address: 'none' }),
  '@cio/watch': (app) => watch(app),
}

/** A server of idle connections, which says what they cost. */
async function hold(variant: string): Promise<void> {
  const app = new Cio().useConnection(async (_ctx, next) => next())
  const watching = kept[variant]!(app)
  const server = await app.listen({ host: '127.0.0.1', port: 0 })
  process.send!({ port: server.port })
  const heap = (): number => {
    gc!()
    gc!()
    return process.memoryUsage().heapUsed
  }
  process.on('message', (ask: string) => {
    if (ask === 'open') process.send!({ value: server.connections.size })
    if (ask === 'settle') {
      // A minute after accept the watch drops the times of the steps.
      const now = performance.now.bind(performance)
      performance.now = () => now() + 120_000
      watching?.look()()
      process.send!({ value: 0 })
    }
    if (ask === 'heap') process.send!({ value: heap() })
    if (ask === 'scrape') {
      const began = performance.now()
      watching?.metrics()
      process.send!({ value: performance.now() - began })
    }
  })
  process.once('disconnect', () => process.exit())
}

interface Held {
  readonly heap: number
  readonly scrapes: readonly number[]
}

/** @param isWarm Whether code is compiled before heap is measured: it is not a cost of each. */
async function holding(variant: string, isWarm: boolean): Promise<Held> {
  const child = fork(fileURLToPath(import.meta.url), ['hold', variant], {
    execArgv: [...process.execArgv, '--expose-gc'],
  })
  const [{ port }] = (await once(child, 'message')) as [{ port: number }]
  const first = await dialMany(port, isWarm ? warmedBy : 200)
  if (isWarm) for (const ask of warming) await asked(child, ask)
  const before = await asked(child, 'heap')
  const sockets = await dialMany(port, idle - first.length)
  while ((await asked(child, 'open')) < idle) await delay(20)
  const scrapes: number[] = []
  for (let count = 0; count < 10; count++) scrapes.push(await asked(child, 'scrape'))
  await asked(child, 'settle')
  const heap = ((await asked(child, 'heap')) - before) / sockets.length
  for (const socket of [...first, ...sockets]) socket.destroy()
  child.disconnect()
  return { heap, scrapes }
}

async function asked(child: ChildProcess, ask: string): Promise<number> {
  child.send(ask)
  const [{ value }] = (await once(child, 'message')) as [{ value: number }]
  return value
}

async function dialMany(port: number, count: number): Promise<Socket[]> {
  const sockets: Socket[] = []
  while (sockets.length < count) {
    const batch = Array.from({ length: dialledAtOnce }, async () => {
      const socket = connect(port, '127.0.0.1')
      await once(socket, 'connect')
      return socket
    })
    sockets.push(...(await Promise.all(batch)))
  }
  return sockets
}

async function open(): Promise<void> {
  const found = new Map<string, Held[]>(Object.keys(kept).map((name) => [name, []]))
  const cold: number[] = []
  for (let round = 0; round < openRounds; round++) {
    for (const [name, held] of found) held.push(await holding(name, true))
    cold.push((await holding('@cio/watch', false)).scrapes[0]!)
  }
  const heapOf = (name: string): number => median(found.get(name)!.map(({ heap }) => heap))
  console.log(`${idle} idle plain connections, ${openRounds} rounds`)
  for (const [name, held] of found) {
    const more = `${(heapOf(name) - heapOf('unwatched')).toFixed(0).padStart(5)} B`
    const firsts = held.map(({ scrapes }) => scrapes[0]!)
    const later = median(held.flatMap(({ scrapes }) => scrapes.slice(1)))
    const all = firsts.map((one) => one.toFixed(1)).join(', ')
    console.log(`${name.padEnd(18)} ${more}  first scrape ${all} ms, later ${later.toFixed(1)} ms`)
  }
  const firsts = cold.map((one) => one.toFixed(1)).join(', ')
  console.log(`the first scrape of the process: ${firsts} ms`)
}

const [mode = 'cpu', argument] = process.argv.slice(2)
if (mode === 'server') await serve()
else if (mode === 'memory') await runInMemory(argument!)
else if (mode === 'hold') await hold(argument!)
else if (mode === 'open') await open()
else {
  const short = await overLoopback()
  const added = await inMemory(Number(argument ?? 40))
  console.log(`a short plain connection over loopback: ${short.toFixed(0)} µs of the server's CPU`)
  for (const [name, more] of added) {
    const ratio = 1 + more / short
    console.log(`${name.padEnd(16)} ${more.toFixed(2).padStart(7)} µs  ${ratio.toFixed(3)}`)
  }
}

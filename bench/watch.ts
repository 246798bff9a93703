// node bench/build/bench/watch.js [seconds]
//
// What it costs to watch a server. Two figures: the microseconds that a probe or a log adds to one run
// of a pipeline in memory, interleaved, medians; and the CPU of a short plain connection over
// loopback at a server that is not watched. Their quotient is the ratio that counts.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { Cio, type Middleware, type StreamContext, log } from 'cio'
import { duplexPair } from 'cio/testing'
import { watch } from '../packages/watch/src/index.ts'
import { median } from './results.ts'

const layers = 7
const batch = 400
const warmUp = 5

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

interface Run {
  readonly app: Cio
  readonly once: () => Promise<void>
  readonly rounds: number[]
}

async function prepare(make: () => Cio): Promise<Run> {
  const app = make()
  // Not bound: it accepts streams in memory, as a server does sockets.
  const server = await app.listen({ bind: false })
  const one = async (): Promise<void> => {
    const [near, far] = duplexPair()
    near.resume()
    near.on('end', () => near.end())
    await server.accept(far).closed
  }
  return { app, once: one, rounds: [] }
}

async function inMemory(seconds: number): Promise<Map<string, number>> {
  const runs = new Map<string, Run>()
  for (const [name, make] of Object.entries(variants)) runs.set(name, await prepare(make))
  const until = performance.now() + seconds * 1_000
  for (let round = 0; performance.now() < until || round < warmUp * 2; round++) {
    for (const run of runs.values()) {
      const before = process.cpuUsage()
      for (let index = 0; index < batch; index++) await run.once()
      const { user, system } = process.cpuUsage(before)
      if (round >= warmUp) run.rounds.push((user + system) / batch)
    }
  }
  for (const { app } of runs.values()) await app.close({ timeout: 0 })
  return new Map([...runs].map(([name, { rounds }]) => [name, median(rounds)]))
}

if (process.argv[2] === 'server') await serve()
else {
  const short = await overLoopback()
  const each = await inMemory(Number(process.argv[2] ?? 20))
  const base = each.get('unwatched')!
  console.log(`a short plain connection over loopback: ${short.toFixed(0)} µs of the server's CPU`)
  for (const [name, value] of each) {
    const added = value - base
    const ratio = 1 + added / short
    console.log(`${name.padEnd(16)} ${added.toFixed(2).padStart(7)} µs  ${ratio.toFixed(3)}`)
  }
}

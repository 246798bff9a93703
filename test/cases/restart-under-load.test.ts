/**
 * Deploys, one after the other, while clients keep coming. If this fails, each deploy costs some
 * clients their connection: refused, reset, or ended without an answer. A parent holds the listening
 * socket, so each restart has to lose nothing, also where the old process ends before the new one
 * starts. The short form restarts 5 times; `RESTARTS=20 RATE=500 npx ava
 * test/cases/restart-under-load.test.ts` is the long one.
 */

import test, { type ExecutionContext } from 'ava'
import { type Socket, connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { contents, identity } from '../support/certificates.ts'
import { Program } from '../support/program.ts'
import { Keeper } from '../support/socket-activation.ts'

const { RESTARTS = '5', RATE = '200' } = process.env
const restarts = Number(RESTARTS)
const perSecond = Number(RATE)
const few = Math.ceil(restarts / 2)
/** Milliseconds between two steps of the load. */
const step = 20

/** What came of the connections, by their number. */
interface Load {
  readonly outcomes: Record<string, number>
  readonly stop: () => Promise<void>
}

/** Opens connections at a rate, whether or not earlier ones have ended. Each wants one answer. */
function load(open: () => Socket, rate: number): Load {
  const outcomes: Record<string, number> = {}
  const visits = new Set<Promise<void>>()
  const began = performance.now()
  let opened = 0
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - began) * rate) / 1_000)
    // A stall of this process must not make a burst.
    for (let now = Math.min(due - opened, rate / 5); now > 0; now--) {
      const visit = outcome(open()).then((what) => {
        outcomes[what] = (outcomes[what] ?? 0) + 1
        visits.delete(visit)
      })
      visits.add(visit)
    }
    opened = due
  }, step)
  const stop = async (): Promise<void> => {
    clearInterval(timer)
    await Promise.all(visits)
  }
  return { outcomes, stop }
}

function outcome(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let what = 'ended without an answer'
    socket.on('connect', () => socket.write('hello\n'))
    socket.on('data', () => {
      what = 'answered'
      socket.end()
    })
    socket.on('error', (error: NodeJS.ErrnoException) => (what = error.code ?? error.message))
    socket.on('close', () => resolve(what))
  })
}

async function restartUnderLoad(
  t: ExecutionContext,
  order: object,
  restart: (keeper: Keeper) => Promise<unknown>,
  { tls = false, times = restarts } = {},
): Promise<void> {
  const keeper = await Keeper.open(t, { servers: [{}], ...order })
  await keeper.start()
  const place = { port: keeper.port, host: '127.0.0.1' }
  const ca = contents('root.crt')
  // A TLS handshake costs as much as many connections.
  const { outcomes, stop } = tls
    ? load(() => connectTls({ ...place, ca, servername: 'localhost' }), perSecond / 8)
    : load(() => connect(place), perSecond)
  for (let count = 0; count < times; count++) await restart(keeper)
  await stop()
  t.log(outcomes)
  t.deepEqual(Object.keys(outcomes), ['answered'])
  t.true(outcomes.answered! > times)
  t.is((await keeper.stop()).code, 0)
}

const stopThenStart = async (t: ExecutionContext, keeper: Keeper): Promise<void> => {
  t.is((await keeper.stop()).code, 0)
  await keeper.start()
}

test.serial('restarts on a socket that the parent holds lose no connection', async (t) => {
  await restartUnderLoad(t, {}, async (keeper) => {
    await keeper.start()
    t.is((await keeper.stop()).code, 0)
  })
})

test.serial('a server that stops before the next one starts loses no connection', async (t) => {
  await restartUnderLoad(t, {}, (keeper) => stopThenStart(t, keeper))
})

test.serial('no handshake of TLS is lost', async (t) => {
  const listen = identity('server')
  await restartUnderLoad(t, { listen }, (keeper) => stopThenStart(t, keeper), {
    tls: true,
    times: few,
  })
})

test.serial('no line is lost by a loop over messages', async (t) => {
  const order = { lines: true }
  await restartUnderLoad(t, order, (keeper) => stopThenStart(t, keeper), { times: few })
})

test.serial('workers of a cluster that are replaced one by one lose no connection', async (t) => {
  const program = new Program(t, 'cluster-restart.ts', { workers: 2 })
  const { port } = await program.until('listening')
  const { outcomes, stop } = load(() => connect(port as number, '127.0.0.1'), perSecond)
  for (let count = 1; count <= few; count++) {
    program.child.stdin!.write('restart\n')
    await program.until('restart done', count)
  }
  await stop()
  t.log(outcomes)
  t.deepEqual(Object.keys(outcomes), ['answered'])
  program.child.stdin!.write('stop\n')
  const { lines } = await program.ended
  const ends = lines.filter(({ event }) => event === 'replaced')
  t.deepEqual(
    ends.map(({ code }) => code),
    Array.from({ length: 2 * few + 2 }, () => 0),
  )
  t.deepEqual(
    lines.filter(({ event }) => event === 'error'),
    [],
  )
})

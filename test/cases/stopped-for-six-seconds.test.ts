/**
 * A process stands still for six seconds and goes on, as a laptop that was closed, a virtual machine
 * that was moved, or a debugger does it. A server that goes by the clock takes all its clients for
 * dead then, and they all come back at once. Here a client that stood still is kept where the times
 * allow it, a server that stood still keeps those that answer, and each drops the one that is dead.
 */

import test, { type ExecutionContext } from 'ava'
import { Program } from '../support/program.ts'

const stop = 6_000
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Starts a server, and functions that start clients and wait for pings. */
async function started(t: ExecutionContext, carrier: string, times: object) {
  const server = new Program(t, 'heartbeat-server.ts', { carrier, ...times })
  const { port } = await server.until('ready')
  const clients = (count: number): Program =>
    new Program(t, 'heartbeat-clients.ts', { port, carrier, count })
  return { server, clients }
}

function counted({ lines }: Program, wanted: string): number {
  return lines.filter(({ event }) => event === wanted).length
}

/** Waits until each client of a process has had so many more pings. */
async function pinged(program: Program, count: number, more: number): Promise<void> {
  const from = program.lines.length
  const missing = (): boolean =>
    Array.from({ length: count }, (_, client) => client).some(
      (client) =>
        program.lines.slice(from).filter((line) => line.event === 'ping' && line.client === client)
          .length < more,
    )
  while (missing()) await program.until('ping', counted(program, 'ping') + 1)
}

for (const carrier of ['TCP', 'WebSocket']) {
  test(`a client that stood still for six seconds is kept, and one that is dead is closed (${carrier})`, async (t) => {
    const { server, clients } = await started(t, carrier, { interval: 2_000, timeout: 8_000 })
    const [paused, dead, awake] = [clients(1), clients(1), clients(1)]
    await Promise.all([paused, dead, awake].map((one) => pinged(one, 1, 1)))
    paused.kill('SIGSTOP')
    dead.kill('SIGSTOP')
    await sleep(stop)
    t.is(counted(server, 'dead'), 0)
    paused.kill('SIGCONT')
    const { code } = await server.until('dead')
    t.is(code, 'ERR_CIO_HEARTBEAT')
    // Those were due with it, if they are not kept.
    await Promise.all([pinged(paused, 1, 2), pinged(awake, 1, 2)])
    t.is(counted(server, 'dead'), 1)
    t.is(counted(paused, 'close') + counted(awake, 'close'), 0)
    dead.kill('SIGCONT')
    await dead.until('close')
  })

  test(`a server that stood still for six seconds closes only the client that is dead (${carrier})`, async (t) => {
    const { server, clients } = await started(t, carrier, { interval: 1_000, timeout: 2_000 })
    const many = 50
    const [awake, dead] = [clients(many), clients(1)]
    await Promise.all([pinged(awake, many, 1), pinged(dead, 1, 1)])
    // Between two pings: an answer that waits in the kernel would be a sign of life on waking.
    await sleep(500)
    server.kill('SIGSTOP')
    dead.kill('SIGSTOP')
    await sleep(stop)
    server.kill('SIGCONT')
    const { code } = await server.until('dead')
    t.is(code, 'ERR_CIO_HEARTBEAT')
    await pinged(awake, many, 2)
    t.is(counted(server, 'dead'), 1)
    t.is(counted(awake, 'close'), 0)
    dead.kill('SIGCONT')
    await dead.until('close')
  })
}

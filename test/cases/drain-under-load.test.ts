/**
 * A deploy: the process is told to stop in the midst of transfers. If this fails, each deploy cuts
 * replies in two, or hangs until the supervisor kills the process. Five transfers of 8 MiB, over two
 * listeners, are half done when the signal comes; all of them have to arrive whole, who is idle has
 * to hear a goodbye, who comes new has to be refused, and the process has to end by itself, with
 * code 0, long before the deadline. And where a peer does not finish: cut, told, code 1.
 */

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { connect } from 'node:net'
import { type Transport, dialOver } from '../support/transports.ts'
import { identity } from '../support/certificates.ts'
import type { Order } from '../fixtures/drain-server.ts'
import { Program } from '../support/program.ts'
import { readAll } from '../support/serve.ts'

const host = '127.0.0.1'
const half = 'x'.repeat(4 * 1024 * 1024)

async function start(
  t: ExecutionContext,
  order: Order,
): Promise<{ program: Program; ports: number[] }> {
  const program = new Program(t, 'drain-server.ts', order)
  const { ports } = await program.until('listening')
  return { program, ports: ports as number[] }
}

test('what is under way at SIGTERM is finished, and the process ends with code 0', async (t) => {
  const listen = [{ host }, { host, ...identity('server') }]
  const { program, ports } = await start(t, { listen, drain: { timeout: 60_000 } })
  const dial = (index: number, transport: Transport) =>
    dialOver(t, transport, { port: ports[index]! })
  const clients = await Promise.all([
    dial(0, 'tcp'),
    dial(0, 'tcp'),
    dial(0, 'tcp'),
    dial(1, 'TLS 1.3'),
    dial(1, 'TLS 1.2'),
  ])
  const idle = await dial(0, 'tcp')
  const idleTls = await dial(1, 'TLS 1.3')
  await program.until('connected', 7)
  const goodbyes = [readAll(idle), readAll(idleTls)]
  for (const client of clients) {
    // The server has it all in its decoder once it has sent nothing: half a line is not a message.
    await new Promise((written) => client.write(half, written))
  }

  program.kill('SIGTERM')
  await program.until('drain', 2)
  for (const port of ports) {
    const [error] = (await once(connect(port, host), 'error')) as [NodeJS.ErrnoException]
    t.is(error.code, 'ECONNREFUSED')
  }
  t.deepEqual(await Promise.all(goodbyes), ['421 closing\n', '421 closing\n'])
  const answers = clients.map((client) => readAll(client))
  for (const client of clients) client.write(`${half}\n`)
  for (const answer of await Promise.all(answers)) {
    t.is(answer.length, '421 closing\n'.length + 2 * half.length + 1)
  }
  const { code, signal, lines } = await program.ended
  t.deepEqual({ code, signal }, { code: 0, signal: null })
  t.deepEqual(
    lines
      .slice(-4)
      .map(({ event }) => event)
      .toSorted(),
    ['database closed', 'database closed', 'drained', 'drained'],
  )
})

test('what is left at the deadline is cut and told, and the process ends with code 1', async (t) => {
  const { program, ports } = await start(t, {
    listen: [{ host }],
    drain: { timeout: 200 },
    stubborn: true,
  })
  const client = await dialOver(t, 'tcp', { port: ports[0]! })
  await program.until('connected')
  program.kill('SIGINT')
  t.is(await readAll(client).catch((error: NodeJS.ErrnoException) => error.code!), '')
  const { code, lines } = await program.ended
  t.is(code, 1)
  t.deepEqual(lines.slice(2), [
    { event: 'drain', signal: 'SIGINT', forced: false },
    { event: 'remoteError', code: 'ERR_CIO_DRAIN_TIMEOUT' },
    { event: 'database closed' },
    { event: 'drained', forced: 1 },
  ])
})

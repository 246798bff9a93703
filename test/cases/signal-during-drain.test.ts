/**
 * Signals that come while the process is finishing. Operators press Ctrl-C again, npm sends what the
 * terminal has sent already, a closed terminal sends SIGHUP, and a job of certificate renewal does,
 * too. If this fails, the last of the work is lost by one of these, or cannot be given up at all.
 */

import test, { type ExecutionContext } from 'ava'
import { Program } from '../support/program.ts'
import { readAll } from '../support/serve.ts'
import { dialOver } from '../support/transports.ts'
import type { Order } from '../fixtures/drain-server.ts'

async function draining(t: ExecutionContext, order: Partial<Order> = {}) {
  const listen = [{ host: '127.0.0.1' }]
  const program = new Program(t, 'drain-server.ts', {
    listen,
    drain: { timeout: 60_000, minLifetime: 0 },
    ...order,
  })
  const { ports } = await program.until('listening')
  const client = await dialOver(t, 'tcp', { port: (ports as number[])[0]! })
  await program.until('connected')
  client.write('half ')
  program.kill('SIGTERM')
  await program.until('drain')
  return { program, client }
}

test('SIGHUP and an echo of the first signal change nothing', async (t) => {
  const { program, client } = await draining(t)
  program.kill('SIGHUP')
  program.kill('SIGTERM')
  const answer = readAll(client)
  client.write('a line\n')
  t.is(await answer, '421 closing\nhalf a line\n')
  const { code, lines } = await program.ended
  t.is(code, 0)
  t.is(lines.filter(({ event }) => event === 'drain').length, 1)
})

test('a second signal destroys what is left at once, with code 1', async (t) => {
  const { program, client } = await draining(t, { stubborn: true })
  program.kill('SIGINT')
  await readAll(client).catch(() => {})
  const { code, lines } = await program.ended
  t.is(code, 1)
  t.deepEqual(lines.slice(-4), [
    { event: 'drain', signal: 'SIGINT', forced: true },
    { event: 'remoteError', code: 'ERR_CIO_DRAIN_TIMEOUT' },
    { event: 'database closed' },
    { event: 'drained', forced: 1 },
  ])
})

test('what else keeps the process is told, and does not keep it for ever', async (t) => {
  const { program, client } = await draining(t, {
    kept: true,
    drain: { timeout: 60_000, minLifetime: 0, exitTimeout: 100 },
  })
  client.end('a line\n')
  const { code, lines } = await program.ended
  t.is(code, 0)
  t.regex(String(lines.at(-1)?.message), /100 ms.*Timeout/)
})

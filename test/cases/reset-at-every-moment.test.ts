/**
 * Peers that end and reset at every moment: before, in and after the handshake, while a handler
 * reads, pipes, writes, or is elsewhere; on plain and TLS connections, on servers and on clients.
 * If this fails, one packet from a stranger ends the process: a socket that emits `error` without
 * a listener is an uncaught exception in Node. It runs in a process of its own, in which nothing
 * listens for errors, to see whether that survives.
 */

import test from 'ava'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { readAll } from '../support/serve.ts'
import { typescript } from '../support/typescript.ts'

const program = fileURLToPath(new URL('../fixtures/reset-everywhere.ts', import.meta.url))

test('a process whose peers reset and end at every moment lives on, and has nothing to tell', async (t) => {
  const child = spawn(process.execPath, [`--import=${typescript}`, program], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill())
  const exit = once(child, 'exit')
  const [output, errors] = await Promise.all([readAll(child.stdout), readAll(child.stderr)])
  t.is(errors, '')
  t.regex(output, /^\d+ peers left servers\n\d+ servers left clients\n$/)
  t.deepEqual(await exit, [0, null])
})

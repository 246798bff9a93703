/**
 * The process of a server is killed with messages under way, and started again, a dozen times.
 *
 * A process that is killed says nothing, its kernel resets or ends what it had open, with whatever
 * was unread thrown away. The server is bare Node and writes down what it has dealt with before it
 * acknowledges, as a database would; so what is missing in its file at the end was lost by us.
 */

import test from 'ava'
import { once } from 'node:events'
import { Sender, countTo } from '../support/numbers.ts'
import { numbersFile, numbersIn, startNumbersServer } from '../support/numbers-server.ts'
import { ownPort } from '../support/ports.ts'
import { nextEvent } from '../support/transports.ts'

const rounds = 12

test('a server that is killed and started again loses and doubles nothing', async (t) => {
  const file = numbersFile(t)
  const sender = new Sender(t)
  let server = await startNumbersServer(t, file, await ownPort())
  const ctx = await sender.connect({ host: '127.0.0.1', port: server.port })
  for (let round = 1; round <= rounds; round++) {
    sender.post(100)
    if (round % 3 === 0) await sender.settled()
    sender.post(100)
    const gone = nextEvent(sender.app, 'disconnect')
    server.child.kill('SIGKILL')
    await once(server.child, 'exit')
    sender.post(50)
    await gone
    sender.post(50)
    server = await startNumbersServer(t, file, server.port)
    // The first connection may be one that the kernel took for the process that was being killed.
    while (!ctx.connected) await nextEvent(sender.app, 'connect')
    t.true(ctx.connected)
  }
  await sender.settled()
  t.deepEqual(numbersIn(file), countTo(sender.last))
  t.true(sender.rejected > 0)
  await ctx.close()
})

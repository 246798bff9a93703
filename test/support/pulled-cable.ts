/**
 * A client and a server on two machines, as far as the kernel knows, with a cable between them that
 * is pulled and put back. To be run by `unshare --map-root-user --net`: it needs a network of its
 * own. Prints what it has sent when all is acknowledged; the numbers are in the file that is given.
 */

import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { CioError } from '../../src/index.ts'
import { startNumbersServer } from './numbers-server.ts'
import { Sender } from './numbers.ts'

const [file = '', rounds = '1'] = process.argv.slice(2)
const [here, there] = ['10.9.8.1', '10.9.8.2']
const silentAfter = 200

const left: (() => unknown)[] = []
const t = { teardown: (end: () => unknown): void => void left.push(end) }

const server = await startNumbersServer(t, file, 7_000, ['unshare', '--net'])
const far = (...words: string[]): unknown =>
  execFileSync('nsenter', ['-t', String(server.child.pid), '-n', 'ip', ...words])
const near = (...words: string[]): unknown => execFileSync('ip', words)

near('link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far')
near('link', 'set', 'far', 'netns', String(server.child.pid))
near('address', 'add', `${here}/24`, 'dev', 'near')
far('address', 'add', `${there}/24`, 'dev', 'far')
near('link', 'set', 'near', 'up')
far('link', 'set', 'far', 'up')

const sender = new Sender(t)
let silences = 0
const ctx = await sender.connect({ host: there, port: server.port, connectTimeout: silentAfter })

for (let round = 1; round <= Number(rounds); round++) {
  sender.post(50)
  if (round % 2 === 0) await sender.settled()
  far('link', 'set', 'far', 'down')
  // These are taken by our kernel, and go nowhere.
  sender.post(50)
  const away = once(sender.app, 'reconnect')
  // Nobody tells that nothing comes back, but for a clock.
  setTimeout(() => {
    silences += 1
    ctx.disconnect(new CioError('ERR_TEST_SILENT', 'nothing was acknowledged', { fault: 'remote' }))
  }, silentAfter)
  await away
  // At least one try has failed before the cable is back.
  await once(sender.app, 'reconnect')
  sender.post(50)
  const back = once(sender.app, 'connect')
  far('link', 'set', 'far', 'up')
  await back
}
await sender.settled()
console.log(JSON.stringify({ last: sender.last, silences, rejected: sender.rejected }))
for (const end of left) await end()
process.exit()

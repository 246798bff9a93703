/**
 * The cable between a client and a server is pulled with messages under way, and put back, several
 * times: every packet is dropped, in both directions, and nobody is told.
 *
 * Sends succeed meanwhile, since our kernel takes them; what it had is lost with the connection that
 * the client gives up when nothing is acknowledged. Run in network namespaces of its own, by Linux's
 * `unshare` and a pair of virtual devices whose far one is switched off: nothing of the machine's
 * own network is touched, and all is gone with the processes.
 */

import test from 'ava'
import { execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { countTo } from '../support/numbers.ts'
import { numbersFile, numbersIn } from '../support/numbers-server.ts'
import { typescript } from '../support/typescript.ts'

const rounds = 6
const longest = 100_000
const unshare = ['--map-root-user', '--net']
const program = fileURLToPath(new URL('../support/pulled-cable.ts', import.meta.url))
// Not on macOS, and not where containers forbid it.
const permitted = spawnSync('unshare', [...unshare, 'ip', 'link', 'set', 'lo', 'up']).status === 0
const testThere = permitted ? test : test.skip

testThere('a cable that is pulled and put back loses and doubles nothing', async (t) => {
  const file = numbersFile(t)
  const typed = ['--import', typescript]
  const { stdout } = await promisify(execFile)(
    'unshare',
    [...unshare, process.execPath, ...typed, program, file, String(rounds)],
    { timeout: longest, killSignal: 'SIGKILL' },
  )
  const { last, silences, rejected } = JSON.parse(stdout) as Record<string, number>
  t.deepEqual(numbersIn(file), countTo(last!))
  t.is(silences, rounds)
  t.true(rejected! > 0)
})

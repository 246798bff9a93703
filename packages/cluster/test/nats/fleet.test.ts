import test from 'ava'
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { findProgram } from '../support/nats-server.ts'
import { typescript } from '../../../../test/support/typescript.ts'

const example = fileURLToPath(new URL('../../../../examples/fleet.ts', import.meta.url))
const missing = ['nats-server', 'haproxy'].filter((program) => !findProgram(program))
const run = missing.length === 0 ? test : test.skip

run(
  `examples/fleet.ts shows what it claims, and ends by itself ${missing.join(' ')}`,
  async (t) => {
    const { stdout } = await promisify(execFile)(process.execPath, [
      '--import',
      typescript,
      example,
    ])
    t.deepEqual(stdout.trim().split('\n'), [
      '6 devices on 3 instances',
      'instance one called: sensor-1, sensor-2, sensor-3, sensor-4, sensor-5, sensor-6',
      'instance three sent one alarm, 6 devices have it',
      'a second sensor-1 has taken over from the first',
      'sensor-6 was away, and has its letters: first, second',
      'revision 2 of the deny list is in force on 3 instances',
      'instance three is killed',
      'all 5 other devices are back and answer',
    ])
  },
)

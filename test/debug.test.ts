import test from 'ava'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { wordsOf } from './support/typescript.ts'

const program = wordsOf(new URL('fixtures/debug-lines.ts', import.meta.url))

async function linesWith(DEBUG: string): Promise<{ stdout: string; stderr: string }> {
  return promisify(execFile)(process.execPath, program, { env: { ...process.env, DEBUG } })
}

const cases = {
  '': '',
  'cio:*': 'cio:client cio:server',
  'cio*,-cio:server': 'cio:client cio-stomp cio-stomp:frames',
  '* -cio:*': 'cio-stomp cio-stomp:frames other.x',
  'cio-stomp, other.x': 'cio-stomp other.x',
  '*:frames': 'cio-stomp:frames',
  'other?x [c]* cio:': '',
}
for (const [value, names] of Object.entries(cases)) {
  test(`DEBUG="${value}" prints the lines of ${names || 'nothing'}`, async (t) => {
    const { stdout, stderr } = await linesWith(value)
    t.is(stdout.trim(), names)
    const printed = stderr.split('\n').filter((line) => line !== '')
    t.deepEqual(printed.map((line) => line.split(' ')[1]).join(' '), names)
  })
}

test('a line in a file has the time, the name and its values, on one line', async (t) => {
  const { stderr } = await linesWith('cio:client')
  t.regex(
    stderr,
    /^\d{4}-\d\d-\d\dT[\d:.]+Z cio:client 1 two \{ port: 3, hosts: \[ 'a', 'b\\n' \] \}\n$/,
  )
})

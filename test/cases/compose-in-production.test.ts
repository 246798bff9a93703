/** What koa-compose promises and Cio relies on, under NODE_ENV=production: its tests once more. */

import test from 'ava'
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const pathOf = (file: string): string => fileURLToPath(new URL(`../../${file}`, import.meta.url))

test('all that the tests of compose show holds under NODE_ENV=production', async (t) => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [
      pathOf('node_modules/ava/entrypoints/cli.mjs'),
      '--tap',
      pathOf('test/pipeline/compose.test.ts'),
    ],
    { env: { ...process.env, NODE_ENV: 'production' } },
  )
  t.regex(stdout, /# fail 0/)
  t.regex(stdout, /# pass [1-9]/)
})

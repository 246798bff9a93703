import test, { type ExecutionContext } from 'ava'
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Cio, certs } from '../../../src/index.ts'
import { testCertificates } from '../../../src/testing.ts'
import { readSource } from '../../../src/tls/certificates/read-source.ts'
import { closeAfter } from '../../support/serve.ts'

/** A named pipe in a folder of its own; undefined where the system has none. */
function pipe(t: ExecutionContext): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'cio-pipe-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'pipe')
  if (!spawnSync('mkfifo', [path]).error) return path
  t.log('skipped: mkfifo is not here')
  t.pass()
  return undefined
}

/** A shell command that ends with the test. */
function shell(t: ExecutionContext, command: string, ...args: string[]): void {
  const child = spawn('sh', ['-c', command, 'sh', ...args], { stdio: 'ignore', detached: true })
  t.teardown(() => {
    try {
      process.kill(-child.pid!)
    } catch {
      // It has ended.
    }
  })
}

test('a pipe that nothing writes to is refused at once, and no thread waits for it', async (t) => {
  const path = pipe(t)
  if (path === undefined) return
  // More than there are threads for files.
  const all = await Promise.allSettled(Array.from({ length: 8 }, () => readSource(path)))
  for (const one of all) {
    t.is((one as PromiseRejectedResult).reason.message, 'it is a pipe that nothing is written to')
  }
})

test('a server is refused in words, and another one starts beside it', async (t) => {
  const path = pipe(t)
  if (path === undefined) return
  const { server: identity } = await testCertificates('alice')
  const app = new Cio().useServer(certs({ key: path, cert: identity.cert }))
  const other = new Cio().useServer(certs({ key: identity.key, cert: identity.cert }))
  for (const one of [app, other]) closeAfter(t, one)
  await t.throwsAsync(app.listen(0), {
    code: 'ERR_CIO_CERTIFICATE',
    message: `certs: \`key\` (${path}) cannot be read: it is a pipe that nothing is written to`,
  })
  t.true((await other.listen(0)).port > 0)
})

test('a pipe is read to its end, also from a writer that takes its time', async (t) => {
  const path = pipe(t)
  if (path === undefined) return

  // The shell opens the pipe for both, so that opening it does not wait for a reader.
  shell(t, 'exec 3<>"$1"; printf one >&3; exec 4>"$1" 3>&-; sleep 0.2; printf two >&4', path)
  // Until the writer is there, nothing is written to the pipe.
  let text: string | undefined
  while (text === undefined) text = await readSource(path).then(String, () => undefined)
  t.is(text, 'onetwo')
})

test('a pipe without an end is refused at 16 MiB', async (t) => {
  const path = pipe(t)
  if (path === undefined) return
  shell(t, 'exec 3<>"$1"; exec yes >&3', path)
  let message = ''
  while (!message.startsWith('more')) {
    message = await readSource(path).then(String, (error: Error) => error.message)
  }
  t.is(message, `more than ${16 * 1024 * 1024} bytes came from the pipe`)
})

test('a device is refused, which may have no end', async (t) => {
  const message = 'it is neither a file nor a pipe'
  for (const path of ['/dev/zero', '/dev/null']) await t.throwsAsync(readSource(path), { message })
})

test('a file is read, and a folder refused in the words of Node', async (t) => {
  t.regex(String(await readSource(import.meta.filename)), /a file is read/)
  await t.throwsAsync(readSource(import.meta.dirname), { code: 'EISDIR' })
})
